//! The promises G1 to G3 in every state of the model, and the rules that they need.
//!
//! Each rule has a test that leaves it out and expects a counterexample. `STRATA_MODEL_DEPTH`
//! (default 0; set by `cargo xtask model --depth N`) adds as many writes and faults.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};
use strata_model::bounds::{Bounds, Fault, Rule, WriteKind};
use strata_model::domain::{Mode, Scope};

const REMOVE_KEY: WriteKind = WriteKind::Invalidate(Scope::Key0, Mode::Remove);
const THROUGH: WriteKind = WriteKind::WriteThrough(0);

/// Two processes, two keys, a tag, two writes, and no fault.
const CALM: Bounds = Bounds {
    processes: 2,
    kinds: &[REMOVE_KEY, THROUGH],
    writes: 2,
    faults: 0,
    fault_kinds: &[],
    feed: 4,
    ledger: 4,
    lag: false,
    joins: false,
    broken: None,
};

/// A failover that can lose the end of the feed, or set the clock back.
const FAILOVER: Bounds =
    Bounds { faults: 1, fault_kinds: &[Fault::Failover, Fault::FailoverWithClockBehind], ..CALM };

/// A crash, a Redis that loses everything or one of the journal's keys, and a short feed and
/// ledger.
const LOSS: Bounds = Bounds {
    faults: 1,
    fault_kinds: &[Fault::Crash, Fault::RestartEmpty, Fault::EvictFeed, Fault::EvictLedger],
    feed: 3,
    ledger: 2,
    ..CALM
};

/// Invalidations that do not reach Redis, or whose answer is lost.
const QUEUE: Bounds = Bounds {
    writes: 1,
    faults: 1,
    fault_kinds: &[Fault::AppendUnreachable, Fault::AppendUnanswered],
    joins: true,
    ..CALM
};

/// Invalidations of tags and of everything, and callers that join loads.
const SCOPES: Bounds = Bounds {
    kinds: &[
        WriteKind::Invalidate(Scope::Tag, Mode::Remove),
        WriteKind::Invalidate(Scope::Tag, Mode::Expire),
        WriteKind::Invalidate(Scope::Key1, Mode::Remove),
        WriteKind::Invalidate(Scope::All, Mode::Expire),
        THROUGH,
    ],
    joins: true,
    ..CALM
};

/// A process that may lag by more than `max_lag`.
const LAG: Bounds = Bounds { writes: 1, lag: true, ..CALM };

/// Returns the number of writes and faults to add to the bounds.
fn depth() -> u8 {
    std::env::var("STRATA_MODEL_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(0)
}

/// Returns the first broken promise with its counterexample, and the events that were reached.
fn check(name: &str, bounds: Bounds) -> (Option<String>, Vec<&'static str>) {
    let start = Instant::now();
    // One thread searches breadth first, so a counterexample is a shortest one.
    let checker = bounds.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{name}: {} states, {} steps deep, {:?}",
        checker.unique_state_count(),
        checker.max_depth(),
        start.elapsed()
    );
    let (mut broken, mut reached) = (None, Vec::new());
    for (property, path) in checker.discoveries() {
        if property.starts_with('G') {
            let actions: Vec<_> = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
            broken = Some(format!("{property}: {}", actions.join(", ")));
        } else {
            reached.push(property);
        }
    }
    (broken, reached)
}

/// Asserts that every promise holds, and that the run reached these events.
#[track_caller]
fn assert_holds(name: &str, bounds: &Bounds, events: &[&str]) {
    let more = depth();
    let faults = if bounds.fault_kinds.is_empty() { 0 } else { bounds.faults + more };
    let (broken, reached) = check(name, Bounds { writes: bounds.writes + more, faults, ..bounds.clone() });
    assert_eq!(broken, None, "{name}");
    for event in events {
        assert!(reached.contains(event), "{name}: expected to reach \"{event}\", reached only {reached:?}");
    }
}

/// Asserts that the promise fails without the rule.
#[track_caller]
fn assert_needed(rule: Rule, bounds: &Bounds, promise: &str) {
    let (broken, _) = check(&format!("without {rule:?}"), Bounds { broken: Some(rule), ..bounds.clone() });
    let broken = broken.unwrap_or_else(|| panic!("no promise fails without {rule:?}"));
    println!("  {broken}");
    assert!(broken.starts_with(promise), "expected {promise} to fail without {rule:?}: {broken}");
}

#[test]
fn the_promises_hold_without_faults() {
    assert_holds(
        "calm",
        &CALM,
        &["a late writer is refused", "every process serves the written value as fresh"],
    );
}

#[test]
fn the_promises_hold_with_tags_and_joined_loads() {
    let events = ["a waiter loads again", "an expired entry may be served stale", "a late writer is refused"];
    assert_holds("scopes", &SCOPES, &events);
}

#[test]
fn the_promises_hold_through_a_failover() {
    assert_holds("failover", &FAILOVER, &["a lost end of the feed is detected"]);
}

#[test]
fn the_promises_hold_through_crashes_restarts_evictions_and_trimming() {
    assert_holds("loss", &LOSS, &["a process reads the ledger", "the floor rises"]);
}

#[test]
fn the_promises_hold_with_queued_invalidations() {
    assert_holds("queue", &QUEUE, &["a queue is drained"]);
}

#[test]
fn the_promises_hold_with_processes_that_lag() {
    assert_holds("lag", &LAG, &["a lagging process has an old entry"]);
}

#[test]
fn without_the_check_on_read_a_promise_fails() {
    assert_needed(Rule::CheckOnRead, &CALM, "G");
}

#[test]
fn without_the_stamp_before_the_load_a_promise_fails() {
    assert_needed(Rule::StampBeforeLoad, &CALM, "G");
}

#[test]
fn without_the_detection_of_lost_records_g1_fails() {
    assert_needed(
        Rule::DetectLostRecords,
        &Bounds { writes: 1, ..FAILOVER },
        "G1: a process that knew a record",
    );
}

#[test]
fn without_the_detection_of_lost_own_records_g1_fails() {
    assert_needed(
        Rule::DetectLostOwnRecords,
        &Bounds { writes: 1, ..FAILOVER },
        "G1: a process that knew a record",
    );
}

#[test]
fn without_catching_up_after_a_reconnect_a_promise_fails() {
    assert_needed(Rule::CatchUpAfterReconnect, &FAILOVER, "G");
}

#[test]
fn without_the_write_fence_a_promise_fails() {
    assert_needed(Rule::WriteFence, &CALM, "G");
}

#[test]
fn without_the_fence_on_the_writers_applied_records_a_promise_fails() {
    assert_needed(Rule::WriterChecksApplied, &FAILOVER, "G");
}

#[test]
fn without_the_floor_a_promise_fails() {
    let kinds = &[
        REMOVE_KEY,
        WriteKind::Invalidate(Scope::Key1, Mode::Remove),
        WriteKind::Invalidate(Scope::Tag, Mode::Remove),
    ];
    assert_needed(Rule::Floor, &Bounds { kinds, feed: 1, ledger: 2, ..CALM }, "G");
}

#[test]
fn without_a_new_feed_that_removes_all_a_promise_fails() {
    assert_needed(
        Rule::NewFeedRemovesAll,
        &Bounds { writes: 1, fault_kinds: &[Fault::RestartEmpty], ..LOSS },
        "G",
    );
}

#[test]
fn unless_a_queued_invalidation_takes_effect_at_once_a_promise_fails() {
    assert_needed(Rule::QueuedInvalidationCovers, &QUEUE, "G");
}

#[test]
fn unless_a_waiter_rechecks_the_value_g2_fails() {
    assert_needed(Rule::WaiterRechecks, &SCOPES, "G2");
}

#[test]
fn unless_a_lagging_process_serves_nothing_fresh_g1_fails() {
    assert_needed(Rule::LaggingServesNothingFresh, &LAG, "G1: after max_lag");
}

/// This is why the position of an idle process stands still.
#[test]
fn with_positions_that_advance_with_the_clock_a_promise_fails() {
    let bounds = Bounds { writes: 1, fault_kinds: &[Fault::FailoverWithClockBehind], ..FAILOVER };
    assert_needed(Rule::PositionsComeFromRecords, &bounds, "G");
}

/// No rule prevents this. `docs/verification.md` lists it as an assumption.
#[test]
fn a_failover_that_loses_records_and_sets_the_clock_back_breaks_a_promise() {
    let bounds = Bounds { fault_kinds: &[Fault::Failover, Fault::Crash], ..FAILOVER };
    assert_needed(Rule::ClockNotBehindLostRecords, &bounds, "G");
}
