//! The worker's purge endpoint.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Url;
use serde::Deserialize;
use shared_keys::purge::{Nonce, PURGE_PATH, PurgeMessage, SIGNATURE_HEADER, Secret, SignedParts, sign};

use crate::error::{BoxError, BuildError};

/// A message that takes longer is sent again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The part of the worker's answer that proves that it took the message.
#[derive(Deserialize)]
struct Accepted {
    accepted: usize,
}

/// Where and how the worker is told.
pub(crate) struct WorkerEndpoint {
    url: Url,
    secret: Secret,
    client: reqwest::Client,
}

impl WorkerEndpoint {
    pub(crate) fn new(base: &str, secret: Secret) -> Result<Self, BuildError> {
        let url = Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .and_then(|url| url.join(PURGE_PATH).ok())
            .ok_or_else(|| BuildError::EdgeUrl { url: base.to_owned() })?;
        // A redirect would turn the POST into a GET, whose answer says nothing of the purge.
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(BuildError::EdgeClient)?;
        Ok(Self { url, secret, client })
    }

    /// Returns once the worker has taken the message.
    pub(crate) async fn send(&self, message: &PurgeMessage) -> Result<(), BoxError> {
        let body = message.to_json();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let parts = SignedParts { method: "POST", path: PURGE_PATH, body: body.as_bytes() };
        let signature = sign(&self.secret, parts, now, &Nonce::from_random(rand::random()));
        let request = self.client.post(self.url.clone()).header(SIGNATURE_HEADER, signature);
        let response = request.header("content-type", "application/json").body(body).send().await?;
        let status = response.status();
        let answer = response.text().await.unwrap_or_default();
        // Something else at this address may answer 200 to anything.
        match serde_json::from_str::<Accepted>(&answer) {
            Ok(accepted) if status.is_success() && accepted.accepted == message.records.len() => Ok(()),
            _ => {
                let head: String = answer.chars().take(200).collect();
                Err(format!("expected the worker to accept the purge, got {status}: {head}").into())
            }
        }
    }
}
