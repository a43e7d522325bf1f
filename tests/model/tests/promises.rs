//! The promises hold in every state of the model; and each rule is needed: without it a counterexample is found.
//!
//! `STRATA_MODEL_DEPTH` (0 if it is not set, `cargo xtask model --depth N` sets it) allows so many more writes and faults.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};
use strata_model::bounds::{Bounds, Fault, Kind, Rule};
use strata_model::words::{Mode, Scope};

const REMOVE_KEY: Kind = Kind::Invalidate(Scope::Key0, Mode::Remove);
const THROUGH: Kind = Kind::Through(0);

/// Two processes, two keys, a tag, two writes, and nothing that goes wrong.
const CALM: Bounds = Bounds {
    processes: 2,
    kinds: &[REMOVE_KEY, THROUGH],
    writes: 2,
    faults: 0,
    of: &[],
    feed: 4,
    ledger: 4,
    lag: false,
    joins: false,
    broken: None,
};

/// A failover can lose the end of the feed, and a process can crash.
const FAILOVER: Bounds = Bounds { faults: 1, of: &[Fault::Failover, Fault::FailoverBackInTime], ..CALM };

/// Redis loses all, or one of the journal's keys, or forgets what is old.
const LOSS: Bounds = Bounds {
    faults: 1,
    of: &[Fault::Crash, Fault::Restart, Fault::EvictFeed, Fault::EvictLedger],
    feed: 3,
    ledger: 2,
    ..CALM
};

/// Invalidations that do not reach Redis, or whose answer is lost.
const QUEUE: Bounds = Bounds { writes: 1, faults: 1, of: &[Fault::Unreached, Fault::Unanswered], joins: true, ..CALM };

/// Writes that cover more than a key, and callers that join loads.
const SCOPES: Bounds = Bounds {
    kinds: &[
        Kind::Invalidate(Scope::Tag, Mode::Remove),
        Kind::Invalidate(Scope::Tag, Mode::Expire),
        Kind::Invalidate(Scope::Key1, Mode::Remove),
        Kind::Invalidate(Scope::All, Mode::Expire),
        THROUGH,
    ],
    joins: true,
    ..CALM
};

/// A process may be further behind than `max_lag`.
const LAG: Bounds = Bounds { writes: 1, lag: true, ..CALM };

/// What everything that was visited makes up.
fn depth() -> u8 {
    std::env::var("STRATA_MODEL_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(0)
}

/// What was found wrong, if anything, and the events that were reached.
fn visit(name: &str, bounds: Bounds) -> (Option<String>, Vec<&'static str>) {
    let start = Instant::now();
    // The shortest counterexample, since there is one thread.
    let checker = bounds.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{name}: {} states, {} steps deep, {:?}",
        checker.unique_state_count(),
        checker.max_depth(),
        start.elapsed()
    );
    let (mut wrong, mut reached) = (None, Vec::new());
    for (property, path) in checker.discoveries() {
        if property.starts_with('G') {
            let actions: Vec<_> = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
            wrong = Some(format!("{property}: {}", actions.join(", ")));
        } else {
            reached.push(property);
        }
    }
    (wrong, reached)
}

#[track_caller]
fn assert_holds(name: &str, bounds: &Bounds, events: &[&str]) {
    let more = depth();
    let faults = if bounds.of.is_empty() { 0 } else { bounds.faults + more };
    let (wrong, reached) = visit(name, Bounds { writes: bounds.writes + more, faults, ..bounds.clone() });
    assert_eq!(wrong, None, "{name}");
    for event in events {
        assert!(reached.contains(event), "{name}: never reached that {event}, only {reached:?}");
    }
}

/// Without the rule the promise is broken.
#[track_caller]
fn assert_needed(rule: Rule, bounds: &Bounds, promise: &str) {
    let (wrong, _) = visit(&format!("without {rule:?}"), Bounds { broken: Some(rule), ..bounds.clone() });
    let wrong = wrong.unwrap_or_else(|| panic!("nothing breaks without {rule:?}"));
    println!("  {wrong}");
    assert!(wrong.starts_with(promise), "expected {promise} to break without {rule:?}: {wrong}");
}

#[test]
fn the_promises_hold_while_all_is_well() {
    assert_holds("calm", &CALM, &["a late writer is refused", "what has been written is served as fresh by all"]);
}

#[test]
fn the_promises_hold_through_tags_and_joined_loads() {
    let events =
        ["a caller that joined loads again", "what was expired may be served stale", "a late writer is refused"];
    assert_holds("scopes", &SCOPES, &events);
}

#[test]
fn the_promises_hold_through_a_failover() {
    assert_holds("failover", &FAILOVER, &["a lost end of the feed is found out"]);
}

#[test]
fn the_promises_hold_through_crashes_and_what_redis_loses_or_forgets() {
    assert_holds("loss", &LOSS, &["a process reads the ledger", "the floor rises"]);
}

#[test]
fn the_promises_hold_through_queued_invalidations() {
    assert_holds("queue", &QUEUE, &["a queue is emptied"]);
}

#[test]
fn the_promises_hold_through_lag() {
    assert_holds("lag", &LAG, &["a process is suspect and has got something old"]);
}

#[test]
fn the_check_on_read_is_needed() {
    assert_needed(Rule::CheckOnRead, &CALM, "G");
}

#[test]
fn the_stamp_before_the_load_is_needed() {
    assert_needed(Rule::StampBeforeLoad, &CALM, "G");
}

#[test]
fn appending_all_when_the_feed_has_lost_its_end_is_needed() {
    assert_needed(Rule::Regression, &Bounds { writes: 1, ..FAILOVER }, "G1: what a failover loses");
}

#[test]
fn looking_for_ones_own_records_is_needed() {
    assert_needed(Rule::OwnRecordComesBack, &Bounds { writes: 1, ..FAILOVER }, "G1: what a failover loses");
}

#[test]
fn asking_the_journal_first_over_a_new_connection_is_needed() {
    assert_needed(Rule::ReconnectAsksFirst, &FAILOVER, "G");
}

#[test]
fn the_fence_is_needed() {
    assert_needed(Rule::Fence, &CALM, "G");
}

#[test]
fn a_writer_that_asks_itself_as_well_is_needed() {
    assert_needed(Rule::WriterAsksItself, &FAILOVER, "G");
}

#[test]
fn the_floor_is_needed() {
    let kinds = &[REMOVE_KEY, Kind::Invalidate(Scope::Key1, Mode::Remove), Kind::Invalidate(Scope::Tag, Mode::Remove)];
    assert_needed(Rule::Floor, &Bounds { kinds, feed: 1, ledger: 2, ..CALM }, "G");
}

#[test]
fn a_new_feed_that_covers_all_is_needed() {
    assert_needed(Rule::NewFeedCoversAll, &Bounds { writes: 1, of: &[Fault::Restart], ..LOSS }, "G");
}

#[test]
fn covering_what_is_queued_is_needed() {
    assert_needed(Rule::QueuedCover, &QUEUE, "G");
}

#[test]
fn asking_again_for_a_joined_load_is_needed() {
    assert_needed(Rule::JoinedAskAgain, &SCOPES, "G2");
}

#[test]
fn silence_of_the_suspect_is_needed() {
    assert_needed(Rule::SuspectServesNothing, &LAG, "G1: after max_lag");
}

/// Why an idle process's position stands still: DESIGN.md.
#[test]
fn positions_that_move_with_the_clock_break_the_promises() {
    let bounds = Bounds { writes: 1, of: &[Fault::FailoverBackInTime], ..FAILOVER };
    assert_needed(Rule::PositionsAreRecords, &bounds, "G");
}

/// What no rule ensures: DESIGN.md says that it is assumed.
#[test]
fn a_failover_that_loses_records_and_goes_back_in_time_breaks_the_promises() {
    let bounds = Bounds { of: &[Fault::Failover, Fault::Crash], ..FAILOVER };
    assert_needed(Rule::ClockIsNotBehindWhatWasLost, &bounds, "G");
}
