//! The worker's purge endpoint.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Url;
use shared_keys::purge::{PURGE_PATH, PurgeMessage, SIGNATURE_HEADER, Secret, sign};

use crate::error::{BoxError, BuildError};

/// A message that takes longer is sent again.
const TIMEOUT: Duration = Duration::from_secs(10);

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
        let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(BuildError::EdgeClient)?;
        Ok(Self { url, secret, client })
    }

    /// Returns once the worker has taken the message.
    pub(crate) async fn send(&self, message: &PurgeMessage) -> Result<(), BoxError> {
        let body = message.to_json();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let nonce = format!("{:032x}", rand::random::<u128>());
        let signature = sign(&self.secret, "POST", PURGE_PATH, now, &nonce, body.as_bytes());
        let request = self.client.post(self.url.clone()).header(SIGNATURE_HEADER, signature);
        let response = request.header("content-type", "application/json").body(body).send().await?;
        let status = response.status();
        if !status.is_success() {
            let answer = response.text().await.unwrap_or_default();
            return Err(format!("expected the worker to accept the purge, got {status}: {answer}").into());
        }
        Ok(())
    }
}
