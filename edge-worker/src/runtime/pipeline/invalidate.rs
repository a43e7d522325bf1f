//! Invalidates what an unsafe request has changed (RFC 9111 section 4.4): at once in this isolate
//! and its data centre, and through the journal in all others.

use std::rc::Rc;
use std::time::SystemTime;

use shared_keys::{ScopeHash, Seq, TargetKey, Verdict};
use worker::{Context, Delay};

use super::collapse::pending;
use super::exchange::Exchange;
use super::query::marker_key;
use crate::invalidation_queue::{CLAIM_TIMEOUT, InvalidationQueue, Message, SENDER_LIMIT};
use crate::journal::TargetsAppended;
use crate::policy::StoredResponse;
use crate::runtime::journal::Journal;
use crate::runtime::{after_response, now};

thread_local! {
    static QUEUE: InvalidationQueue = InvalidationQueue::default();
}

impl Exchange {
    /// Invalidates the stored responses under these keys, and returns when; `None` without keys. If
    /// `is_answered`, [`append_own_target`](Self::append_own_target) brings the target of this
    /// request to the journal.
    pub(super) async fn invalidate(
        self: &Rc<Self>,
        keys: &[TargetKey],
        is_answered: bool,
        context: &Context,
    ) -> Option<SystemTime> {
        let mut invalidated_at = None;
        for key in keys {
            // A response in progress may be the first of its path that several URLs share.
            let mut at = Self::record_invalidation(&key.search_marker());
            at = Self::record_invalidation(key.as_str()).max(at);
            self.delete(marker_key(key).as_str().to_owned(), context).await;
            for key in self.keys_of(key.clone()).await {
                at = Self::record_invalidation(key.as_str()).max(at);
                pending().forget(key.as_str());
                self.delete(key.as_str().to_owned(), context).await;
            }
            invalidated_at = invalidated_at.max(Some(at));
            let is_own = is_answered && *key == self.target;
            if !is_own && self.config.rules.may_store(key) {
                QUEUE.with(|queue| queue.add(key.own_scope()));
            }
        }
        self.send_invalidations(context);
        invalidated_at
    }

    /// Sends what waits for the journal after the response, unless another request does.
    pub(super) fn send_invalidations(&self, context: &Context) {
        if QUEUE.with(|queue| queue.needs_sender(now())) {
            let journal = self.journal.clone();
            after_response(context, async move { send(&journal).await });
        }
    }

    /// Returns whether [`append_own_target`](Self::append_own_target) may be called now.
    pub(super) fn may_append(&self) -> bool {
        QUEUE.with(|queue| queue.reserve(now()))
    }

    /// Claims the target of this request, which [`append_own_target`](Self::append_own_target)
    /// brings to the journal later. Returns when.
    pub(super) fn claim_own_target(&self) -> SystemTime {
        QUEUE.with(|queue| queue.claim(self.target.own_scope(), now()));
        now()
    }

    /// Waits until the message of the claimed target may be sent. Returns `false` if that takes too
    /// long: the target is then in a message for all.
    pub(super) async fn wait_to_append(&self, claimed_at: SystemTime) -> bool {
        let deadline = claimed_at + CLAIM_TIMEOUT;
        let mut next_at = now();
        while next_at < deadline {
            Delay::from(next_at.duration_since(now()).unwrap_or_default()).await;
            if self.may_append() {
                return QUEUE.with(|queue| queue.take_claimed(self.target.own_scope()));
            }
            next_at = QUEUE.with(InvalidationQueue::next_at);
        }
        false
    }

    /// Brings the target of this request to the journal, and returns its response as of that
    /// record, for GETs. Returns `None` if the response may be older than another record.
    ///
    /// The record covers everything that was fetched before it, and so this response too. It gets
    /// the record's number once it is known that no other record before that covers it.
    pub(super) async fn append_own_target(&self, mut response: StoredResponse) -> Option<StoredResponse> {
        let own = self.target.own_scope();
        let Some(TargetsAppended { seq, previous }) = append(&self.journal, &[own]).await else {
            return Some(response);
        };
        if Some(Seq(previous)) > response.stamp.edge {
            return None;
        }
        if let Err(error) = self.journal.refresh_from_object().await {
            worker::console_warn!("not stored: {error}");
            return None;
        }
        let others = response.scopes.iter().copied().filter(|scope| *scope != own);
        let verdict = self.journal.read(|snapshot| snapshot.applied().verdict(others, response.stamp))?;
        response.stamp.edge = Some(Seq(seq));
        (verdict == Verdict::Valid).then_some(response)
    }
}

/// The message about an invalidation that does not reach the journal.
const STAYS_HERE: &str = "an unsafe request invalidates responses in this data centre alone";

/// Sends what waits for the journal, with pauses, until nothing does or [`SENDER_LIMIT`] has
/// passed.
async fn send(journal: &Journal) {
    let deadline = now() + SENDER_LIMIT;
    loop {
        let next_at = QUEUE.with(InvalidationQueue::next_at);
        if next_at > deadline {
            break;
        }
        if let Ok(pause) = next_at.duration_since(now()) {
            Delay::from(pause).await;
        }
        let Some(Message { targets, left_out }) = QUEUE.with(|queue| queue.take(now())) else { return };
        if left_out > 0 {
            worker::console_warn!("{STAYS_HERE}: {left_out} were too many");
        }
        if append(journal, &targets).await.is_none() {
            return;
        }
    }
    QUEUE.with(InvalidationQueue::release);
}

/// Appends targets to the journal. If it does not take them, they wait, and nothing is sent for a
/// while.
async fn append(journal: &Journal, targets: &[ScopeHash]) -> Option<TargetsAppended> {
    match journal.append_targets(targets).await {
        Ok(Some(appended)) => return Some(appended),
        Ok(None) => worker::console_warn!("{STAYS_HERE}: the journal has too many of them"),
        Err(error) => worker::console_warn!("{STAYS_HERE} for now: {error}"),
    }
    QUEUE.with(|queue| queue.back_off(targets, now()));
    None
}
