//! What the worker holds of a URL.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{AGE, HeaderMap};
use serde::Serialize;

use crate::error::{AdminError, AdminFailure};

/// The name that the worker has in `Cache-Status`.
const EDGE: &str = "strata-edge";
const PATIENCE: Duration = Duration::from_secs(10);

/// What the worker in front of a URL answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EdgeCopy {
    /// What was asked for.
    pub url: String,
    /// The answer's status.
    pub status: u16,
    /// Seconds since the origin made it.
    pub age_secs: Option<u64>,
    /// The worker's member of `Cache-Status`: whether the store had it, and if not, why.
    pub cache_status: String,
}

/// Asks the worker what its data centre nearest to here holds of `url`. By a `HEAD`: what is held answers it, and if nothing is,
/// it goes to the origin and nothing is stored.
///
/// # Errors
/// If `url` is none, nobody answers, or what answers is not the worker.
pub async fn edge_copy(url: &str) -> Result<EdgeCopy, AdminError> {
    let parsed =
        Url::parse(url).map_err(|error| AdminFailure::EdgeUrl { url: url.to_owned(), why: error.to_string() })?;
    let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
    let answer = client.build().map_err(AdminFailure::Edge)?.head(parsed).send().await.map_err(AdminFailure::Edge)?;
    let cache_status =
        edge_member(answer.headers()).ok_or_else(|| AdminFailure::NoEdge { url: url.to_owned(), member: EDGE })?;
    let age = answer.headers().get(AGE).and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(EdgeCopy { url: url.to_owned(), status: answer.status().as_u16(), age_secs: age, cache_status })
}

/// The worker's member, the last one of that name: caches append theirs (RFC 9211).
pub(crate) fn edge_member(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all("cache-status").iter().filter_map(|line| line.to_str().ok());
    let members = lines.flat_map(|line| line.split(", ")).map(str::trim);
    members.filter(|member| member.split(';').next().map(str::trim) == Some(EDGE)).last().map(str::to_owned)
}
