//! What ships the journal to one target.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::pacing::{Backoff, TokenBucket};
use super::target::{Failure, Target};
use crate::error::StoreError;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::random::{self, Randomness};
use crate::store::{FeedRecord, SHIP_LEASE, ShipTurn, Shipping, Store, Unshipped};

/// Records taken at a time.
const MAX_BATCH: usize = 500;
/// The longest wait for a record whose coming was not heard of.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// So long before its lease ends a process that could not renew it stops.
const MARGIN: Duration = Duration::from_secs(1);

/// Ships to one target while it is this process's turn.
pub(crate) struct Shipper {
    store: Arc<dyn Store>,
    target: Box<dyn Target>,
    /// Proves to the store that this process holds the lease.
    token: String,
    metrics: Arc<Metrics>,
    gauges: Arc<ShipGauges>,
}

/// The lease is not this process's any more.
struct TurnLost;

impl Shipper {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        target: Box<dyn Target>,
        metrics: Arc<Metrics>,
        gauges: Arc<ShipGauges>,
    ) -> Self {
        let token = format!("{}-{}", std::process::id(), random::process_id());
        Self { store, target, token, metrics, gauges }
    }

    /// Ships until the cache that owns the journal is dropped.
    pub(crate) async fn run(self, journal: Weak<Journal>) {
        let began = Instant::now();
        let mut bucket = TokenBucket::new(self.target.rate(), Duration::ZERO);
        let mut backoff = Backoff::default();
        while journal.strong_count() > 0 {
            let asked_at = Instant::now();
            match self.store.take_ship_turn(self.shipping()).await {
                Ok(ShipTurn::Own) => {
                    backoff.reset();
                    tokio::select! {
                        // Asked first: a process that was stopped for longer than its lease must not go on where it was.
                        biased;
                        () = self.keep_turn(asked_at) => {
                            tracing::warn!(target = self.target.name(), "another process ships from now on");
                        }
                        () = self.ship(&journal, &mut bucket, began) => {}
                    }
                    self.gauges.clear(self.target.name(), &self.metrics);
                }
                Ok(ShipTurn::Another(lasts)) => sleep(lasts.min(SHIP_LEASE) + LOOK_EVERY.mul_f64(chance() / 2.0)).await,
                Err(error) => {
                    tracing::warn!(%error, target = self.target.name(), "it is not known whose turn it is to ship");
                    sleep(backoff.next(None, chance())).await;
                }
            }
        }
        // Another process then need not wait until the lease ends. If this fails, it waits.
        let _ = self.store.end_ship_turn(self.shipping()).await;
    }

    fn shipping(&self) -> Shipping<'_> {
        Shipping { target: self.target.name(), token: &self.token }
    }

    /// Renews the lease that was asked for at `asked_at`. Comes back once it cannot be relied on any more.
    async fn keep_turn(&self, asked_at: Instant) {
        let mut until = asked_at + SHIP_LEASE - MARGIN;
        loop {
            sleep(RENEW_EVERY).await;
            let asked_at = Instant::now();
            match timeout_at(until, self.store.take_ship_turn(self.shipping())).await {
                Ok(Ok(ShipTurn::Own)) => until = asked_at + SHIP_LEASE - MARGIN,
                Ok(Err(_)) if Instant::now() < until => {}
                _ => return,
            }
        }
    }

    /// Ships batch after batch. Comes back when the cache is gone or the store says that the turn is another's.
    async fn ship(&self, journal: &Weak<Journal>, bucket: &mut TokenBucket, began: Instant) {
        let mut backoff = Backoff::default();
        while let Some(news) = journal.upgrade().map(|journal| journal.news()) {
            let heard = news.notified();
            tokio::pin!(heard);
            // From now on, so that what comes while the store is asked is heard of as well.
            heard.as_mut().enable();
            match self.store.unshipped(self.shipping(), MAX_BATCH).await {
                Ok(Some(unshipped)) if unshipped.records.is_empty() => {
                    self.gauges.set(self.target.name(), Gauge::default(), &self.metrics);
                    // Running out of time is one of the two ordinary ends.
                    let _ = timeout(LOOK_EVERY, heard).await;
                }
                Ok(Some(unshipped)) => match self.ship_batch(unshipped, journal, bucket, began).await {
                    Ok(()) => backoff.reset(),
                    Err(TurnLost) => return,
                },
                Ok(None) => return,
                Err(error) => self.store_failed(&error, &mut backoff).await,
            }
        }
    }

    async fn ship_batch(
        &self,
        unshipped: Unshipped,
        journal: &Weak<Journal>,
        bucket: &mut TokenBucket,
        began: Instant,
    ) -> Result<(), TurnLost> {
        let Unshipped { records, mut behind, lag } = unshipped;
        let taken_at = Instant::now();
        let gauge = |done: usize, behind: u64| {
            let queued = (records.len() - done) as u64 + behind;
            // That of the first of the batch, also once that one is done: too long rather than too short.
            let lag = if queued == 0 { Duration::ZERO } else { lag + taken_at.elapsed() };
            self.gauges.set(self.target.name(), Gauge { queued, lag }, &self.metrics);
        };
        let mut done = 0;
        for call in self.target.calls(&records) {
            let mut backoff = Backoff::default();
            gauge(done, behind);
            loop {
                sleep(bucket.take(began.elapsed())).await;
                let Err(failure) = self.target.send(&call).await else { break };
                let wait = backoff.next(failure.retry_after, chance());
                behind = self.note(&failure, wait).await.unwrap_or(behind);
                gauge(done, behind);
                sleep(wait).await;
                if journal.strong_count() == 0 {
                    return Err(TurnLost);
                }
            }
            if call.completes > done {
                self.confirm(&records[done..call.completes]).await?;
                done = call.completes;
            }
        }
        // What the target need not be told of is done as well.
        self.confirm(&records[done..]).await?;
        gauge(records.len(), behind);
        Ok(())
    }

    /// Tells people of a failure. What comes back is how many records come after the batch, if that is known.
    async fn note(&self, failure: &Failure, wait: Duration) -> Option<u64> {
        let why = &failure.why;
        tracing::warn!(target = self.target.name(), "the edge could not be told: {why}; trying again in {wait:?}");
        self.metrics.ship_errors.add(1);
        let noted = self.store.not_shipped(self.shipping(), why).await;
        noted.inspect_err(|error| tracing::warn!(%error, "the failure is not noted in the store")).ok()
    }

    /// Notes what the target has accepted. It has, so this is tried until the store takes it.
    async fn confirm(&self, records: &[FeedRecord]) -> Result<(), TurnLost> {
        let mut backoff = Backoff::default();
        while !records.is_empty() {
            match self.store.shipped(self.shipping(), records).await {
                Ok(true) => {
                    self.metrics.records_shipped.add(records.len() as u64);
                    break;
                }
                Ok(false) => return Err(TurnLost),
                Err(error) => self.store_failed(&error, &mut backoff).await,
            }
        }
        Ok(())
    }

    async fn store_failed(&self, error: &StoreError, backoff: &mut Backoff) {
        tracing::warn!(%error, target = self.target.name(), "the journal cannot be read for shipping");
        sleep(backoff.next(None, chance())).await;
    }
}

fn chance() -> f64 {
    Randomness::system().draw()
}

/// How far behind the targets are that this process ships to.
#[derive(Default)]
pub(crate) struct ShipGauges(Mutex<BTreeMap<String, Gauge>>);

#[derive(Debug, Clone, Copy, Default)]
struct Gauge {
    queued: u64,
    lag: Duration,
}

impl ShipGauges {
    fn set(&self, target: &str, gauge: Gauge, metrics: &Metrics) {
        self.change(metrics, |gauges| {
            gauges.insert(target.to_owned(), gauge);
        });
    }

    fn clear(&self, target: &str, metrics: &Metrics) {
        self.change(metrics, |gauges| {
            gauges.remove(target);
        });
    }

    fn change(&self, metrics: &Metrics, change: impl FnOnce(&mut BTreeMap<String, Gauge>)) {
        let mut gauges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut gauges);
        let lag = gauges.values().map(|gauge| gauge.lag).max().unwrap_or_default();
        metrics.ship_queued.set(gauges.values().map(|gauge| gauge.queued).sum());
        metrics.ship_lag_ms.set(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
    }
}
