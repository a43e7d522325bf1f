//! Builders of the requests and responses in the tests of `policy` and `rules`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use shared_keys::{Applied, Seq, Stamp};

use super::{Choices, Request, StoredResponse};

/// The time at which [`stored`] responses arrive, in seconds since 1970.
pub(crate) const ARRIVED: u64 = 100 * 86_400 * 10;

/// Returns the time `unix_secs` seconds after 1970.
pub(crate) fn at(unix_secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(unix_secs)
}

pub(crate) fn http_date(unix_secs: u64) -> String {
    httpdate::fmt_http_date(at(unix_secs))
}

#[track_caller]
pub(crate) fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        })
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
}

/// Returns a journal without records.
pub(crate) fn nothing_applied() -> Applied {
    Applied::new(1000)
}

/// Returns a GET request with these fields and the default choices.
pub(crate) fn get(headers: &HeaderMap) -> Request<'_> {
    Request { method: &Method::GET, headers, choices: Choices::default() }
}

/// Returns a 200 that was requested and arrived at [`ARRIVED`], with the edge journal at 1.
#[track_caller]
pub(crate) fn stored(fields: &[(&str, &str)]) -> StoredResponse {
    StoredResponse {
        status: StatusCode::OK,
        headers: headers(fields),
        request_time: at(ARRIVED),
        response_time: at(ARRIVED),
        stamp: Stamp { origin: None, edge: Some(Seq(1)) },
        scopes: Vec::new(),
    }
}
