//! Journal → edge: every record that was appended reaches the worker at least once, through restarts of either side.
//!
//! The processes of the fleet share the work: the feed is read as a consumer group, and what a process took but did not
//! confirm is taken over by another. A record that arrives twice or late changes nothing, since the edge compares positions.

mod worker;

use std::mem;
use std::sync::{Arc, Weak};
use std::time::Duration;

use shared_keys::Scope;
use shared_keys::purge::{MAX_BODY_BYTES, MAX_RECORDS, MAX_SCOPE_BYTES, PurgeMessage, PurgeRecord};

pub(crate) use self::worker::WorkerEndpoint;
use crate::error::BoxError;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::store::{FeedRecord, Store};

/// Records taken at a time.
const MAX_BATCH: usize = 500;
/// The scopes and their surroundings in one message. Half of what the worker accepts, since JSON can double a byte.
const MAX_MESSAGE_BYTES: usize = MAX_BODY_BYTES / 2;
/// What a record takes besides its scope, at most: mode, position, names, punctuation.
const RECORD_BYTES: usize = 128;
const _: () = assert!(MAX_MESSAGE_BYTES / RECORD_BYTES <= MAX_RECORDS);
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
        for message in messages_of(&records) {
            self.endpoint.send(&message).await?;
        }
        self.store.shipped(&records).await?;
        self.metrics.records_shipped.add(records.len() as u64);
        Ok(())
    }
}

/// The records as messages that the worker accepts, in order.
fn messages_of(records: &[FeedRecord]) -> Vec<PurgeMessage> {
    let mut messages = Vec::new();
    let (mut message, mut bytes) = (PurgeMessage::default(), 0);
    for record in records {
        for scope in &record.scopes {
            let scope = understood(scope);
            let size = scope.to_string().len() + RECORD_BYTES;
            if bytes + size > MAX_MESSAGE_BYTES {
                messages.push(mem::take(&mut message));
                bytes = 0;
            }
            bytes += size;
            message.records.push(PurgeRecord { scope, mode: record.mode, position: Some(record.position) });
        }
    }
    messages.push(message);
    messages
}

/// The scope, or everything if its text is too long or would not be understood: a record that the worker refuses would
/// hold up all that come after it.
fn understood(scope: &Scope) -> Scope {
    let text = scope.to_string();
    if text.len() <= MAX_SCOPE_BYTES && text.parse().as_ref() == Ok(scope) { scope.clone() } else { Scope::All }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared_keys::purge::MAX_BODY_BYTES;
    use shared_keys::{Mode, Position, Tag};

    use super::*;

    fn record(ms: u64, scopes: Vec<Scope>) -> FeedRecord {
        FeedRecord { position: Position::new(ms, 0), mode: Mode::Remove, scopes }
    }

    proptest! {
        // Each case is a megabyte or more.
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn every_record_goes_in_a_message_that_the_worker_takes_and_in_order(sizes in prop::collection::vec(0usize..1025, 1..3000)) {
            // A quote is the worst that JSON can make of a byte that a tag may hold.
            let scopes = sizes.iter().map(|&size| Scope::Tag(Tag::new(&"\"".repeat(size.max(1))).unwrap()));
            let records: Vec<_> = scopes.enumerate().map(|(n, scope)| record(n as u64, vec![scope])).collect();
            let mut shipped = Vec::new();
            for message in messages_of(&records) {
                let body = message.to_json();
                prop_assert!(body.len() <= MAX_BODY_BYTES);
                shipped.extend(PurgeMessage::parse(body.as_bytes()).unwrap().records);
            }
            let sent: Vec<_> = records.into_iter().map(|record| (record.position, record.scopes[0].clone())).collect();
            let got: Vec<_> = shipped.into_iter().map(|record| (record.position.unwrap(), record.scope)).collect();
            prop_assert_eq!(got, sent);
        }
    }

    #[test]
    fn what_the_worker_would_not_understand_goes_as_everything() {
        for scope in [Scope::Path("".into()), Scope::Key("".into()), Scope::Key("k".repeat(5000).into())] {
            assert_eq!(messages_of(&[record(1, vec![scope])])[0].records[0].scope, Scope::All);
        }
    }
}
