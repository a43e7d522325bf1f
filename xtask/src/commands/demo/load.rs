//! One pass of the load: a fixed number of connections, each of which sends its next request as
//! soon as it has an answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use strata_harness::error::{Context, Error, Result};
use tokio::task::JoinSet;

use super::api::{self, Answer};
use super::cache_status::Layer;
use super::cookies::Visitors;
use super::workload::{Operation, Workload};

/// Connections of the load, and so requests in flight.
pub(crate) const CONNECTIONS: usize = 16;

/// `JOURNAL_MAX_LAG` (5 s) and 5 s: the bound after which the edge serves no older price.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
const SETTLE_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The first few errors show what went wrong.
const MAX_ERRORS: usize = 5;

/// The figures of a pass.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pass {
    pub(crate) title: &'static str,
    pub(crate) requests: u64,
    /// Whether the time limit ended the pass before all requests were sent.
    pub(crate) cut_short: bool,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) queries_per_thousand: f64,
    pub(crate) writes: u64,
    /// Reads by the layer that answered.
    pub(crate) layers: BTreeMap<Layer, u64>,
    /// The observations that contradict the demo's claims. Empty if all hold.
    pub(crate) failures: Vec<String>,
}

/// The measurements of a pass, or of one of its connections.
pub(crate) struct Load {
    micros: Histogram<u64>,
    layers: BTreeMap<Layer, u64>,
    writes: Vec<Write>,
    errors: Vec<String>,
    error_count: u64,
    duration: Duration,
    cut_short: bool,
}

/// An answered write.
#[derive(Clone, Copy)]
struct Write {
    product: u32,
    price_cents: u32,
    began: Instant,
    ended: Instant,
}

impl Load {
    /// Sends the requests, round robin over the targets, until all are answered or `limit` has
    /// passed.
    ///
    /// # Errors
    /// If a connection's task fails. Failed requests are part of the result.
    pub(crate) async fn run(
        client: &reqwest::Client,
        targets: &[String],
        workload: &Workload,
        visitors: Visitors,
        limit: Option<Duration>,
    ) -> Result<Self> {
        let since = Instant::now();
        let shared = Arc::new(Shared {
            client: client.clone(),
            targets: targets.to_vec(),
            operations: workload.operations.clone(),
            visitors,
            next: AtomicUsize::new(0),
            deadline: limit.map(|limit| since + limit),
        });
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            connections.spawn(Arc::clone(&shared).connection());
        }
        let mut load = Self::empty()?;
        while let Some(one) = connections.join_next().await {
            load.add(one.context(|| "running the load".to_owned())??)?;
        }
        load.duration = since.elapsed();
        load.cut_short = load.micros.len() + load.error_count < workload.operations.len() as u64;
        Ok(load)
    }

    fn empty() -> Result<Self> {
        // 1 µs to a minute with three digits.
        let micros =
            Histogram::new_with_bounds(1, 60_000_000, 3).context(|| "creating a histogram".to_owned())?;
        Ok(Self {
            micros,
            layers: BTreeMap::new(),
            writes: Vec::new(),
            errors: Vec::new(),
            error_count: 0,
            duration: Duration::ZERO,
            cut_short: false,
        })
    }

    fn add(&mut self, other: Self) -> Result<()> {
        self.micros.add(other.micros).context(|| "adding histograms".to_owned())?;
        for (layer, reads) in other.layers {
            *self.layers.entry(layer).or_default() += reads;
        }
        self.writes.extend(other.writes);
        self.errors.extend(other.errors);
        self.errors.truncate(MAX_ERRORS);
        self.error_count += other.error_count;
        Ok(())
    }

    fn count_error(&mut self, error: String) {
        self.error_count += 1;
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
    }

    fn count_answer(&mut self, answer: &Answer) {
        self.micros.saturating_record(answer.duration.as_micros() as u64);
    }

    /// Returns an error for each product and target that does not show the price of the last write
    /// within 10 s.
    pub(crate) async fn unsettled(&self, client: &reqwest::Client, targets: &[String]) -> Vec<String> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut unsettled = Vec::new();
        for (product, prices) in last_prices(&self.writes) {
            for target in targets {
                if let Err(error) = wait_for_price(client, target, product, &prices, deadline).await {
                    unsettled.push(error.to_string());
                }
            }
        }
        unsettled
    }

    /// Computes the figures of the pass.
    pub(crate) fn into_pass(self, title: &'static str, queries: u64, unsettled: &[String]) -> Pass {
        let requests = self.micros.len();
        let seconds = self.duration.as_secs_f64();
        let millis = |quantile: f64| self.micros.value_at_quantile(quantile) as f64 / 1000.0;
        let mut failures: Vec<String> = self.errors.iter().map(|error| format!("{title}: {error}")).collect();
        if self.error_count > self.errors.len() as u64 {
            failures.push(format!("{title}: {} failed requests in all", self.error_count));
        }
        let written = last_prices(&self.writes).len();
        if !unsettled.is_empty() {
            failures.push(format!(
                "{title}: {} of {written} written products do not show their last price, for example: {}",
                unsettled.len(),
                unsettled[0]
            ));
        }
        Pass {
            title,
            requests,
            cut_short: self.cut_short,
            seconds,
            per_second: requests as f64 / seconds,
            p50_ms: millis(0.50),
            p95_ms: millis(0.95),
            p99_ms: millis(0.99),
            queries_per_thousand: queries as f64 * 1000.0 / requests.max(1) as f64,
            writes: self.writes.len() as u64,
            layers: self.layers,
            failures,
        }
    }
}

struct Shared {
    client: reqwest::Client,
    targets: Vec<String>,
    operations: Vec<Operation>,
    visitors: Visitors,
    next: AtomicUsize,
    deadline: Option<Instant>,
}

impl Shared {
    async fn connection(self: Arc<Self>) -> Result<Load> {
        let mut load = Load::empty()?;
        while self.deadline.is_none_or(|deadline| Instant::now() < deadline) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(operation) = self.operations.get(n) else { break };
            let target = &self.targets[n % self.targets.len()];
            match operation {
                Operation::Read { path } => self.read(&mut load, target, path, n).await,
                Operation::SetPrice { product, price_cents } => {
                    self.write(&mut load, target, *product, *price_cents).await;
                }
            }
        }
        Ok(load)
    }

    async fn read(&self, load: &mut Load, target: &str, path: &str, n: usize) {
        let cookies = self.visitors.cookies(n);
        match api::get_with_cookies(&self.client, target, path, cookies.as_deref()).await {
            Ok(answer) if matches!(answer.status, 200 | 304 | 404) => {
                load.count_answer(&answer);
                *load.layers.entry(answer.cache.layer()).or_default() += 1;
            }
            Ok(answer) => load.count_error(format!("GET {path} answered {}", answer.status)),
            Err(error) => load.count_error(error.to_string()),
        }
    }

    async fn write(&self, load: &mut Load, target: &str, product: u32, price_cents: u32) {
        let began = Instant::now();
        match api::put_price(&self.client, target, product, price_cents).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                load.count_answer(&answer);
                load.writes.push(Write { product, price_cents, began, ended: Instant::now() });
            }
            Ok(answer) => load.count_error(format!("PUT of product {product} answered {}", answer.status)),
            Err(error) => load.count_error(error.to_string()),
        }
    }
}

/// Returns per product the prices that can be the final one: those of writes after whose end no
/// other write began.
///
/// Overlapping writes can have reached the database in either order.
fn last_prices(writes: &[Write]) -> BTreeMap<u32, Vec<u32>> {
    let mut last_began: HashMap<u32, Instant> = HashMap::new();
    for write in writes {
        let last = last_began.entry(write.product).or_insert(write.began);
        *last = (*last).max(write.began);
    }
    let mut prices: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for write in writes {
        if last_began.get(&write.product).is_some_and(|last| write.ended >= *last) {
            prices.entry(write.product).or_default().push(write.price_cents);
        }
    }
    prices
}

/// Reads the product until it shows one of the prices.
///
/// # Errors
/// If it shows another one at the deadline.
async fn wait_for_price(
    client: &reqwest::Client,
    target: &str,
    product: u32,
    prices: &[u32],
    deadline: Instant,
) -> Result<()> {
    loop {
        let answer = api::get(client, target, &api::product_path(product)).await?;
        let price = answer.price_cents()?;
        if prices.contains(&price) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let layer = answer.cache.layer().as_str();
            return Err(Error::new(format!(
                "product {product} at {target}: expected a price of {prices:?}, got {price} from {layer}"
            )));
        }
        tokio::time::sleep(SETTLE_POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(began: u64, ended: u64, product: u32, price_cents: u32, zero: Instant) -> Write {
        Write {
            product,
            price_cents,
            began: zero + Duration::from_millis(began),
            ended: zero + Duration::from_millis(ended),
        }
    }

    #[test]
    fn the_price_of_a_followed_write_is_not_final() {
        let zero = Instant::now();
        let writes = [write(0, 1, 7, 100, zero), write(2, 3, 7, 101, zero), write(0, 9, 8, 102, zero)];
        assert_eq!(last_prices(&writes), BTreeMap::from([(7, vec![101]), (8, vec![102])]));
    }

    #[test]
    fn the_price_of_either_overlapping_write_can_be_final() {
        let zero = Instant::now();
        let writes = [write(0, 5, 7, 100, zero), write(2, 3, 7, 101, zero)];
        assert_eq!(last_prices(&writes), BTreeMap::from([(7, vec![100, 101])]));
    }

    #[test]
    fn a_pass_reports_the_first_errors_and_their_number() {
        let mut load = Load::empty().unwrap();
        (0..9).for_each(|n| load.count_error(format!("error {n}")));
        let pass = load.into_pass("no cache", 0, &["product 7".to_owned()]);
        assert_eq!(pass.failures.len(), MAX_ERRORS + 2, "{:?}", pass.failures);
    }
}
