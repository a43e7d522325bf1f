//! One pass of the load: runs `strata-load`, and checks what its writes have left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use strata_harness::error::{Context, Error, Result};
use strata_load::cache_status::Layer;
use strata_load::{Operation, Outcome, Plan};

use super::api;
use crate::command::printed;
use crate::paths;
use crate::stack::link;

/// Connections of the load, and so requests in flight. Few, so that a request waits for its
/// answer and not for those before it: with 16 the database alone is busy without a cache.
pub(crate) const CONNECTIONS: usize = 8;

/// `JOURNAL_MAX_LAG` (5 s) and 5 s: the bound after which the edge serves no older price.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
const SETTLE_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The figures of a pass.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pass {
    pub(crate) title: &'static str,
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) queries_per_thousand: f64,
    pub(crate) writes: u64,
    /// The most that a cache could have answered, as a share of the reads from 0 to 1.
    pub(crate) hit_potential: f64,
    /// The processors that the client used, such as 0.5 for half of one.
    pub(crate) client_processors: f64,
    /// Reads by the layer that answered.
    pub(crate) layers: BTreeMap<Layer, u64>,
    /// The observations that contradict the demo's claims. Empty if all hold.
    pub(crate) failures: Vec<String>,
}

/// The measurements of a load, and its requests.
pub(crate) struct Load {
    operations: Vec<Operation>,
    outcome: Outcome,
}

impl Load {
    /// Sends the requests, round robin over the targets, until all are answered or `limit` has
    /// passed.
    ///
    /// # Errors
    /// If the client fails. Failed requests are part of the result.
    pub(crate) async fn run(
        targets: &[String],
        operations: Vec<Operation>,
        limit: Option<Duration>,
    ) -> Result<Self> {
        let step = || "running the load".to_owned();
        let plan = Plan {
            targets: targets.iter().map(|url| url.trim_start_matches("http://").to_owned()).collect(),
            connections: CONNECTIONS,
            limit_ms: limit.map(|limit| limit.as_millis() as u64),
            operations,
        };
        let folder = paths::temporary()?;
        let file = folder.path().join("plan.json");
        std::fs::write(&file, serde_json::to_vec(&plan).context(step)?).context(step)?;
        let mut command = link::program();
        command.arg("run").arg(&file);
        let outcome = serde_json::from_str(&printed("the load's client", command).await?).context(step)?;
        Ok(Self { operations: plan.operations, outcome })
    }

    /// Returns an error for each product and target that does not show the price of the last write
    /// within 10 s.
    pub(crate) async fn unsettled(&self, client: &reqwest::Client, targets: &[String]) -> Vec<String> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut unsettled = Vec::new();
        for (path, bodies) in last_bodies(&self.writes()) {
            for target in targets {
                if let Err(error) = wait_for_price(client, target, path, &bodies, deadline).await {
                    unsettled.push(error.to_string());
                }
            }
        }
        unsettled
    }

    /// Computes the figures of the pass, and returns the requests that were sent. `warm` are those
    /// that were answered before.
    pub(crate) fn into_pass(
        mut self,
        title: &'static str,
        warm: &[Operation],
        queries: u64,
        unsettled: &[String],
    ) -> (Pass, Vec<Operation>) {
        let written = last_bodies(&self.writes()).len();
        let outcome = self.outcome;
        let sent = usize::try_from(outcome.answered + outcome.error_count).unwrap_or(usize::MAX);
        self.operations.truncate(sent);
        let seconds = Duration::from_micros(outcome.duration_us.max(1)).as_secs_f64();
        let millis = |micros: u64| micros as f64 / 1000.0;
        let mut failures: Vec<String> =
            outcome.errors.iter().map(|error| format!("{title}: {error}")).collect();
        if outcome.error_count > outcome.errors.len() as u64 {
            failures.push(format!("{title}: {} failed requests in all", outcome.error_count));
        }
        if !unsettled.is_empty() {
            failures.push(format!(
                "{title}: {} of {written} written products do not show their last price, for example: {}",
                unsettled.len(),
                unsettled[0]
            ));
        }
        let pass = Pass {
            title,
            requests: outcome.answered,
            seconds,
            per_second: outcome.answered as f64 / seconds,
            p50_ms: millis(outcome.p50_us),
            p95_ms: millis(outcome.p95_us),
            p99_ms: millis(outcome.p99_us),
            queries_per_thousand: queries as f64 * 1000.0 / outcome.answered.max(1) as f64,
            writes: outcome.writes.len() as u64,
            hit_potential: super::workload::hit_potential(warm, &self.operations),
            client_processors: outcome.client_us as f64 / outcome.duration_us.max(1) as f64,
            layers: outcome.layers,
            failures,
        };
        (pass, self.operations)
    }

    fn writes(&self) -> Vec<Write<'_>> {
        let writes = self.outcome.writes.iter().filter_map(|write| {
            let Operation::Put(path, body) = self.operations.get(write.operation)? else { return None };
            Some(Write { path, body, began_us: write.began_us, ended_us: write.ended_us })
        });
        writes.collect()
    }
}

/// An answered write.
#[derive(Clone, Copy)]
struct Write<'a> {
    path: &'a str,
    body: &'a str,
    began_us: u64,
    ended_us: u64,
}

/// Returns per product the bodies that can be the final one: those of writes after whose end no
/// other write began.
///
/// Overlapping writes can have reached the database in either order.
fn last_bodies<'a>(writes: &[Write<'a>]) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut last_began: BTreeMap<&str, u64> = BTreeMap::new();
    for write in writes {
        let last = last_began.entry(write.path).or_insert(write.began_us);
        *last = (*last).max(write.began_us);
    }
    let mut bodies: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for write in writes {
        if last_began.get(write.path).is_some_and(|last| write.ended_us >= *last) {
            bodies.entry(write.path).or_default().push(write.body);
        }
    }
    bodies
}

/// Reads the product until it shows the price of one of these bodies of writes.
///
/// # Errors
/// If it shows another one at the deadline.
async fn wait_for_price(
    client: &reqwest::Client,
    target: &str,
    path: &str,
    bodies: &[&str],
    deadline: Instant,
) -> Result<()> {
    loop {
        let answer = api::get(client, target, path).await?;
        let price = answer.price_cents()?;
        if bodies.contains(&api::price_body(price).as_str()) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let layer = answer.cache.layer().as_str();
            return Err(Error::new(format!(
                "{path} at {target}: expected the change {bodies:?}, got a price of {price} from {layer}"
            )));
        }
        tokio::time::sleep(SETTLE_POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(began_us: u64, ended_us: u64, path: &'static str, body: &'static str) -> Write<'static> {
        Write { path, body, began_us, ended_us }
    }

    #[test]
    fn the_price_of_a_followed_write_is_not_final() {
        let writes = [write(0, 1, "7", "100"), write(2, 3, "7", "101"), write(0, 9, "8", "102")];
        assert_eq!(last_bodies(&writes), BTreeMap::from([("7", vec!["101"]), ("8", vec!["102"])]));
    }

    #[test]
    fn the_price_of_either_overlapping_write_can_be_final() {
        let writes = [write(0, 5, "7", "100"), write(2, 3, "7", "101")];
        assert_eq!(last_bodies(&writes), BTreeMap::from([("7", vec!["100", "101"])]));
    }

    #[test]
    fn a_pass_reports_the_first_errors_and_their_number() {
        let errors = (0..5).map(|n| format!("error {n}")).collect();
        let outcome = Outcome { errors, error_count: 9, ..Outcome::default() };
        let load = Load { operations: Vec::new(), outcome };
        let (pass, _) = load.into_pass("no cache", &[], 0, &["product 7".to_owned()]);
        assert_eq!(pass.failures.len(), 5 + 2, "{:?}", pass.failures);
    }

    #[test]
    fn the_hit_potential_of_a_pass_counts_the_requests_that_were_sent() {
        let read = Operation::Get("/a".to_owned());
        let outcome = Outcome { answered: 2, ..Outcome::default() };
        let load = Load { operations: vec![read; 10], outcome };
        let (pass, sent) = load.into_pass("no cache", &[], 0, &[]);
        assert_eq!((pass.hit_potential, sent.len()), (0.5, 2));
    }
}
