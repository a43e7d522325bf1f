//! Processes of a fleet. The measuring process starts this program several times, sends each of
//! them an order as a line of JSON, and reads a line of JSON as its reply.

mod follower;
mod member;
mod stampede;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use self::member::run as run_member;
use crate::subjects::article::Pattern;

/// An error of a measurement.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The work of a member.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Read one key that nothing holds with this many callers, who arrive evenly over a time: 0 for
    /// all at once. Reply: [`Answers`].
    Stampede { pattern: Pattern, key: u64, callers: usize, over_ms: u64 },
    /// Follow the journal with this many caches, each with its own connections, as many processes
    /// would. Reply: `null` once all of them follow.
    Follow { followers: usize },
    /// Watch the followers and the channel of the peer. Reply: `null`.
    Observe,
    /// End the observation once the followers have reached a place, after a minute at the latest.
    /// Reply: [`Seen`].
    Report { place: u128 },
    /// Send invalidations. Reply: [`Sent`] for each.
    Invalidate { by: Sender, count: u32, every_micros: u64 },
    /// Store entries under one tag. Reply: `null`.
    Fill { tag: u64, entries: u64 },
    /// Invalidate the tag this often. Reply: the microseconds of each call.
    InvalidateTag { tag: u64, count: u32 },
    /// Delete the entries of the tag by SCAN and DEL. Reply: the microseconds of the call.
    ScanAndDelete { tag: u64 },
}

/// How an invalidation reaches other processes.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Sender {
    Strata,
    /// A message on a channel, which a subscriber that is disconnected loses.
    PubSub,
}

/// The answers that the callers of one member got.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answers {
    /// How long each caller waited.
    pub(crate) micros: Vec<u64>,
    /// How many loads this member ran.
    pub(crate) loads: usize,
}

/// One invalidation of the sender.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Its place in the order of all invalidations.
    pub(crate) place: u128,
    pub(crate) called_at: u64,
    /// When the call returned.
    pub(crate) returned_at: u64,
}

/// When followers of a member have seen invalidations: for each follower that is watched, the time
/// at which it reached a place, and the place.
pub(crate) type Seen = Vec<Vec<(u64, u128)>>;

/// Returns the time in microseconds, which all processes of this machine share.
pub(crate) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A process of the fleet. Killed when dropped.
pub(crate) struct Member {
    child: Child,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Member {
    /// Starts a process on this Redis.
    pub(crate) fn start(redis: &str) -> Result<Self, Error> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["member", "--redis", redis])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, replies) = (child.stdin.take(), child.stdout.take());
        let orders = orders.ok_or("expected a standard input")?;
        let replies = BufReader::new(replies.ok_or("expected a standard output")?);
        Ok(Self { child, orders, replies })
    }

    /// Starts several processes.
    pub(crate) fn start_all(count: usize, redis: &str) -> Result<Vec<Self>, Error> {
        (0..count).map(|_| Self::start(redis)).collect()
    }

    /// Sends an order and returns the reply.
    pub(crate) fn run<T: DeserializeOwned>(&mut self, order: &Order) -> Result<T, Error> {
        self.send(order)?;
        self.reply()
    }

    fn send(&mut self, order: &Order) -> Result<(), Error> {
        let line = serde_json::to_string(order)? + "\n";
        Ok(self.orders.write_all(line.as_bytes())?)
    }

    fn reply<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends an order to all members at once, and returns their replies.
pub(crate) fn run_all<T: DeserializeOwned>(members: &mut [Member], order: &Order) -> Result<Vec<T>, Error> {
    for member in &mut *members {
        member.send(order)?;
    }
    members.iter_mut().map(Member::reply).collect()
}
