//! The checker of a history against the promises G1 to G5. A pure function from events to
//! violations.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use strata_tests::history::{Answer, Event, Moment, Sent, Span, group_of};

use crate::trouble::Trouble;

/// The number of a process. The replacement of a killed process has a number of its own.
pub(crate) type Process = usize;

/// The events and faults of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) events: Vec<(Process, Event)>,
    pub(crate) faults: Vec<Fault>,
    /// The processes that ended in order and could reach Redis early enough to send everything.
    pub(crate) ended_connected: Vec<Process>,
}

/// A fault that was injected into the fleet.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) trouble: Trouble,
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
    violations.extend(needless_losses(history));
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
    /// record: after the receipt says so, or after its process has closed its cache and has not
    /// reported the invalidation as unsent.
    by_all: HashMap<u64, Floor>,
}

impl Floors {
    fn of(history: &History, promises: &Promises) -> Self {
        let (mut floors, ends) = (Self::default(), ends(history));
        for (process, event) in &history.events {
            let Event::Invalidated { item, version, remove, journal, span, .. } = event else { continue };
            floors.own.entry((*process, *item)).or_default().add(span.end, *version);
            if *remove {
                floors.removed.entry((*process, *item)).or_default().add(span.end, *version);
            }
            let sent_at = match journal {
                Sent::Done => Some(span.end),
                Sent::Queued => ends.get(process).and_then(|end| end.sent_at(*item, *span)),
                Sent::Stranded => None,
            };
            if let Some(sent_at) = sent_at {
                floors.by_all.entry(*item).or_default().add(sent_at.plus(promises.max_lag), *version);
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
        let Event::Read { item, span, answer: Answer::Value { version, fresh, layer } } = event else {
            return None;
        };
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
        let what = format!(
            "version {version} served {served} from {layer}, but all versions below {floor} {reason}"
        );
        Some(Violation { promise, process, item: *item, at: span.start, what })
    }
}

/// The orderly end of a process.
struct End<'h> {
    unsent: &'h [u64],
    unfinished: usize,
    span: Span,
}

impl End<'_> {
    /// Returns when the queued invalidation of an item had been sent at the latest. `None` if the
    /// report says that it was not, or if it was queued after the report.
    fn sent_at(&self, item: u64, queued: Span) -> Option<Moment> {
        (queued.end <= self.span.end && !self.unsent.contains(&item)).then_some(self.span.end)
    }
}

fn ends(history: &History) -> HashMap<Process, End<'_>> {
    let end = |(process, event)| match event {
        &Event::Closed { ref unsent, unfinished, span } => Some((process, End { unsent, unfinished, span })),
        _ => None,
    };
    history.events.iter().map(|(process, event)| (*process, event)).filter_map(end).collect()
}

/// Returns the violations of processes that ended in order and lost something, although they could
/// reach Redis.
fn needless_losses(history: &History) -> impl Iterator<Item = Violation> {
    let ends = ends(history);
    history.ended_connected.iter().filter_map(move |process| {
        let end = ends.get(process)?;
        let what = format!("Redis was reachable, but {} loads or writes were not finished", end.unfinished);
        let violation =
            |item, what| Violation { promise: "G1", process: *process, item, at: end.span.end, what };
        match end.unsent {
            [item, ..] => {
                Some(violation(*item, "Redis was reachable, but an invalidation was not sent".to_owned()))
            }
            [] => (end.unfinished > 0).then(|| violation(0, what)),
        }
    })
}

/// Returns the violations of G5: reads that failed for another reason than the loader, or took too
/// long.
fn slow_or_failed(history: &History, promises: &Promises) -> impl Iterator<Item = Violation> {
    let ends = ends(history);
    history.events.iter().filter_map(move |(process, event)| {
        let Event::Read { item, span, answer } = event else { return None };
        let violation =
            |what| Violation { promise: "G5", process: *process, item: *item, at: span.start, what };
        if let Answer::Error(error) = answer {
            return Some(violation(format!("a read failed: {error}")));
        }
        if *answer == Answer::Closed && ends.get(process).is_none_or(|end| span.end < end.span.start) {
            return Some(violation("a read found the cache closed".to_owned()));
        }
        let took = span.end.since(span.start);
        // A frozen process cannot answer.
        let was_frozen = || {
            history.faults.iter().any(|fault| fault.frozen == Some(*process) && fault.span.overlaps(*span))
        };
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
            Event::Read { .. } | Event::Closed { .. } => {}
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
                || invalidations
                    .iter()
                    .any(|(span, of, way)| covers(way, *of, item) && span.overlaps(may_propagate));
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
mod tests;
