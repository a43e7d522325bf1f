//! Journal → edge: every record that was appended reaches the worker at least once, through restarts of either side.
//!
//! The processes of the fleet share the work: the feed is read as a consumer group, and what a process took but did not
//! confirm is taken over by another. A record that arrives twice or late changes nothing, since the edge compares positions.

mod worker;

use std::sync::{Arc, Weak};
use std::time::Duration;

use shared_keys::purge::{PurgeMessage, PurgeRecord};

pub(crate) use self::worker::WorkerEndpoint;
use crate::error::BoxError;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::store::{FeedRecord, Store};

/// Records in one message.
const MAX_BATCH: usize = 500;
/// The longest wait for a record; then unconfirmed records of other processes are looked for again.
const WAIT: Duration = Duration::from_secs(1);
/// Between attempts, doubling from the first to the last.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(30);

/// Sends what the edge has not confirmed.
pub(crate) struct Shipper {
    store: Arc<dyn Store>,
    endpoint: WorkerEndpoint,
    metrics: Arc<Metrics>,
}

impl Shipper {
    pub(crate) fn new(store: Arc<dyn Store>, endpoint: WorkerEndpoint, metrics: Arc<Metrics>) -> Self {
        Self { store, endpoint, metrics }
    }

    /// Ships until the cache that owns the journal is dropped.
    pub(crate) async fn run(self, journal: Weak<Journal>) {
        let mut backoff = FIRST_BACKOFF;
        while journal.strong_count() > 0 {
            match self.ship_once().await {
                Ok(()) => backoff = FIRST_BACKOFF,
                Err(error) => {
                    tracing::warn!(%error, "the journal could not be shipped to the edge; retrying in {backoff:?}");
                    self.metrics.ship_errors.add(1);
                    tokio::time::sleep(backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
                    backoff = (backoff * 2).min(LAST_BACKOFF);
                }
            }
        }
    }

    async fn ship_once(&self) -> Result<(), BoxError> {
        let records = self.store.unshipped(MAX_BATCH, WAIT).await?;
        if records.is_empty() {
            return Ok(());
        }
        self.endpoint.send(&message_of(&records)).await?;
        self.store.shipped(&records).await?;
        self.metrics.records_shipped.add(records.len() as u64);
        Ok(())
    }
}

fn message_of(records: &[FeedRecord]) -> PurgeMessage {
    let of_record = |record: &FeedRecord| {
        let (mode, position) = (record.mode, Some(record.position));
        record.scopes.clone().into_iter().map(move |scope| PurgeRecord { scope, mode, position })
    };
    PurgeMessage { records: records.iter().flat_map(of_record).collect() }
}
