//! The checker of a history against the promises G1 to G5. A pure function from events to
//! violations.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use strata_tests::history::{Answer, Event, Moment, Span, group_of};

/// The number of a process. The replacement of a killed process has a number of its own.
pub(crate) type Process = usize;

/// The events and faults of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) events: Vec<(Process, Event)>,
    pub(crate) faults: Vec<Fault>,
}

/// A fault that was injected into the fleet.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    /// The process that was frozen meanwhile, if any.
    pub(crate) frozen: Option<Process>,
}

/// The bounds of the promises in a run.
#[derive(Debug, Clone)]
pub(crate) struct Promises {
    /// The longest lag of a process.
    pub(crate) max_lag: Duration,
    /// The longest duration of a read during any fault.
    pub(crate) answer_within: Duration,
    /// The time after a fault in which leases may still be out of order.
    pub(crate) recovery: Duration,
    /// The longest time until a process applies an invalidation without faults. Loads on both sides
    /// of an invalidation do not wait for each other.
    pub(crate) propagation: Duration,
}

/// A broken promise.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) promise: &'static str,
    pub(crate) process: Process,
    pub(crate) item: u64,
    pub(crate) at: Moment,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, process, item, at, what } = self;
        write!(f, "{promise}: process {process}, item {item}, at {at:?}: {what}")
    }
}

/// Returns all violations in a history.
pub(crate) fn check(history: &History, promises: &Promises) -> Vec<Violation> {
    let floors = Floors::of(history, promises);
    let mut violations: Vec<_> =
        history.events.iter().filter_map(|(process, event)| floors.judge(*process, event)).collect();
    violations.extend(slow_or_failed(history, promises));
    violations.extend(simultaneous_loads(history, promises));
    violations
}

/// The lowest version that may be served, as a function of time.
#[derive(Debug, Default)]
struct Floor(Vec<(Moment, u64)>);

impl Floor {
    fn add(&mut self, from: Moment, version: u64) {
        self.0.push((from, version));
    }

    /// Sorts the steps and raises each to the highest step before it.
    fn finish(&mut self) {
        self.0.sort_unstable();
        let mut highest = 0;
        for (_, version) in &mut self.0 {
            highest = highest.max(*version);
            *version = highest;
        }
    }

    fn at(&self, moment: Moment) -> u64 {
        let steps = self.0.partition_point(|(from, _)| *from <= moment);
        steps.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// The lowest versions that the invalidations of a history still allow.
#[derive(Debug, Default)]
struct Floors {
    /// For versions served as fresh by the process that invalidated, from the return of the
    /// invalidation.
    own: HashMap<(Process, u64), Floor>,
    /// For versions served at all by the process that removed, from the return of the removal.
    removed: HashMap<(Process, u64), Floor>,
    /// For versions served as fresh by any process, from `max_lag` after the journal has the
    /// record.
    by_all: HashMap<u64, Floor>,
}

impl Floors {
    fn of(history: &History, promises: &Promises) -> Self {
        let mut floors = Self::default();
        for (process, event) in &history.events {
            let Event::Invalidated { item, version, remove, done, span, .. } = event else { continue };
            floors.own.entry((*process, *item)).or_default().add(span.end, *version);
            if *remove {
                floors.removed.entry((*process, *item)).or_default().add(span.end, *version);
            }
            if *done {
                floors.by_all.entry(*item).or_default().add(span.end.plus(promises.max_lag), *version);
            }
        }
        floors
            .own
            .values_mut()
            .chain(floors.removed.values_mut())
            .chain(floors.by_all.values_mut())
            .for_each(Floor::finish);
        floors
    }

    /// Returns the violation of a read. Only a read that began after the invalidation had returned
    /// counts.
    fn judge(&self, process: Process, event: &Event) -> Option<Violation> {
        let Event::Read { item, span, answer: Answer::Value { version, fresh, layer } } = event else { return None };
        let own = self.own.get(&(process, *item)).map_or(0, |floor| floor.at(span.start));
        let removed = self.removed.get(&(process, *item)).map_or(0, |floor| floor.at(span.start));
        let by_all = self.by_all.get(item).map_or(0, |floor| floor.at(span.start));
        let (promise, floor, reason) = if *version < removed {
            (if *fresh { "G1, G2" } else { "G3" }, removed, "were removed by this process")
        } else if *fresh && *version < own {
            ("G1, G2", own, "were invalidated by this process")
        } else if *fresh && *version < by_all {
            ("G1, G2", by_all, "were invalidated more than max_lag ago")
        } else {
            return None;
        };
        let served = if *fresh { "as fresh" } else { "as stale" };
        let what = format!("version {version} served {served} from {layer}, but all versions below {floor} {reason}");
        Some(Violation { promise, process, item: *item, at: span.start, what })
    }
}

/// Returns the violations of G5: reads that failed for another reason than the loader, or took too
/// long.
fn slow_or_failed(history: &History, promises: &Promises) -> impl Iterator<Item = Violation> {
    history.events.iter().filter_map(|(process, event)| {
        let Event::Read { item, span, answer } = event else { return None };
        let violation = |what| Violation { promise: "G5", process: *process, item: *item, at: span.start, what };
        if let Answer::Error(error) = answer {
            return Some(violation(format!("a read failed: {error}")));
        }
        let took = span.end.since(span.start);
        // A frozen process cannot answer.
        let was_frozen =
            || history.faults.iter().any(|fault| fault.frozen == Some(*process) && fault.span.overlaps(*span));
        (took > promises.answer_within && !was_frozen()).then(|| violation(format!("a read took {took:?}")))
    })
}

/// Returns the violations of G4: two loads of a key at a time, without a fault or an invalidation
/// that explains them.
fn simultaneous_loads(history: &History, promises: &Promises) -> Vec<Violation> {
    let mut loads: HashMap<u64, Vec<(Span, Process)>> = HashMap::new();
    let mut invalidations: Vec<(Span, u64, &str)> = Vec::new();
    for (process, event) in &history.events {
        match event {
            Event::Loaded { item, span } => loads.entry(*item).or_default().push((*span, *process)),
            Event::Invalidated { item, way, span, .. } => invalidations.push((*span, *item, way)),
            Event::Read { .. } => {}
        }
    }
    let mut violations = Vec::new();
    for (item, mut loads) in loads {
        loads.sort_unstable_by_key(|(span, _)| span.start);
        for pair in loads.windows(2) {
            let [(first, _), (second, process)] = pair else { continue };
            if second.start >= first.end {
                continue;
            }
            let may_be_disturbed = Span { start: first.start.minus(promises.recovery), end: second.start };
            let may_propagate = Span { start: first.start.minus(promises.propagation), end: second.start };
            let is_excused = history.faults.iter().any(|fault| fault.span.overlaps(may_be_disturbed))
                || invalidations.iter().any(|(span, of, way)| covers(way, *of, item) && span.overlaps(may_propagate));
            if !is_excused {
                let what = format!(
                    "a load began while another load was running, which had begun {:?} earlier",
                    second.start.since(first.start)
                );
                violations.push(Violation { promise: "G4", process: *process, item, at: second.start, what });
            }
        }
    }
    violations
}

/// Returns whether an invalidation of the item `of` in this way covers another item.
fn covers(way: &str, of: u64, item: u64) -> bool {
    match way {
        "all" => true,
        "tag" => group_of(of) == group_of(item),
        _ => of == item,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISES: Promises = Promises {
        max_lag: Duration::from_millis(1000),
        answer_within: Duration::from_millis(2000),
        recovery: Duration::from_millis(500),
        propagation: Duration::from_millis(50),
    };

    fn span(start_ms: u64, end_ms: u64) -> Span {
        Span { start: Moment::at_ms(start_ms), end: Moment::at_ms(end_ms) }
    }

    fn read(process: Process, start_ms: u64, version: u64, fresh: bool) -> (Process, Event) {
        let answer = Answer::Value { version, fresh, layer: "memory".to_owned() };
        (process, Event::Read { item: 1, span: span(start_ms, start_ms + 1), answer })
    }

    fn invalidated(process: Process, start_ms: u64, version: u64, remove: bool, done: bool) -> (Process, Event) {
        let (way, span) = ("key".to_owned(), span(start_ms, start_ms + 10));
        (process, Event::Invalidated { item: 1, version, way, remove, done, span })
    }

    fn loaded(process: Process, start_ms: u64, end_ms: u64) -> (Process, Event) {
        (process, Event::Loaded { item: 1, span: span(start_ms, end_ms) })
    }

    /// Returns the promises that a history breaks.
    fn broken(events: Vec<(Process, Event)>, faults: Vec<Fault>) -> Vec<&'static str> {
        check(&History { events, faults }, &PROMISES).iter().map(|violation| violation.promise).collect()
    }

    #[test]
    fn a_process_must_not_serve_as_fresh_a_version_that_it_has_invalidated() {
        for (remove, done) in [(true, true), (true, false), (false, true), (false, false)] {
            let write = invalidated(1, 100, 5, remove, done);
            assert_eq!(broken(vec![write.clone(), read(1, 110, 4, true)], vec![]), ["G1, G2"]);
            assert!(broken(vec![write.clone(), read(1, 110, 5, true)], vec![]).is_empty());
            assert!(
                broken(vec![write.clone(), read(1, 109, 4, true)], vec![]).is_empty(),
                "the invalidation had not returned"
            );
            assert!(broken(vec![write, read(2, 110, 4, true)], vec![]).is_empty(), "another process may lag");
        }
    }

    #[test]
    fn a_later_write_of_a_lower_version_does_not_lower_the_floor() {
        let writes = [invalidated(1, 100, 7, true, true), invalidated(1, 200, 5, true, true)];
        assert_eq!(broken([&writes[..], &[read(1, 300, 6, true)]].concat(), vec![]), ["G1, G2"]);
    }

    #[test]
    fn after_max_lag_no_process_may_serve_as_fresh_a_version_that_the_journal_covers() {
        let done = invalidated(1, 100, 5, true, true);
        assert_eq!(broken(vec![done.clone(), read(2, 1110, 4, true)], vec![]), ["G1, G2"]);
        assert!(broken(vec![done.clone(), read(2, 1109, 4, true)], vec![]).is_empty());
        assert!(broken(vec![done, read(2, 1110, 4, false)], vec![]).is_empty(), "it is reported as stale");
        let queued = invalidated(1, 100, 5, true, false);
        assert!(
            broken(vec![queued, read(2, 5000, 4, true)], vec![]).is_empty(),
            "the receipt did not report it as done"
        );
    }

    #[test]
    fn an_expired_version_may_be_served_as_stale_and_a_removed_one_may_not() {
        assert_eq!(broken(vec![invalidated(1, 100, 5, true, true), read(1, 110, 4, false)], vec![]), ["G3"]);
        assert!(broken(vec![invalidated(1, 100, 5, false, true), read(1, 110, 4, false)], vec![]).is_empty());
    }

    #[test]
    fn two_loads_at_a_time_need_a_fault_or_an_invalidation() {
        let loads = vec![loaded(1, 1000, 1100), loaded(2, 1050, 1150)];
        assert_eq!(broken(loads.clone(), vec![]), ["G4"]);
        assert!(broken(vec![loaded(1, 1000, 1100), loaded(2, 1100, 1150)], vec![]).is_empty());
        let fault = |start, end| Fault { span: span(start, end), frozen: None };
        assert!(broken(loads.clone(), vec![fault(0, 600)]).is_empty());
        assert_eq!(broken(loads.clone(), vec![fault(0, 400)]), ["G4"], "the fault ended too long before");
        assert_eq!(broken(loads.clone(), vec![fault(1060, 1070)]), ["G4"], "the fault began after both loads");
        let with = |write| [&loads[..], &[write]].concat();
        assert!(broken(with(invalidated(3, 1020, 5, true, true)), vec![]).is_empty());
        assert_eq!(broken(with(invalidated(3, 900, 5, true, true)), vec![]), ["G4"]);
    }

    #[test]
    fn a_read_must_be_answered_in_time_and_without_an_error_of_the_cache() {
        let slow = (1, Event::Read { item: 1, span: span(0, 2001), answer: Answer::LoaderFailed });
        assert_eq!(broken(vec![slow.clone()], vec![]), ["G5"]);
        let frozen = |process| Fault { span: span(100, 200), frozen: Some(process) };
        assert!(broken(vec![slow.clone()], vec![frozen(1)]).is_empty());
        assert_eq!(broken(vec![slow], vec![frozen(2)]), ["G5"]);
        let failed = |answer| broken(vec![(1, Event::Read { item: 1, span: span(0, 1), answer })], vec![]);
        assert_eq!(failed(Answer::Error("panicked".to_owned())), ["G5"]);
        assert!(failed(Answer::LoaderFailed).is_empty());
    }
}
