//! A target of the shipper: the seam between the shipper and the network.

use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, Url};

use super::pacing::Rate;
use crate::error::BuildError;
use crate::store::FeedRecord;

/// The timeout of one call. The shipper retries a call that exceeds it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The number of characters of an unexpected response body that an error shows.
const SHOWN_CHARS: usize = 200;

/// A receiver of every journal record, such as the worker or a zone.
///
/// Implementations guarantee that a repeated or late call changes nothing but what its records say,
/// and that no error contains a secret.
pub(crate) trait Target: Send + Sync + 'static {
    /// Returns the name under which the store holds the target's progress. It must not change:
    /// under a new name the target is sent the whole journal again.
    fn name(&self) -> &str;

    /// Returns the rate of calls that the target accepts.
    fn rate(&self) -> Rate;

    /// Returns the calls that deliver these records, in order. Records that the target need not
    /// receive have no call.
    fn calls(&self, records: &[FeedRecord]) -> Vec<Call>;

    /// Makes a call and returns once the target has accepted it.
    ///
    /// # Errors
    /// If the call failed or the target did not accept it. The shipper retries every error.
    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<(), Failure>>;
}

/// One request to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// The path, relative to the target's base URL.
    pub(crate) path: &'static str,
    pub(crate) body: String,
    /// The number of operations in the body: purge records, or tags.
    pub(crate) operations: usize,
    /// How many of the records, counted from the first, are delivered once this call is accepted.
    pub(crate) completes: usize,
}

/// The failure of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// The `Retry-After` of the response, if it has a valid one.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), retry_after: None }
    }

    /// Creates the failure for a response that is not the expected one.
    pub(crate) fn unexpected(expected: &str, head: &Head, body: &str) -> Self {
        let shown: String = body.chars().take(SHOWN_CHARS).collect();
        Self {
            why: format!("expected {expected}, got {}: {shown}", head.status),
            retry_after: head.retry_after,
        }
    }
}

impl From<reqwest::Error> for Failure {
    /// Removes the URL, which may contain a password.
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::new(format!("{error}{cause}"))
    }
}

/// The parts of a response that the shipper uses besides its body.
pub(crate) struct Head {
    pub(crate) status: reqwest::StatusCode,
    retry_after: Option<Duration>,
}

/// Reads a response's head and body. An incomplete body is returned as empty, because it does not
/// prove that the target accepted the call.
pub(crate) async fn read(response: Response) -> (Head, String) {
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let head = Head {
        status: response.status(),
        retry_after: retry_after.and_then(|text| parse_retry_after(text, SystemTime::now())),
    };
    (head, response.text().await.unwrap_or_default())
}

/// Parses a `Retry-After`: seconds or an HTTP date (RFC 9110, 10.2.3). A past date gives zero.
fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(secs) = text.trim().parse() {
        return Some(Duration::from_secs(secs));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// Builds the HTTP client for calls to a target.
pub(crate) fn client(setting: &'static str, url: &Url) -> Result<reqwest::Client, BuildError> {
    #[cfg(not(feature = "tls"))]
    if url.scheme() == "https" {
        return Err(BuildError::TlsFeature { setting, scheme: "https" });
    }
    #[cfg(feature = "tls")]
    let _ = (setting, url);
    // A redirect can turn the POST into a GET (RFC 9110, 15.4), whose response does not confirm the
    // purge.
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
        for (text, expected) in
            [("7", Some(7)), (" 7 ", Some(7)), (&date(60), Some(60)), ("soon", None), ("-1", None)]
        {
            assert_eq!(parse_retry_after(text, now), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(parse_retry_after(&date(0), now + Duration::from_secs(9)), Some(Duration::ZERO));
    }
}
