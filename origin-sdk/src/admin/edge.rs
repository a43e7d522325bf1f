//! The worker's copy of a URL.

use std::time::Duration;

use reqwest::header::{AGE, HeaderMap};
use serde::Serialize;

use crate::error::{AdminError, AdminFailure};
use crate::web_url;

/// The worker's name in `Cache-Status`.
const EDGE: &str = "strata-edge";
/// The timeout of the request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The worker's response to a `HEAD` of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EdgeCopy {
    /// The requested URL, without user name, password and query.
    pub url: String,
    /// The response's status code.
    pub status: u16,
    /// The response's `Age`, in seconds; `None` if it has none.
    pub age_secs: Option<u64>,
    /// The worker's member of `Cache-Status`: whether the response comes from the worker's cache,
    /// and the reason if it does not.
    pub cache_status: String,
}

/// Returns the copy of `url` that the worker holds in the nearest data centre.
///
/// Sends a `HEAD`, which a stored response answers. Without one the request goes to the origin, and
/// the worker stores nothing. The timeout is 10 s; redirects are not followed.
///
/// # Errors
/// If `url` is not a URL, if the request fails, or if the response does not come through the
/// worker.
pub async fn edge_copy(url: &str) -> Result<EdgeCopy, AdminError> {
    let parsed = web_url::parse(url).map_err(AdminFailure::EdgeUrl)?;
    let shown = web_url::shown(&parsed);
    let failed = |error: reqwest::Error| AdminFailure::Edge(error.without_url());
    let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
    let response = client.build().map_err(failed)?.head(parsed).send().await.map_err(failed)?;
    let cache_status = edge_member(response.headers())
        .ok_or_else(|| AdminFailure::NoEdge { url: shown.clone(), member: EDGE })?;
    let age = response.headers().get(AGE).and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(EdgeCopy { url: shown, status: response.status().as_u16(), age_secs: age, cache_status })
}

/// Returns the worker's member of `Cache-Status`. Takes the last one of its name, because each
/// cache appends its member (RFC 9211, section 2).
pub(crate) fn edge_member(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all("cache-status").iter().filter_map(|line| line.to_str().ok());
    let members = lines.flat_map(|line| line.split(", ")).map(str::trim);
    members.filter(|member| member.split(';').next().map(str::trim) == Some(EDGE)).last().map(str::to_owned)
}
