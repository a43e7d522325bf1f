//! Who is told of the journal: the seam between the shipper and the network.

use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use reqwest::Response;
use reqwest::header::RETRY_AFTER;

use super::pacing::Rate;
use crate::error::BuildError;
use crate::store::FeedRecord;

/// A call that takes longer is made again.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer that was not expected, so much is shown.
const SHOWN_CHARS: usize = 200;

/// Someone who is told of every record.
///
/// Implementors hold to: calls that are made again, or late, change nothing but what their records say; and none of their
/// errors names a secret.
pub(crate) trait Target: Send + Sync + 'static {
    /// Names it in the store, for good: under another name it is told everything again.
    fn name(&self) -> &str;

    /// How many calls it takes.
    fn rate(&self) -> Rate;

    /// The calls that tell it of these records, in order. Together they complete all of them.
    fn calls(&self, records: &[FeedRecord]) -> Vec<Call>;

    /// Makes a call. Returns once the target has accepted it.
    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<(), Failure>>;
}

/// One request to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// Below the target's base URL.
    pub(crate) path: &'static str,
    pub(crate) body: String,
    /// How many things the body asks for.
    pub(crate) operations: usize,
    /// How many of the records are told completely once this call is accepted.
    pub(crate) completes: usize,
}

/// Why a call was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// How long the target asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), retry_after: None }
    }

    /// An answer that was not the expected one.
    pub(crate) fn unexpected(expected: &str, head: &Head, body: &str) -> Self {
        let shown: String = body.chars().take(SHOWN_CHARS).collect();
        Self { why: format!("expected {expected}, got {}: {shown}", head.status), retry_after: head.retry_after }
    }
}

impl From<reqwest::Error> for Failure {
    /// Without the URL, in which a password may stand.
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::new(format!("{error}{cause}"))
    }
}

/// What of an answer matters besides its body.
pub(crate) struct Head {
    pub(crate) status: reqwest::StatusCode,
    retry_after: Option<Duration>,
}

/// The answer's head and body. A body that broke off is as good as none: it proves nothing.
pub(crate) async fn read(response: Response) -> (Head, String) {
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let head = Head {
        status: response.status(),
        retry_after: retry_after.and_then(|text| parse_retry_after(text, SystemTime::now())),
    };
    (head, response.text().await.unwrap_or_default())
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(secs) = text.trim().parse() {
        return Some(Duration::from_secs(secs));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// A client for calls to a target.
pub(crate) fn client() -> Result<reqwest::Client, BuildError> {
    // A redirect would turn the POST into a GET, whose answer says nothing of the purge.
    let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
    client.build().map_err(BuildError::EdgeClient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let date = |secs| httpdate::fmt_http_date(now + Duration::from_secs(secs));
        for (text, expected) in [("7", Some(7)), (" 7 ", Some(7)), (&date(60), Some(60)), ("soon", None), ("-1", None)]
        {
            assert_eq!(parse_retry_after(text, now), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(parse_retry_after(&date(0), now + Duration::from_secs(9)), Some(Duration::ZERO));
    }
}
