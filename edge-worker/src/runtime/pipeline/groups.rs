//! Appends the invalidation of cache groups to the journal, so that all isolates obey it.

use std::time::Duration;

use shared_keys::purge::{PurgeMessage, PurgeRecord};
use shared_keys::{Mode, Scope};
use wasm_bindgen::JsValue;
use worker::js_sys::{Array, Math};
use worker::{Context, Delay};

use super::exchange::Exchange;
use crate::error::Error;
use crate::journal::numbered_records;
use crate::journal::timing::OBJECT_TIMEOUT;
use crate::runtime::journal::Journal;
use crate::runtime::{after_response, json_object, json_text, now, timeout};

/// The waits between the attempts after the response. The runtime ends background work after 30 s.
const RETRY_AFTER: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// An invalidation on its way to the journal. All attempts have one nonce, so that it is appended
/// once.
struct Invalidation {
    nonce: String,
    body: String,
    message: PurgeMessage,
}

impl Exchange {
    /// Invalidates these scopes in all isolates. This isolate obeys at once, unless the journal
    /// object fails; the append is then retried after the response.
    pub(super) async fn invalidate_scopes(&self, scopes: Vec<Scope>, context: &Context) {
        let invalidation = Invalidation::new(scopes);
        let journal = self.journal.clone();
        let first = timeout(OBJECT_TIMEOUT, invalidation.append(&journal)).await;
        if let Err(error) = &first {
            worker::console_warn!("the invalidation of cache groups is not appended yet: {error}");
        }
        after_response(context, async move {
            if first.is_err() && !invalidation.retry(&journal).await {
                return;
            }
            if let Err(error) = journal.refresh_from_object().await {
                worker::console_warn!("the journal is not refreshed after an invalidation: {error}");
            }
        });
    }
}

impl Invalidation {
    fn new(scopes: Vec<Scope>) -> Self {
        let record = |scope| PurgeRecord { scope, mode: Mode::Remove, position: None };
        let message = PurgeMessage { records: scopes.into_iter().map(record).collect() };
        let records: Array = message
            .records
            .iter()
            .map(|record| {
                JsValue::from(json_object(&[
                    ("scope", record.scope.to_string().into()),
                    ("mode", record.mode.as_str().into()),
                ]))
            })
            .collect();
        let body = json_text(&[("v", 1.into()), ("records", records.into())]);
        let nonce = format!("groups-{:016x}{:016x}", Math::random().to_bits(), Math::random().to_bits());
        Self { nonce, body, message }
    }

    async fn append(&self, journal: &Journal) -> Result<(), Error> {
        // Without an answer, an earlier attempt was appended.
        if let Some(appended) = journal.append(&self.nonce, self.body.as_bytes()).await? {
            journal.apply(numbered_records(&self.message, appended.seq, now()));
        }
        Ok(())
    }

    /// Repeats the append until it succeeds. Returns `false`, and logs the error, if it never does.
    async fn retry(&self, journal: &Journal) -> bool {
        for wait in RETRY_AFTER {
            Delay::from(wait).await;
            match timeout(OBJECT_TIMEOUT, self.append(journal)).await {
                Ok(()) => return true,
                Err(error) => worker::console_error!("cache groups are not invalidated: {error}"),
            }
        }
        false
    }
}
