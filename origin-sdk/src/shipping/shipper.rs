//! The shipper: delivers the journal to one target while this process holds the target's lease.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::pacing::{Backoff, TokenBucket};
use super::target::{Failure, Target};
use crate::closing::{Closing, Phase};
use crate::error::StoreError;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::random::{self, Randomness};
use crate::store::{FeedRecord, SHIP_LEASE, ShipTurn, Shipping, Store, Unshipped};
use crate::task::{Supervisor, TaskPermit};

/// The most records read from the journal at a time.
const MAX_BATCH: usize = 500;
/// The longest wait before the journal is read again, in case a wake-up was missed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often the lease is renewed.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);
/// How long before the end of its lease a process stops that could not renew it.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

/// The time without a step after which a shipper counts as stalled: more than its longest wait
/// between two requests for the lease.
const STALLED: Duration = Duration::from_secs(60);

/// Returns a shipper for each target, to be started by [`SupervisedShipper::ensure_running`].
pub(crate) fn shippers(
    targets: Vec<Box<dyn Target>>,
    store: &Arc<dyn Store>,
    metrics: &Arc<Metrics>,
    closing: &Arc<Closing>,
) -> Vec<SupervisedShipper> {
    let gauges = Arc::new(ShipGauges::default());
    let shipper = |target: Box<dyn Target>| Shipper {
        store: Arc::clone(store),
        target: target.into(),
        token: String::new(),
        metrics: Arc::clone(metrics),
        gauges: Arc::clone(&gauges),
        closing: Arc::clone(closing),
    };
    let supervised =
        |target| SupervisedShipper { shipper: shipper(target), supervisor: Supervisor::new(STALLED) };
    targets.into_iter().map(supervised).collect()
}

/// A shipper, and the supervision of its task.
pub(crate) struct SupervisedShipper {
    shipper: Shipper,
    supervisor: Arc<Supervisor>,
}

impl SupervisedShipper {
    /// Starts the task on the current runtime unless it runs, or the cache is closed.
    pub(crate) fn ensure_running(&self, journal: &Arc<Journal>) {
        let closing = &self.shipper.closing;
        if closing.has_reached(Phase::Draining) {
            return;
        }
        let Some(permit) = self.supervisor.start() else { return };
        if permit.is_restart() {
            tracing::warn!(
                target = self.shipper.target.name(),
                "the shipper has ended or stalled; starting it again"
            );
        }
        // A task that has stalled may still hold the lease under its own token.
        let token = format!("{}-{}", std::process::id(), random::process_id());
        let shipper = Shipper { token, ..self.shipper.clone() };
        let (running, journal) = (closing.shippers.begin(), Arc::downgrade(journal));
        tokio::spawn(async move {
            shipper.run(journal, permit).await;
            drop(running);
        });
    }
}

/// The task that ships to one target.
#[derive(Clone)]
struct Shipper {
    store: Arc<dyn Store>,
    target: Arc<dyn Target>,
    /// Proves to the store that this process holds the lease.
    token: String,
    metrics: Arc<Metrics>,
    gauges: Arc<ShipGauges>,
    closing: Arc<Closing>,
}

/// The reason why a batch stops early: another process holds the lease, or the cache is gone.
struct ShippingEnded;

impl Shipper {
    /// Ships whenever this process holds the lease, until the cache that owns the journal is closed
    /// or dropped, or the task has a successor.
    async fn run(self, journal: Weak<Journal>, permit: TaskPermit) {
        let began = Instant::now();
        let mut bucket = TokenBucket::new(self.target.rate(), Duration::ZERO);
        let mut backoff = Backoff::default();
        while journal.strong_count() > 0 && permit.step() && !self.closing.has_reached(Phase::Draining) {
            let requested_at = Instant::now();
            match self.store.take_ship_turn(self.shipping()).await {
                Ok(ShipTurn::Own) => {
                    backoff.reset();
                    tokio::select! {
                        // The lease is polled first: a process that was suspended for longer than
                        // its lease must not continue to ship.
                        biased;
                        () = self.renew_lease(requested_at, &permit) => {
                            tracing::warn!(target = self.target.name(), "lost the shipping lease; requesting it again");
                        }
                        () = self.closing.reached(Phase::Closed) => {}
                        () = self.ship(&journal, &mut bucket, began) => {}
                    }
                    // While the cache closes, the gauge says what this process could not ship.
                    if !self.closing.has_reached(Phase::Draining) {
                        self.gauges.clear(self.target.name(), &self.metrics);
                    }
                }
                Ok(ShipTurn::Another(lasts)) => {
                    self.wait(lasts.min(SHIP_LEASE) + POLL_INTERVAL.mul_f64(chance() / 2.0)).await;
                }
                Err(error) => {
                    tracing::warn!(%error, target = self.target.name(), "cannot acquire the shipping lease; retrying");
                    self.wait(backoff.next(None, chance())).await;
                }
            }
        }
        // Lets another process take over at once. If this fails, the lease expires.
        let _ = self.store.end_ship_turn(self.shipping()).await;
    }

    /// Waits, at most until the cache has sent everything that it queued.
    async fn wait(&self, time: Duration) {
        let _ = timeout(time, self.closing.reached(Phase::Draining)).await;
    }

    fn shipping(&self) -> Shipping<'_> {
        Shipping { target: self.target.name(), token: &self.token }
    }

    /// Renews the lease that was requested at `requested_at`. Returns once it is lost, or may
    /// expire within [`LEASE_MARGIN`].
    async fn renew_lease(&self, requested_at: Instant, permit: &TaskPermit) {
        let mut until = requested_at + SHIP_LEASE - LEASE_MARGIN;
        while permit.step() {
            sleep(RENEW_INTERVAL).await;
            let requested_at = Instant::now();
            match timeout_at(until, self.store.take_ship_turn(self.shipping())).await {
                Ok(Ok(ShipTurn::Own)) => until = requested_at + SHIP_LEASE - LEASE_MARGIN,
                Ok(Err(_)) if Instant::now() < until => {}
                _ => return,
            }
        }
    }

    /// Ships batch after batch. Returns when the cache is gone, another process holds the lease, or
    /// the cache closes and nothing is left to ship.
    async fn ship(&self, journal: &Weak<Journal>, bucket: &mut TokenBucket, began: Instant) {
        let mut backoff = Backoff::default();
        while let Some(news) = journal.upgrade().map(|journal| journal.news()) {
            let notified = news.notified();
            tokio::pin!(notified);
            // Enabled before the read, so that a record appended during the read wakes this task.
            notified.as_mut().enable();
            let is_draining = self.closing.has_reached(Phase::Draining);
            match self.store.unshipped(self.shipping(), MAX_BATCH).await {
                Ok(Some(unshipped)) if unshipped.records.is_empty() => {
                    self.gauges.set(self.target.name(), Gauge::default(), &self.metrics);
                    if is_draining {
                        return;
                    }
                    tokio::select! {
                        () = notified => {}
                        () = self.wait(POLL_INTERVAL) => {}
                    }
                }
                Ok(Some(unshipped)) => match self.ship_batch(unshipped, journal, bucket, began).await {
                    Ok(()) => backoff.reset(),
                    Err(ShippingEnded) => return,
                },
                Ok(None) => return,
                Err(error) => self.store_failed(&error, &mut backoff).await,
            }
        }
    }

    /// Sends the calls for a batch, each until the target accepts it, and confirms their records.
    async fn ship_batch(
        &self,
        unshipped: Unshipped,
        journal: &Weak<Journal>,
        bucket: &mut TokenBucket,
        began: Instant,
    ) -> Result<(), ShippingEnded> {
        let Unshipped { records, mut behind, lag } = unshipped;
        let taken_at = Instant::now();
        let gauge = |done: usize, behind: u64| {
            let queued = (records.len() - done) as u64 + behind;
            // The lag of the batch's first record, even once that is done: an upper bound.
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
                behind = self.report(&failure, wait).await.unwrap_or(behind);
                gauge(done, behind);
                sleep(wait).await;
                if journal.strong_count() == 0 {
                    return Err(ShippingEnded);
                }
            }
            if call.completes > done {
                self.confirm(&records[done..call.completes]).await?;
                done = call.completes;
            }
        }
        // Confirms the records that need no call, too.
        self.confirm(&records[done..]).await?;
        gauge(records.len(), behind);
        Ok(())
    }

    /// Reports a failure in the log, the metrics and the target's status. Returns the number of
    /// records after the batch, or `None` if the store is unavailable.
    async fn report(&self, failure: &Failure, wait: Duration) -> Option<u64> {
        let why = &failure.why;
        tracing::warn!(target = self.target.name(), "cannot ship to the edge: {why}; retrying in {wait:?}");
        self.metrics.ship_errors.add(1);
        let behind = self.store.not_shipped(self.shipping(), why).await;
        behind
            .inspect_err(|error| tracing::warn!(%error, "cannot record the shipping failure in the store"))
            .ok()
    }

    /// Records in the store that the target has accepted these records. Retries until the store
    /// succeeds, since the target would otherwise receive them again.
    async fn confirm(&self, records: &[FeedRecord]) -> Result<(), ShippingEnded> {
        let mut backoff = Backoff::default();
        while !records.is_empty() {
            match self.store.shipped(self.shipping(), records).await {
                Ok(true) => {
                    self.metrics.records_shipped.add(records.len() as u64);
                    break;
                }
                Ok(false) => return Err(ShippingEnded),
                Err(error) => self.store_failed(&error, &mut backoff).await,
            }
        }
        Ok(())
    }

    async fn store_failed(&self, error: &StoreError, backoff: &mut Backoff) {
        tracing::warn!(%error, target = self.target.name(), "the store is unavailable for shipping; retrying");
        sleep(backoff.next(None, chance())).await;
    }
}

/// Draws a uniform random number, for jitter.
fn chance() -> f64 {
    Randomness::system().draw()
}

/// The backlog of each target that this process ships to. Sets the metrics: the sum of the queues
/// and the longest lag.
#[derive(Default)]
struct ShipGauges(Mutex<BTreeMap<String, Gauge>>);

#[derive(Debug, Clone, Copy, Default)]
struct Gauge {
    /// The number of records that are not confirmed.
    queued: u64,
    /// The age of the oldest one, or more.
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
