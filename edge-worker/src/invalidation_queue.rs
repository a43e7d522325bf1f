//! The targets that unsafe requests invalidated (RFC 9111 section 4.4), on their way from this
//! isolate to the journal, which brings them to all other isolates.
//!
//! Any client may be able to send unsafe requests, so their cost at the journal is bounded: an
//! isolate sends one message in [`MESSAGE_INTERVAL`] with at most [`MAX_TARGETS`] targets, and none
//! for [`BACKOFF`] after the journal refused one. A target is in a message once, however often it
//! was invalidated. What does not fit stays effective in this isolate and in its data centre.
//!
//! A request whose response is stored for later GETs claims its target, to bring it to the journal
//! in a message of its own: the response then postdates the record. If it has not done so within
//! [`CLAIM_TIMEOUT`], the target is in the next message for all.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use shared_keys::ScopeHash;

/// The shortest time between two messages of an isolate: as long as a data centre shares the recent
/// records, since no other isolate would read the second message earlier.
pub const MESSAGE_INTERVAL: Duration = crate::journal::timing::RECENT_SHARED_FOR;

/// The largest number of targets in a message.
pub const MAX_TARGETS: usize = 100;

/// How long no message is sent after the journal refused one or failed.
pub const BACKOFF: Duration = Duration::from_secs(30);

/// How long a target is left to the request that claimed it.
pub const CLAIM_TIMEOUT: Duration = MESSAGE_INTERVAL.saturating_mul(2);

/// How long a request sends messages after its own response. The runtime ends its work after 30 s.
pub const SENDER_LIMIT: Duration = Duration::from_secs(8);

/// The time after which a sender counts as lost: [`SENDER_LIMIT`] and the timeout of an append.
const SENDER_TIMEOUT: Duration = Duration::from_secs(30);

/// The targets that wait for the next message of an isolate.
#[derive(Debug)]
pub struct InvalidationQueue(RefCell<State>);

#[derive(Debug)]
struct State {
    waiting: Vec<ScopeHash>,
    /// The claimed targets, each with the time at which its claim ends.
    claimed: Vec<(ScopeHash, SystemTime)>,
    /// The number of targets that did not fit since the last message.
    left_out: usize,
    /// When the next message may be sent.
    next_at: SystemTime,
    /// Until when a request counts as the sender.
    sender_until: SystemTime,
}

/// The content of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The targets, each once.
    pub targets: Vec<ScopeHash>,
    /// The number of targets since the last message that are in none.
    pub left_out: usize,
}

impl Default for InvalidationQueue {
    fn default() -> Self {
        Self(RefCell::new(State {
            waiting: Vec::new(),
            claimed: Vec::new(),
            left_out: 0,
            next_at: SystemTime::UNIX_EPOCH,
            sender_until: SystemTime::UNIX_EPOCH,
        }))
    }
}

impl InvalidationQueue {
    /// Adds a target, unless it is waiting already or there is no room.
    pub fn add(&self, target: ScopeHash) {
        self.0.borrow_mut().add(target);
    }

    /// Claims a target that the caller brings to the journal itself.
    pub fn claim(&self, target: ScopeHash, now: SystemTime) {
        let state = &mut *self.0.borrow_mut();
        if state.claimed.len() < MAX_TARGETS {
            state.claimed.push((target, now + CLAIM_TIMEOUT));
        } else {
            state.add(target);
        }
    }

    /// Ends a claim. Returns `false` if it has ended: the target is in a message for all.
    pub fn take_claimed(&self, target: ScopeHash) -> bool {
        let claimed = &mut self.0.borrow_mut().claimed;
        let index = claimed.iter().position(|(claimed, _)| *claimed == target);
        index.map(|index| claimed.swap_remove(index)).is_some()
    }

    /// Returns whether the caller must send what waits: something does, and no other request sends
    /// it.
    pub fn needs_sender(&self, now: SystemTime) -> bool {
        let state = &mut *self.0.borrow_mut();
        state.end_claims(now);
        let is_needed = !state.waiting.is_empty() && state.sender_until <= now;
        if is_needed {
            state.sender_until = now + SENDER_TIMEOUT;
        }
        is_needed
    }

    /// Returns whether a message beside those of the sender may be sent now. It counts as one of
    /// them.
    pub fn reserve(&self, now: SystemTime) -> bool {
        let state = &mut *self.0.borrow_mut();
        let is_free = state.next_at <= now;
        if is_free {
            state.next_at = now + MESSAGE_INTERVAL;
        }
        is_free
    }

    /// Returns when the next message may be sent.
    pub fn next_at(&self) -> SystemTime {
        self.0.borrow().next_at
    }

    /// Returns the next message. Ends the caller's time as the sender if nothing waits.
    pub fn take(&self, now: SystemTime) -> Option<Message> {
        let state = &mut *self.0.borrow_mut();
        state.end_claims(now);
        if state.waiting.is_empty() {
            state.sender_until = SystemTime::UNIX_EPOCH;
            return None;
        }
        state.next_at = now + MESSAGE_INTERVAL;
        let left_out = std::mem::take(&mut state.left_out);
        Some(Message { targets: std::mem::take(&mut state.waiting), left_out })
    }

    /// Ends the caller's time as the sender.
    pub fn release(&self) {
        self.0.borrow_mut().sender_until = SystemTime::UNIX_EPOCH;
    }

    /// Ends the caller's time as the sender, since the journal did not take these targets. They
    /// wait with the others for the next message, which is sent after [`BACKOFF`].
    pub fn back_off(&self, not_taken: &[ScopeHash], now: SystemTime) {
        not_taken.iter().for_each(|target| self.add(*target));
        let state = &mut *self.0.borrow_mut();
        state.next_at = now + BACKOFF;
        state.sender_until = now + BACKOFF;
    }
}

impl State {
    fn add(&mut self, target: ScopeHash) {
        if self.waiting.contains(&target) {
        } else if self.waiting.len() < MAX_TARGETS {
            self.waiting.push(target);
        } else {
            self.left_out += 1;
        }
    }

    /// Moves the targets whose claims have ended to those that wait.
    fn end_claims(&mut self, now: SystemTime) {
        while let Some(index) = self.claimed.iter().position(|(_, until)| *until <= now) {
            let (target, _) = self.claimed.swap_remove(index);
            self.add(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::at;

    fn queue(targets: impl IntoIterator<Item = u64>) -> InvalidationQueue {
        let queue = InvalidationQueue::default();
        targets.into_iter().for_each(|target| queue.add(ScopeHash(target)));
        queue
    }

    #[test]
    fn a_target_is_in_a_message_once_however_often_it_was_invalidated() {
        let queue = queue([1, 2, 1, 1]);
        let message = Message { targets: vec![ScopeHash(1), ScopeHash(2)], left_out: 0 };
        assert_eq!(queue.take(at(100)), Some(message));
        assert_eq!(queue.take(at(100)), None);
    }

    #[test]
    fn what_does_not_fit_into_a_message_is_counted_and_left_out() {
        let queue = queue(0..MAX_TARGETS as u64 + 7);
        let message = queue.take(at(100)).unwrap();
        assert_eq!((message.targets.len(), message.left_out), (MAX_TARGETS, 7));
        queue.add(ScopeHash(1));
        assert_eq!(queue.take(at(102)).unwrap().left_out, 0);
    }

    #[test]
    fn one_request_sends_for_all_and_messages_have_a_distance() {
        let queue = queue([1]);
        assert!(queue.next_at() <= at(100), "the first is sent at once");
        assert!(queue.needs_sender(at(100)) && !queue.needs_sender(at(100)));
        queue.take(at(100));
        queue.add(ScopeHash(2));
        assert!(!queue.needs_sender(at(101)));
        assert_eq!(queue.next_at(), at(100) + MESSAGE_INTERVAL);
        queue.take(at(102));
        assert_eq!(queue.take(at(104)), None);
        queue.add(ScopeHash(3));
        assert!(queue.needs_sender(at(104)), "the sender has ended");
    }

    #[test]
    fn a_message_beside_the_senders_counts_as_one_of_them() {
        let queue = queue([1]);
        assert!(queue.reserve(at(100)) && !queue.reserve(at(101)));
        assert_eq!(queue.next_at(), at(102));
        queue.back_off(&[], at(102));
        assert!(!queue.reserve(at(131)) && queue.reserve(at(132)));
    }

    #[test]
    fn a_claimed_target_is_left_to_its_request_for_a_while() {
        let queue = queue([]);
        let end = at(100) + CLAIM_TIMEOUT;
        queue.claim(ScopeHash(1), at(100));
        assert!(!queue.needs_sender(at(103)) && queue.take(at(103)).is_none());
        assert!(queue.take_claimed(ScopeHash(1)) && !queue.take_claimed(ScopeHash(1)));
        assert!(!queue.needs_sender(end), "its request brings it to the journal");
        queue.claim(ScopeHash(2), at(100));
        assert!(queue.needs_sender(end), "its request was lost");
        assert!(!queue.take_claimed(ScopeHash(2)));
        assert_eq!(queue.take(end).unwrap().targets, [ScopeHash(2)]);
    }

    #[test]
    fn a_lost_sender_is_replaced() {
        let queue = queue([1]);
        assert!(queue.needs_sender(at(100)));
        assert!(!queue.needs_sender(at(129)) && queue.needs_sender(at(130)));
    }

    #[test]
    fn what_the_journal_did_not_take_is_sent_again_after_a_while() {
        let queue = queue([1]);
        assert!(queue.needs_sender(at(100)));
        let message = queue.take(at(100)).unwrap();
        queue.add(ScopeHash(2));
        queue.back_off(&message.targets, at(100));
        assert!(!queue.needs_sender(at(129)));
        assert_eq!(queue.next_at(), at(130));
        assert!(queue.needs_sender(at(130)));
        assert_eq!(queue.take(at(130)).unwrap().targets, [ScopeHash(2), ScopeHash(1)]);
    }
}
