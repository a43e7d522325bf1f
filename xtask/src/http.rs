//! The one way in which the commands make requests.

use std::time::Duration;

use crate::error::{Doing, Result};

/// A client for loopback addresses: no proxy, no redirects, at most 10 s for an answer.
pub(crate) fn client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .build()
        .doing(|| "making an HTTP client".to_owned())
}

/// Whether the URL answers with 200.
pub(crate) async fn answers(client: &reqwest::Client, url: &str) -> bool {
    client.get(url).send().await.is_ok_and(|answer| answer.status() == reqwest::StatusCode::OK)
}
