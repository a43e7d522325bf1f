//! Observes when followers have applied invalidations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use origin_sdk::{Cache, Position};
use redis::Client;
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

use super::member::CHANNEL;
use super::{Error, Seen, now_micros};

/// How often the followers' positions are read. The times have this error, and are never too early.
const POLL: Duration = Duration::from_micros(50);
/// How long the followers get to reach the last place.
const LIMIT: Duration = Duration::from_secs(60);
/// The time after the last message in which the subscriber receives it.
const LAST_MESSAGE: Duration = Duration::from_millis(300);
/// The most followers of a process that are watched.
const MAX_WATCHED: usize = 8;

/// An observation that is under way.
pub(super) struct Observation {
    is_over: Arc<AtomicBool>,
    watched: Vec<Cache>,
    followers: JoinHandle<Seen>,
    messages: tokio::sync::oneshot::Receiver<Vec<(u64, u128)>>,
    subscriber: AbortHandle,
}

/// Returns a number that grows with the position.
pub(super) fn place_of(position: Position) -> u128 {
    (u128::from(position.ms()) << 64) | u128::from(position.seq())
}

impl Observation {
    /// Starts watching the followers, and a subscription to the peer's channel.
    pub(super) fn start(runtime: &Runtime, redis: &str, followers: &[Cache]) -> Result<Self, Error> {
        let is_over = Arc::new(AtomicBool::new(false));
        let step = followers.len().div_ceil(MAX_WATCHED).max(1);
        let watched: Vec<_> = followers.iter().step_by(step).cloned().collect();
        let (over, caches) = (Arc::clone(&is_over), watched.clone());
        let followers = std::thread::spawn(move || watch(&caches, &over));
        let client = Client::open(redis)?;
        let mut messages = runtime.block_on(async {
            let mut subscription = client.get_async_pubsub().await?;
            subscription.subscribe(CHANNEL).await?;
            Ok::<_, Error>(subscription.into_on_message())
        })?;
        let (send, receive) = tokio::sync::oneshot::channel();
        let over = Arc::clone(&is_over);
        let subscriber = runtime.spawn(async move {
            let mut seen = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let next = tokio::time::timeout(Duration::from_millis(20), messages.next()).await;
                if let Ok(Some(message)) = next {
                    let place = message.get_payload::<String>().ok().and_then(|text| text.parse().ok());
                    seen.extend(place.map(|place: u128| (now_micros(), place)));
                }
            }
            let _ = send.send(seen);
        });
        Ok(Self { is_over, watched, followers, messages: receive, subscriber: subscriber.abort_handle() })
    }

    /// Ends the observation once the followers have reached a place. Returns what they saw, and at
    /// the end the messages.
    pub(super) fn end(self, place: u128) -> Result<Seen, Error> {
        let deadline = Instant::now() + LIMIT;
        let is_reached = || self.watched.iter().all(|follower| place_of(follower.position()) >= place);
        while !is_reached() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(LAST_MESSAGE);
        self.is_over.store(true, Ordering::Relaxed);
        let mut seen = self.followers.join().map_err(|_| "the observer panicked")?;
        seen.push(self.messages.blocking_recv()?);
        self.subscriber.abort();
        Ok(seen)
    }
}

fn watch(followers: &[Cache], is_over: &AtomicBool) -> Seen {
    let mut seen: Seen = followers.iter().map(|_| Vec::new()).collect();
    while !is_over.load(Ordering::Relaxed) {
        for (follower, seen) in followers.iter().zip(&mut seen) {
            let place = place_of(follower.position());
            if seen.last().is_none_or(|&(_, last)| last < place) {
                seen.push((now_micros(), place));
            }
        }
        std::thread::sleep(POLL);
    }
    seen
}
