//! Whether a history keeps the promises G1 to G5. Pure: events in, violations out.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use strata_tests::history::{Answer, Event, Moment, Span, group_of};

/// The number of a process. One that is started in the place of a killed one has a number of its own.
pub(crate) type Process = usize;

/// All that happened.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) events: Vec<(Process, Event)>,
    pub(crate) troubles: Vec<Trouble>,
}

/// Something that was done to the fleet.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) span: Span,
    /// The process that could not do anything then, if there was one.
    pub(crate) frozen: Option<Process>,
}

/// What the fleet has promised.
#[derive(Debug, Clone)]
pub(crate) struct Promises {
    /// How far a process may be behind.
    pub(crate) max_lag: Duration,
    /// How long a read may take, whatever is wrong with Redis.
    pub(crate) answer_within: Duration,
    /// For so long after something went wrong, leases need not have come back to order.
    pub(crate) recovery: Duration,
    /// How late an invalidation can be heard of while all is well: loads around one do not wait for each other.
    pub(crate) hearsay: Duration,
}

/// A promise that was not kept.
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

/// All violations that a history shows.
pub(crate) fn check(history: &History, promises: &Promises) -> Vec<Violation> {
    let floors = Floors::of(history, promises);
    let mut violations: Vec<_> =
        history.events.iter().filter_map(|(process, event)| floors.judge(*process, event)).collect();
    violations.extend(slow_or_failed(history, promises));
    violations.extend(simultaneous_loads(history, promises));
    violations
}

/// From a moment on, a version below which nothing may be served.
#[derive(Debug, Default)]
struct Floor(Vec<(Moment, u64)>);

impl Floor {
    fn add(&mut self, from: Moment, version: u64) {
        self.0.push((from, version));
    }

    /// Sorts the steps, and lets each be as high as all before it.
    fn settle(&mut self) {
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

/// What the invalidations of a history forbid.
#[derive(Debug, Default)]
struct Floors {
    /// What a process has invalidated itself must never be served there as fresh, from the moment that it was told so.
    own: HashMap<(Process, u64), Floor>,
    /// What it has removed itself must never be served there at all.
    removed: HashMap<(Process, u64), Floor>,
    /// What the journal has must be served by nobody as fresh, once `max_lag` has passed.
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
            .for_each(Floor::settle);
        floors
    }

    /// Only what was served after the invalidation had returned, to a caller that came after it, breaks a promise.
    fn judge(&self, process: Process, event: &Event) -> Option<Violation> {
        let Event::Read { item, span, answer: Answer::Value { version, fresh, layer } } = event else { return None };
        let own = self.own.get(&(process, *item)).map_or(0, |floor| floor.at(span.start));
        let removed = self.removed.get(&(process, *item)).map_or(0, |floor| floor.at(span.start));
        let by_all = self.by_all.get(item).map_or(0, |floor| floor.at(span.start));
        let (promise, floor, whose) = if *version < removed {
            (if *fresh { "G1, G2" } else { "G3" }, removed, "it had removed itself")
        } else if *fresh && *version < own {
            ("G1, G2", own, "it had invalidated itself")
        } else if *fresh && *version < by_all {
            ("G1, G2", by_all, "had been invalidated max_lag ago")
        } else {
            return None;
        };
        let served = if *fresh { "as fresh" } else { "as stale" };
        let what = format!("version {version} served {served} from {layer}, though all below {floor} {whose}");
        Some(Violation { promise, process, item: *item, at: span.start, what })
    }
}

/// G5: answers go on, within the timeouts, and only the loader's own failure is an error.
fn slow_or_failed(history: &History, promises: &Promises) -> impl Iterator<Item = Violation> {
    history.events.iter().filter_map(|(process, event)| {
        let Event::Read { item, span, answer } = event else { return None };
        let violation = |what| Violation { promise: "G5", process: *process, item: *item, at: span.start, what };
        if let Answer::Error(error) = answer {
            return Some(violation(format!("a read failed: {error}")));
        }
        let took = span.end.since(span.start);
        // A process that is frozen cannot answer.
        let was_frozen =
            || history.troubles.iter().any(|trouble| trouble.frozen == Some(*process) && trouble.span.overlaps(*span));
        (took > promises.answer_within && !was_frozen()).then(|| violation(format!("a read took {took:?}")))
    })
}

/// G4: one load of a key at a time, unless something went wrong or an invalidation came in between.
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
            let troubled = Span { start: first.start.minus(promises.recovery), end: second.start };
            let heard = Span { start: first.start.minus(promises.hearsay), end: second.start };
            let is_excused = history.troubles.iter().any(|trouble| trouble.span.overlaps(troubled))
                || invalidations.iter().any(|(span, of, way)| covers(way, *of, item) && span.overlaps(heard));
            if !is_excused {
                let what = format!(
                    "a load began while another one, begun {:?} before it, ran",
                    second.start.since(first.start)
                );
                violations.push(Violation { promise: "G4", process: *process, item, at: second.start, what });
            }
        }
    }
    violations
}

/// Whether an invalidation of one item in some way also covers another item.
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
        hearsay: Duration::from_millis(50),
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

    /// The promises that a history breaks.
    fn broken(events: Vec<(Process, Event)>, troubles: Vec<Trouble>) -> Vec<&'static str> {
        check(&History { events, troubles }, &PROMISES).iter().map(|violation| violation.promise).collect()
    }

    #[test]
    fn what_a_process_invalidated_it_may_not_serve_as_fresh_from_then_on() {
        for (remove, done) in [(true, true), (true, false), (false, true), (false, false)] {
            let write = invalidated(1, 100, 5, remove, done);
            assert_eq!(broken(vec![write.clone(), read(1, 110, 4, true)], vec![]), ["G1, G2"]);
            assert!(broken(vec![write.clone(), read(1, 110, 5, true)], vec![]).is_empty());
            assert!(broken(vec![write.clone(), read(1, 109, 4, true)], vec![]).is_empty(), "it had not returned");
            assert!(broken(vec![write, read(2, 110, 4, true)], vec![]).is_empty(), "another process may lag");
        }
    }

    #[test]
    fn a_later_and_lower_write_does_not_allow_what_an_earlier_one_forbids() {
        let writes = [invalidated(1, 100, 7, true, true), invalidated(1, 200, 5, true, true)];
        assert_eq!(broken([&writes[..], &[read(1, 300, 6, true)]].concat(), vec![]), ["G1, G2"]);
    }

    #[test]
    fn after_max_lag_nobody_may_serve_as_fresh_what_the_journal_has() {
        let done = invalidated(1, 100, 5, true, true);
        assert_eq!(broken(vec![done.clone(), read(2, 1110, 4, true)], vec![]), ["G1, G2"]);
        assert!(broken(vec![done.clone(), read(2, 1109, 4, true)], vec![]).is_empty());
        assert!(broken(vec![done, read(2, 1110, 4, false)], vec![]).is_empty(), "it says that it is stale");
        let queued = invalidated(1, 100, 5, true, false);
        assert!(broken(vec![queued, read(2, 5000, 4, true)], vec![]).is_empty(), "nobody was told that it is done");
    }

    #[test]
    fn what_was_removed_may_not_be_served_as_stale_and_what_was_expired_may() {
        assert_eq!(broken(vec![invalidated(1, 100, 5, true, true), read(1, 110, 4, false)], vec![]), ["G3"]);
        assert!(broken(vec![invalidated(1, 100, 5, false, true), read(1, 110, 4, false)], vec![]).is_empty());
    }

    #[test]
    fn two_loads_at_a_time_need_a_reason() {
        let loads = vec![loaded(1, 1000, 1100), loaded(2, 1050, 1150)];
        assert_eq!(broken(loads.clone(), vec![]), ["G4"]);
        assert!(broken(vec![loaded(1, 1000, 1100), loaded(2, 1100, 1150)], vec![]).is_empty());
        let trouble = |start, end| Trouble { span: span(start, end), frozen: None };
        assert!(broken(loads.clone(), vec![trouble(0, 600)]).is_empty());
        assert_eq!(broken(loads.clone(), vec![trouble(0, 400)]), ["G4"], "long over");
        assert_eq!(broken(loads.clone(), vec![trouble(1060, 1070)]), ["G4"], "too late to be the reason");
        let with = |write| [&loads[..], &[write]].concat();
        assert!(broken(with(invalidated(3, 1020, 5, true, true)), vec![]).is_empty());
        assert_eq!(broken(with(invalidated(3, 900, 5, true, true)), vec![]), ["G4"]);
    }

    #[test]
    fn reads_have_to_be_answered_in_time_and_without_an_error_of_the_caches_own() {
        let slow = (1, Event::Read { item: 1, span: span(0, 2001), answer: Answer::LoaderFailed });
        assert_eq!(broken(vec![slow.clone()], vec![]), ["G5"]);
        let frozen = |process| Trouble { span: span(100, 200), frozen: Some(process) };
        assert!(broken(vec![slow.clone()], vec![frozen(1)]).is_empty());
        assert_eq!(broken(vec![slow], vec![frozen(2)]), ["G5"]);
        let failed = |answer| broken(vec![(1, Event::Read { item: 1, span: span(0, 1), answer })], vec![]);
        assert_eq!(failed(Answer::Error("panicked".to_owned())), ["G5"]);
        assert!(failed(Answer::LoaderFailed).is_empty());
    }
}
