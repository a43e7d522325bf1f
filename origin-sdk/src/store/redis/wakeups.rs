//! The channel on which this process is notified that a lease it waits for has ended.
//!
//! A waiter adds its channel's name to the lease, and the script that ends the lease publishes to
//! those channels only. A load without waiters publishes nothing, and a process receives no message
//! about loads that it does not wait for.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{Either, select};

use super::connection::Timeouts;
use super::primary::Primary;
use super::subscription::Subscription;
use crate::error::StoreError;
use crate::store::{Outcome, Watch, Watches};
use crate::task::AbortOnDrop;

/// A subscription on its own connection, opened on first use.
pub(super) struct Wakeups {
    primary: Primary,
    channel: String,
    timeouts: Timeouts,
    watches: Watches,
    is_open: Arc<AtomicBool>,
    subscription: Mutex<Option<AbortOnDrop>>,
    /// Locked while subscribing, so that concurrent callers share one connection.
    subscribing: tokio::sync::Mutex<()>,
}

impl Wakeups {
    pub(super) fn new(primary: Primary, channel: String, timeouts: Timeouts) -> Self {
        Self {
            primary,
            channel,
            timeouts,
            watches: Watches::default(),
            is_open: Arc::default(),
            subscription: Mutex::default(),
            subscribing: tokio::sync::Mutex::default(),
        }
    }

    /// Returns a watch on the end of the key's lease, once the subscription is open.
    pub(super) async fn watch(&self, key: &str) -> Result<Watch, StoreError> {
        if !self.is_open() {
            let _subscribing = self.subscribing.lock().await;
            if !self.is_open() {
                let (number, subscription) = self.subscribe().await?;
                let listener = Listener { watches: self.watches.clone(), is_open: Arc::clone(&self.is_open) };
                self.is_open.store(true, Ordering::Release);
                let listening = tokio::spawn(listener.listen(subscription, self.primary.clone(), number));
                let mut current = self.subscription.lock().unwrap_or_else(PoisonError::into_inner);
                *current = Some(AbortOnDrop(listening));
            }
        }
        Ok(self.watches.watch(key))
    }

    /// Returns a watch on the end of the key's lease if the subscription is open.
    pub(super) fn watch_if_open(&self, key: &str) -> Option<Watch> {
        // The watch first: if the subscription ends in between, its end wakes the watch.
        let watch = self.watches.watch(key);
        self.is_open().then_some(watch)
    }

    /// Returns the channel on which to notify this process, while its subscription is open.
    pub(super) fn channel(&self) -> Option<&str> {
        self.is_open().then_some(&self.channel)
    }

    async fn subscribe(&self) -> Result<(u64, Subscription), StoreError> {
        let subscribe = async {
            let (number, connection) = self.primary.subscriber().await?;
            Ok((number, Subscription::open(connection, &self.channel, self.timeouts.command).await?))
        };
        let timeout = self.timeouts.overall;
        tokio::time::timeout(timeout, subscribe).await.unwrap_or(Err(StoreError::Timeout(timeout)))
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }
}

/// The task that reads an open subscription. Its end wakes all waiters, as messages may have been
/// lost, also if its runtime has ended.
struct Listener {
    watches: Watches,
    is_open: Arc<AtomicBool>,
}

impl Listener {
    /// Forwards published outcomes to the waiters until the connection fails or leads to the
    /// primary no more.
    async fn listen(self, mut subscription: Subscription, primary: Primary, number: u64) {
        loop {
            let (message, replaced) = (pin!(subscription.next()), pin!(primary.replaced(number)));
            let Either::Left((Some(message), _)) = select(message, replaced).await else { return };
            let text = String::from_utf8_lossy(message.get_payload_bytes());
            if let Some((outcome, key)) = text.split_once(' ') {
                self.watches.notify(key, Outcome::from_name(outcome));
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.is_open.store(false, Ordering::Release);
        self.watches.notify_all();
    }
}
