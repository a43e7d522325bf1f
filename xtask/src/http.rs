//! The HTTP client of all commands.

use std::time::Duration;

use strata_harness::error::{Context, Result};

/// Returns a client for loopback addresses: no proxy, no redirects, a timeout of 10 s.
///
/// # Errors
/// If the client cannot be built.
pub(crate) fn client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .build()
        .context(|| "building an HTTP client".to_owned())
}

/// Returns whether the URL answers with 200.
pub(crate) async fn answers(client: &reqwest::Client, url: &str) -> bool {
    client.get(url).send().await.is_ok_and(|answer| answer.status() == reqwest::StatusCode::OK)
}
