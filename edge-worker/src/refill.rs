//! The schedule of a refill: which pages an isolate fetches again after a purge that asks for it,
//! and when.
//!
//! A refill must never become a storm at the origin. It fetches one page at a time, the most
//! requested first, and begins at most [`PER_SECOND`] of them in a second. Of the isolates of a
//! data centre one refills, and the others wait: what they then find stored is not fetched. A
//! response that is an error or takes longer than [`SLOW`] makes it pause, longer each time, and
//! the third in a row ends it. It also ends [`ENDS_AFTER`] after it began: by then clients have
//! fetched what they want.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use shared_keys::{Applied, Scope, ScopeHash, Seq};

use crate::hot_requests::{HotRequest, HotRequests};

/// The default of the largest number of pages per second.
pub const PER_SECOND: u32 = 1;

/// The time from which a response counts as slow.
pub const SLOW: Duration = Duration::from_secs(2);

/// The timeout of a fetch.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after its beginning a refill ends.
pub const ENDS_AFTER: Duration = Duration::from_secs(600);

/// The number of pages of the background work of a request. A request may make 50 calls on
/// the smallest plan of the platform, and a page takes up to eight.
pub const PAGES_PER_RUN: usize = 5;

/// How long the background work of a request may last: the runtime ends it after 30 s.
pub const RUN_LIMIT: Duration = Duration::from_secs(15);

/// The time after which a run counts as lost.
pub const RUN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a refill pauses after a failure; doubled for the next.
const PAUSE: Duration = Duration::from_secs(5);

/// How long an isolate waits for another of its data centre that refills.
pub const OTHERS_TURN: Duration = Duration::from_secs(5);

/// The number of failures in a row that end a refill.
const MAX_FAILURES: u32 = 3;

/// The refill of one isolate.
#[derive(Debug)]
pub struct Refill {
    /// The scope of the records that ask for a refill.
    scope: ScopeHash,
    /// The number of the last journal record that asked for a refill; `None` before the first look
    /// at the journal.
    seen: Option<Seq>,
    /// The pages to fetch, the most requested first.
    pages: VecDeque<HotRequest>,
    ends_at: SystemTime,
    next_at: SystemTime,
    failures: u32,
    /// Until when a request's background work counts as running.
    runs_until: SystemTime,
}

impl Default for Refill {
    fn default() -> Self {
        let never = SystemTime::UNIX_EPOCH;
        Self {
            scope: Scope::refill().hash(),
            seen: None,
            pages: VecDeque::new(),
            ends_at: never,
            next_at: never,
            failures: 0,
            runs_until: never,
        }
    }
}

impl Refill {
    /// Begins a refill if the journal has a new record that asks for one. A record from before the
    /// isolate's first look at the journal is not new.
    pub fn look_at(&mut self, journal: &Applied, hot: &HotRequests, now: SystemTime) {
        let last = journal.last_record(self.scope).unwrap_or_default();
        if self.seen.replace(last).is_some_and(|seen| last > seen) {
            self.pages = hot.most_frequent().into();
            self.ends_at = now + ENDS_AFTER;
            (self.failures, self.next_at) = (0, now);
        }
    }

    /// Returns whether the caller must fetch pages in the background: some are left, it is time,
    /// and no other request's work does.
    pub fn needs_run(&mut self, now: SystemTime) -> bool {
        if now >= self.ends_at {
            self.pages.clear();
        }
        let is_needed = !self.pages.is_empty() && self.next_at <= now && self.runs_until <= now;
        if is_needed {
            self.runs_until = now + RUN_TIMEOUT;
        }
        is_needed
    }

    /// Ends the caller's run.
    pub fn end_run(&mut self) {
        self.runs_until = SystemTime::UNIX_EPOCH;
    }

    /// Returns when the next page may be fetched; `None` if none is left.
    pub fn next_at(&self) -> Option<SystemTime> {
        (!self.pages.is_empty()).then_some(self.next_at)
    }

    /// Returns the next page.
    pub fn take(&mut self) -> Option<HotRequest> {
        self.pages.pop_front()
    }

    /// Records that a page is fetched from the origin now: the next one follows at its distance.
    pub fn begin_fetch(&mut self, now: SystemTime, per_second: u32) {
        self.next_at = now + Duration::from_secs(1) / per_second.max(1);
    }

    /// Records the end of a fetch: whether it `failed`, by an error or by its slowness.
    pub fn end_fetch(&mut self, failed: bool, now: SystemTime) {
        if !failed {
            self.failures = 0;
            return;
        }
        self.next_at = now + PAUSE * 2_u32.pow(self.failures);
        self.failures += 1;
        if self.failures == MAX_FAILURES {
            self.pages.clear();
        }
    }

    /// Waits for another isolate of the data centre, which refills now.
    pub fn wait_for_another(&mut self, now: SystemTime) {
        self.next_at = now + OTHERS_TURN;
    }
}

#[cfg(test)]
mod tests {
    use shared_keys::{Mode, Record, Stamp};

    use super::*;
    use crate::policy::testing::at;

    fn hot(urls: &[&str]) -> HotRequests {
        let mut hot = HotRequests::default();
        for (index, url) in urls.iter().enumerate() {
            for _ in 0..10 - index {
                hot.count(url, at(100), || Some(HotRequest { url: (*url).into(), fields: Vec::new() }));
            }
        }
        hot
    }

    fn journal(seq: u64) -> Applied {
        let mut journal = Applied::new(100);
        for scope in [Scope::refill(), Scope::All] {
            journal.apply(Record { scope: scope.hash(), mode: Mode::Remove, stamp: Stamp::edge(Seq(seq)) });
        }
        journal
    }

    fn begun(urls: &[&str]) -> Refill {
        let mut refill = Refill::default();
        refill.look_at(&journal(7), &hot(urls), at(100));
        refill.look_at(&journal(8), &hot(urls), at(100));
        refill
    }

    #[test]
    fn a_record_begins_one_refill_and_an_older_one_than_the_isolate_none() {
        let mut refill = Refill::default();
        refill.look_at(&journal(7), &hot(&["a"]), at(100));
        assert!(!refill.needs_run(at(100)), "the isolate has served nothing before the record");
        refill.look_at(&journal(8), &hot(&["a"]), at(100));
        assert!(refill.needs_run(at(100)));
        assert!(refill.take().is_some());
        refill.end_run();
        refill.look_at(&journal(8), &hot(&["a"]), at(100));
        assert!(!refill.needs_run(at(101)));
    }

    #[test]
    fn a_purge_that_does_not_ask_for_it_begins_none() {
        let mut refill = Refill::default();
        let mut other = Applied::new(100);
        refill.look_at(&other, &hot(&["a"]), at(100));
        other.apply(Record { scope: Scope::All.hash(), mode: Mode::Remove, stamp: Stamp::edge(Seq(9)) });
        other.raise_floor(Stamp::edge(Seq(9)));
        refill.look_at(&other, &hot(&["a"]), at(100));
        assert!(!refill.needs_run(at(100)));
    }

    #[test]
    fn the_most_requested_is_first_and_fetches_have_a_distance() {
        let mut refill = begun(&["a", "b", "c"]);
        assert!(refill.needs_run(at(100)) && !refill.needs_run(at(100)), "one run at a time");
        assert_eq!(refill.take().unwrap().url, "a".into());
        refill.begin_fetch(at(100), 1);
        refill.end_fetch(false, at(100));
        refill.end_run();
        assert_eq!(refill.next_at(), Some(at(101)));
        assert!(!refill.needs_run(at(100)) && refill.needs_run(at(101)));
        assert_eq!(refill.take().unwrap().url, "b".into());
    }

    #[test]
    fn failures_pause_longer_each_time_and_the_third_in_a_row_ends_it() {
        let mut refill = begun(&["a", "b", "c", "d", "e"]);
        refill.end_fetch(true, at(100));
        assert_eq!(refill.next_at(), Some(at(105)));
        refill.end_fetch(true, at(105));
        assert_eq!(refill.next_at(), Some(at(115)));
        refill.end_fetch(false, at(115));
        refill.end_fetch(true, at(116));
        assert_eq!(refill.next_at(), Some(at(121)), "a success ends the row");
        refill.end_fetch(true, at(121));
        refill.end_fetch(true, at(131));
        assert_eq!(refill.next_at(), None);
    }

    #[test]
    fn it_ends_after_a_time_and_a_lost_run_is_replaced() {
        let mut refill = begun(&["a", "b"]);
        assert!(refill.needs_run(at(100)) && !refill.needs_run(at(129)) && refill.needs_run(at(130)));
        refill.end_run();
        assert!(!refill.needs_run(at(700)));
        assert_eq!(refill.next_at(), None);
    }

    #[test]
    fn the_pages_wait_while_another_isolate_refills() {
        let mut refill = begun(&["a", "b"]);
        refill.wait_for_another(at(100));
        assert!(!refill.needs_run(at(104)) && refill.needs_run(at(105)));
        assert_eq!(refill.take().unwrap().url, "a".into());
    }
}
