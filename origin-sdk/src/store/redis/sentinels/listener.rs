//! The sentinels' news of failovers.
//!
//! They only make a process ask at once. One that misses them asks a little later.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Sentinel, Sentinels};
use crate::error::StoreError;
use crate::store::redis::subscription::Subscription;

/// The channel of failovers. A message is `service old-host old-port new-host new-port`.
const SWITCHES: &str = "+switch-master";
/// The pause after a failed subscription.
const RETRY: Duration = Duration::from_secs(1);

/// Listens to one sentinel until the sentinels are dropped.
pub(super) async fn listen(sentinels: Weak<Sentinels>, sentinel: Arc<Sentinel>) {
    while sentinels.strong_count() > 0 {
        if let Ok(mut subscription) = subscribe(&sentinel).await {
            while let Some(message) = subscription.next().await
                && let Some(sentinels) = sentinels.upgrade()
            {
                let payload = String::from_utf8_lossy(message.get_payload_bytes());
                if payload.split(' ').next() == Some(&sentinels.service) {
                    // A failure is reported by the next operation.
                    let _ = sentinels.confirm(Duration::ZERO).await;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn subscribe(sentinel: &Sentinel) -> Result<Subscription, StoreError> {
    let timeout = sentinel.timeout;
    let subscribe =
        async { Subscription::open(sentinel.server.subscriber().await?, SWITCHES, timeout).await };
    tokio::time::timeout(timeout, subscribe).await.unwrap_or(Err(StoreError::Timeout(timeout)))
}
