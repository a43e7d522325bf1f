//! A subscription to one channel, on a connection of its own.

use std::time::Duration;

use futures_util::StreamExt;
use redis::Msg;
use redis::aio::{PubSub, PubSubSink, PubSubStream};

use crate::error::StoreError;

/// How often a silent subscription is pinged, because a dead connection may report no error.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// An open subscription. Dropping it closes its connection.
pub(super) struct Subscription {
    sink: PubSubSink,
    stream: PubSubStream,
    /// The timeout of a ping.
    timeout: Duration,
}

impl Subscription {
    /// Subscribes to the channel. Has no timeout.
    pub(super) async fn open(
        mut connection: PubSub,
        channel: &str,
        timeout: Duration,
    ) -> Result<Self, StoreError> {
        connection.subscribe(channel).await?;
        let (sink, stream) = connection.split();
        Ok(Self { sink, stream, timeout })
    }

    /// Returns the next message, or `None` once the connection has failed.
    pub(super) async fn next(&mut self) -> Option<Msg> {
        loop {
            if let Ok(message) = tokio::time::timeout(CHECK_EVERY, self.stream.next()).await {
                return message;
            }
            let ping = self.sink.ping::<redis::Value>();
            tokio::time::timeout(self.timeout, ping).await.ok()?.ok()?;
        }
    }
}
