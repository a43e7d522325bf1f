//! The worker's purge endpoint as a [`Target`].

use std::mem;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, FutureExt};
use reqwest::Url;
use serde::Deserialize;
use shared_keys::Scope;
use shared_keys::purge::{
    MAX_BODY_BYTES, MAX_RECORDS, MAX_SCOPE_BYTES, Nonce, PURGE_PATH, PurgeMessage, PurgeRecord,
    SIGNATURE_HEADER, Secret, SignedParts, sign, signed_host,
};

use super::pacing::Rate;
use super::target::{Call, Failure, Target, client, read};
use crate::error::BuildError;
use crate::store::FeedRecord;
use crate::web_url;

/// All calls go to one Durable Object, which serves hundreds of requests per second, and each call
/// is a batch.
const RATE: Rate = Rate { per_second: 20.0, burst: 50 };
/// The limit of a message before JSON escaping. Half of the worker's limit, since escaping can
/// double the size.
const MAX_MESSAGE_BYTES: usize = MAX_BODY_BYTES / 2;
/// An upper bound of a record's size without its scope: mode, position, names, punctuation.
const RECORD_BYTES: usize = 128;
const _: () = assert!(MAX_MESSAGE_BYTES / RECORD_BYTES <= MAX_RECORDS);

/// The worker's response to an accepted message.
#[derive(Deserialize)]
struct AcceptedResponse {
    /// The number of records that the worker accepted.
    accepted: usize,
}

/// The worker's purge endpoint: its URL, the signing secret and an HTTP client.
pub(crate) struct WorkerEndpoint {
    url: Url,
    secret: Secret,
    client: reqwest::Client,
}

impl WorkerEndpoint {
    pub(crate) fn new(base: &str, secret: Secret) -> Result<Self, BuildError> {
        let url = web_url::parse(base).map_err(|problem| BuildError::EdgeUrl { problem })?;
        if secret.is_short() {
            tracing::warn!(
                "the purge secret has less than 32 bytes: use 32 random ones, as of `openssl rand -hex 32`"
            );
        }
        Ok(Self { client: client("edge", &url)?, url, secret })
    }

    async fn post(&self, call: &Call) -> Result<(), Failure> {
        let url = self.url.join(call.path).map_err(|error| Failure::new(error.to_string()))?;
        let body = call.body.clone();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let host = signed_host(&url);
        let parts = SignedParts { method: "POST", host: &host, path: call.path, body: body.as_bytes() };
        let signature = sign(&self.secret, parts, now, &Nonce::from_random(crate::random::system_bytes()));
        let request = self.client.post(url).header(SIGNATURE_HEADER, signature);
        let response = request.header("content-type", "application/json").body(body).send().await?;
        let (head, answer) = read(response).await;
        // The status alone proves nothing: another service at this address may answer 200 to
        // anything.
        match serde_json::from_str::<AcceptedResponse>(&answer) {
            Ok(response) if head.status.is_success() && response.accepted == call.operations => Ok(()),
            _ => Err(Failure::unexpected("the worker to accept the purge", &head, &answer)),
        }
    }
}

impl Target for WorkerEndpoint {
    fn name(&self) -> &str {
        "worker"
    }

    fn rate(&self) -> Rate {
        RATE
    }

    fn calls(&self, records: &[FeedRecord]) -> Vec<Call> {
        messages_of(records)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<(), Failure>> {
        self.post(call).boxed()
    }
}

/// Splits the records into messages within the worker's limits, in order.
fn messages_of(records: &[FeedRecord]) -> Vec<Call> {
    let call = |message: &PurgeMessage, completes| Call {
        path: PURGE_PATH,
        body: message.to_json(),
        operations: message.records.len(),
        completes,
    };
    let mut calls = Vec::new();
    let (mut message, mut bytes) = (PurgeMessage::default(), 0);
    for (complete, record) in records.iter().enumerate() {
        for scope in &record.scopes {
            let scope = encodable(scope);
            let size = scope.to_string().len() + RECORD_BYTES;
            if bytes + size > MAX_MESSAGE_BYTES {
                calls.push(call(&mem::take(&mut message), complete));
                bytes = 0;
            }
            bytes += size;
            message.records.push(PurgeRecord { scope, mode: record.mode, position: Some(record.position) });
        }
    }
    calls.push(call(&message, records.len()));
    calls
}

/// Returns the scope, or [`Scope::All`] if its text is too long or does not parse back to it.
///
/// A record that the worker refuses would be retried forever and block every record after it.
fn encodable(scope: &Scope) -> Scope {
    let text = scope.to_string();
    if text.len() <= MAX_SCOPE_BYTES && text.parse().as_ref() == Ok(scope) {
        scope.clone()
    } else {
        Scope::All
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared_keys::{Mode, Position, Tag};

    use super::*;

    fn record(ms: u64, scopes: Vec<Scope>) -> FeedRecord {
        FeedRecord { position: Position::new(ms, 0), mode: Mode::Remove, scopes }
    }

    #[cfg(not(feature = "tls"))]
    #[tokio::test]
    async fn a_worker_over_tls_names_the_feature_that_is_off() {
        let secret = Secret::new("a secret of 32 bytes, as it should").unwrap();
        let refused = WorkerEndpoint::new("https://shop.example", secret).err().unwrap();
        assert!(refused.to_string().contains("feature `tls`"), "{refused}");
    }

    fn sent(call: &Call) -> Vec<PurgeRecord> {
        PurgeMessage::parse(call.body.as_bytes()).unwrap().records
    }

    proptest! {
        // Few cases, since each produces a megabyte or more.
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn records_are_sent_in_order_in_messages_within_the_workers_limits(
            sizes in prop::collection::vec(prop::collection::vec(1usize..1025, 1..4), 1..1000),
        ) {
            // A quote is the worst case: JSON escapes it, which doubles its size.
            let scope = |size: &usize| Scope::Tag(Tag::new(&"\"".repeat(*size)).unwrap());
            let scopes = sizes.iter().map(|sizes| sizes.iter().map(scope).collect::<Vec<_>>());
            let records: Vec<_> = scopes.enumerate().map(|(n, scopes)| record(n as u64, scopes)).collect();
            let mut got = Vec::new();
            for call in messages_of(&records) {
                prop_assert!(call.body.len() <= MAX_BODY_BYTES);
                let sent = sent(&call);
                prop_assert_eq!(sent.len(), call.operations);
                got.extend(sent.into_iter().map(|record| (record.position.unwrap(), record.scope)));
                // All scopes of the completed records have been sent, by this call or an earlier
                // one.
                let scopes: usize = records[..call.completes].iter().map(|record| record.scopes.len()).sum();
                prop_assert!(scopes <= got.len());
            }
            let all: Vec<_> = records
                .iter()
                .flat_map(|record| record.scopes.iter().map(|scope| (record.position, scope.clone())))
                .collect();
            prop_assert_eq!(got, all);
        }
    }

    #[test]
    fn a_scope_that_the_worker_would_refuse_is_sent_as_all() {
        for scope in [Scope::Path("".into()), Scope::Key("".into()), Scope::Key("k".repeat(5000).into())] {
            assert_eq!(sent(&messages_of(&[record(1, vec![scope])])[0])[0].scope, Scope::All);
        }
    }
}
