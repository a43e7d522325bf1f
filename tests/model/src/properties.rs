//! The properties that must hold in every state, and the events that a run must reach.

use shared_keys::Verdict;
use stateright::Property;

use crate::bounds::{Bounds, Rule};
use crate::domain::{Entry, Mode, WriteSet};
use crate::process::Process;
use crate::protocol::{Event, State};

/// The watched entry as one process could serve it now.
struct Serving<'a> {
    process: &'a Process,
    key: usize,
    entry: Entry,
    verdict: Verdict,
}

/// Returns all properties. The names of promises begin with their number, the names of events do
/// not.
pub(crate) fn properties() -> Vec<Property<Bounds>> {
    let mut all = promises();
    all.extend(events());
    all
}

fn promises() -> Vec<Property<Bounds>> {
    vec![
        Property::always(
            "G1, G2: a process serves nothing as fresh that a write it knows has changed",
            |bounds: &Bounds, state: &State| {
                state.servings(bounds).all(|serving| {
                    let Serving { process, key, entry, verdict } = serving;
                    process.is_lagging
                        || verdict != Verdict::Valid
                        || !state.is_old(key, entry, process.known)
                })
            },
        ),
        Property::always(
            "G3: a process never serves an entry that a removal it knows covers",
            |bounds: &Bounds, state: &State| {
                state.servings(bounds).all(|Serving { process, key, entry, verdict }| {
                    verdict == Verdict::Removed || !state.is_removed(key, entry, process.known)
                })
            },
        ),
        Property::always(
            "G1: after max_lag no process serves an old entry as fresh",
            |bounds: &Bounds, state: &State| {
                let lost = state.done.difference(state.journal.writes);
                let due = state.ageing[1].difference(lost);
                state.servings(bounds).all(|Serving { process, key, entry, verdict }| {
                    let bypasses = process.is_lagging && !bounds.breaks(Rule::LaggingServesNothingFresh);
                    bypasses || verdict != Verdict::Valid || !state.is_old(key, entry, due)
                })
            },
        ),
        Property::always(
            "G1: a process that knew a record which a failover lost makes it good",
            |bounds: &Bounds, state: &State| {
                let done = state.done.difference(state.forgotten);
                !state.is_quiet(bounds)
                    || state.servings(bounds).all(|Serving { key, entry, verdict, .. }| {
                        verdict != Verdict::Valid || !state.is_old(key, entry, done)
                    })
            },
        ),
        Property::always(
            "G2: no caller receives the result of a load that began before an invalidation it came after",
            |_, state: &State| !state.has_joined_stale_load,
        ),
    ]
}

fn events() -> Vec<Property<Bounds>> {
    vec![
        Property::sometimes("a lost end of the feed is detected", |_, state: &State| {
            state.event == Some(Event::LossDetected)
        }),
        Property::sometimes("a process reads the ledger", |_, state: &State| {
            state.event == Some(Event::LedgerRead)
        }),
        Property::sometimes("the floor rises", |_, state: &State| {
            state.event == Some(Event::LedgerRowDropped)
        }),
        Property::sometimes("a queue is drained", |_, state: &State| {
            state.event == Some(Event::QueueDrained)
        }),
        Property::sometimes("a late writer is refused", |_, state: &State| {
            state.event == Some(Event::LateWriteRefused)
        }),
        Property::sometimes("a waiter loads again", |_, state: &State| {
            state.event == Some(Event::WaiterReloaded)
        }),
        Property::sometimes("a lagging process has an old entry", |bounds: &Bounds, state: &State| {
            state.servings(bounds).any(|Serving { process, key, entry, .. }| {
                process.is_lagging && state.is_old(key, entry, state.done.difference(process.known))
            })
        }),
        Property::sometimes("an expired entry may be served stale", |bounds: &Bounds, state: &State| {
            state.servings(bounds).any(|Serving { process, key, entry, verdict }| {
                verdict == Verdict::Expired && state.is_old(key, entry, process.known)
            })
        }),
        Property::sometimes(
            "every process serves the written value as fresh",
            |bounds: &Bounds, state: &State| {
                let is_newest =
                    |entry: Entry| state.world.version > 0 && entry.version == state.world.version;
                let is_fresh =
                    |serving: &Serving| serving.verdict == Verdict::Valid && is_newest(serving.entry);
                state.servings(bounds).filter(is_fresh).count() >= bounds.processes && state.is_quiet(bounds)
            },
        ),
    ]
}

impl State {
    /// Returns the watched entry for each process that may have it, with the verdict of that
    /// process.
    fn servings<'a>(&'a self, bounds: &'a Bounds) -> impl Iterator<Item = Serving<'a>> + 'a {
        self.entry.into_iter().flat_map(move |(key, entry)| {
            self.processes.iter().filter(|process| process.has_entry).map(move |process| {
                let verdict = process.verdict_on_read(bounds, key, entry);
                Serving { process, key, entry, verdict }
            })
        })
    }

    /// Returns whether one of these writes covers the entry and is newer than it.
    pub(crate) fn is_old(&self, key: usize, entry: Entry, writes: WriteSet) -> bool {
        self.covering(key, entry, writes).next().is_some()
    }

    fn is_removed(&self, key: usize, entry: Entry, writes: WriteSet) -> bool {
        self.covering(key, entry, writes).any(|mode| mode == Mode::Remove)
    }

    fn covering(&self, key: usize, entry: Entry, writes: WriteSet) -> impl Iterator<Item = Mode> + '_ {
        let is_newer = move |version: u8| version > entry.version && writes.contains(version);
        let by_version = (1_u8..).zip(&self.writes);
        by_version
            .filter(move |(version, (scope, _))| is_newer(*version) && scope.covers(key))
            .map(|(_, (_, mode))| *mode)
    }

    /// Returns whether no process has anything left to apply, to append or to detect.
    fn is_quiet(&self, bounds: &Bounds) -> bool {
        self.processes.iter().all(|process| {
            let may_detect =
                !self.journal.contains(process.cursor) && !bounds.breaks(Rule::DetectLostRecords);
            process.cursor >= self.journal.end()
                && !may_detect
                && !process.is_lagging
                && process.queue.is_empty()
                && process.write.is_none()
                && process.appended.is_empty()
        })
    }
}
