//! The protocol as a state machine, and what must hold in each of its states.

use shared_keys::Verdict;
use stateright::{Model, Property};

use crate::bounds::{Bounds, Fault, Kind, Rule};
use crate::journal::{Journal, World};
use crate::process::{Process, Writing};
use crate::words::{Entry, KEYS, Mode, Scope, Writes};

/// A state of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// The database and Redis's clock.
    pub world: World,
    /// What each write has done, by version.
    pub writes: Vec<(Scope, Mode)>,
    /// The journal of the primary.
    pub journal: Journal,
    /// The journal of its replica.
    pub replica: Journal,
    /// The one entry that is watched. Any that is ever made may be the one, in some run of the model, and nothing in the
    /// protocol depends on which entries there are: so what holds for this one in all runs holds for all of them.
    ///
    /// It is never taken away. A tier can lose an entry, be late with it or bring an older one back, and any process can have
    /// got it at any time: the rule has to hold by what the entry itself carries.
    pub stored: Option<(usize, Entry)>,
    /// The fleet. Processes are alike, so they are kept in order: states that differ by their names only are one.
    pub processes: Vec<Process>,
    /// Faults so far.
    pub faults: u8,
    /// What the last step was, if it is one that must be reached.
    pub event: Option<Event>,
    /// Writes that somebody was told are done, or that were appended from a queue.
    pub done: Writes,
    /// Those that were done before `max_lag` passed last, and before the time before.
    pub ageing: [Writes; 2],
    /// Writes whose record was lost by Redis together with every process that knew of it.
    pub forgotten: Writes,
    /// Whether a caller was given what a load had read before an invalidation that the caller came after.
    pub joined_doomed: bool,
}

/// An event that the model must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A failover has lost records, and somebody found out.
    Healed,
    /// Records were trimmed that a process had not applied, so it read the ledger.
    ReadLedger,
    /// A ledger row was dropped.
    Dropped,
    /// A queue was emptied.
    Flushed,
    /// A written value was refused.
    Fenced,
    /// A caller that had joined a flight loads again.
    AskedAgain,
}

/// A step. Processes are named by their place in [`State::processes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The loader of a key is called, and reads the database.
    Load(usize, usize),
    /// It returns, and the value is stored.
    Land(usize),
    /// A later caller joins the load.
    Join(usize),
    /// A process asks for the next record.
    Follow(usize),
    /// A write begins.
    Write(usize, Kind),
    /// The database commits a write-through.
    Commit(usize),
    /// The record is appended. The value of a write-through may be the entry that is watched.
    Append(usize, bool),
    /// The oldest queued invalidation is appended.
    Flush(usize),
    /// `max_lag` passes.
    LagPasses,
    /// The replica gets everything.
    Replicate,
    /// Something goes wrong. The process matters to some of it.
    Fail(Fault, usize),
}

impl Model for Bounds {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State { processes: vec![Process::default(); self.processes], ..State::default() }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (n, process) in state.processes.iter().enumerate() {
            match &process.flight {
                None if state.may_watch() => actions.extend((0..KEYS).map(|key| Action::Load(n, key))),
                None => {}
                Some(flight) => {
                    actions.push(Action::Land(n));
                    if self.joins && flight.joined.is_none() {
                        actions.push(Action::Join(n));
                    }
                }
            }
            actions.push(Action::Follow(n));
            if !process.queue.is_empty() {
                actions.push(Action::Flush(n));
            }
            match process.writing {
                None if state.begun() < self.writes => {
                    actions.extend(self.kinds.iter().map(|kind| Action::Write(n, *kind)));
                }
                None => {}
                Some(Writing::Begun { .. }) => actions.push(Action::Commit(n)),
                Some(Writing::Committed { through, .. }) => {
                    actions.push(Action::Append(n, false));
                    if through.is_some() && state.may_watch() {
                        actions.push(Action::Append(n, true));
                    }
                }
            }
        }
        if self.lag {
            actions.push(Action::LagPasses);
        }
        if state.faults < self.faults {
            for fault in self.of {
                match fault {
                    Fault::Crash | Fault::Unreached | Fault::Unanswered => {
                        actions.extend((0..state.processes.len()).map(|n| Action::Fail(*fault, n)));
                    }
                    _ => actions.push(Action::Fail(*fault, 0)),
                }
            }
            if self.of.contains(&Fault::Failover) && state.replica != state.journal {
                actions.push(Action::Replicate);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        state.event = None;
        match action {
            Action::Load(n, key) => state.load(n, key),
            Action::Land(n) => state.land(self, n)?,
            Action::Join(n) => state.join(n)?,
            Action::Follow(n) => state.follow(self, n),
            Action::Write(n, kind) => state.write(n, kind),
            Action::Commit(n) => state.commit(n)?,
            Action::Append(n, watch) => state.append(self, n, watch)?,
            Action::Flush(n) => state.flush(self, n)?,
            Action::LagPasses => state.lag_passes(),
            Action::Replicate => state.replica = state.journal.clone(),
            Action::Fail(fault, n) => {
                state.faults += 1;
                state.fail(self, fault, n)?;
            }
        }
        state.forget();
        if state.stored.is_some() {
            state.processes.iter_mut().for_each(|process| process.got |= !process.suspect);
        }
        if state.faults == self.faults {
            // Nobody will ask it any more.
            state.replica = Journal::default();
        }
        state.processes.sort_unstable();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "G1, G2: what a process knows to be old is not served as fresh",
                |bounds: &Self, state: &State| {
                    state.servings(bounds).all(|(process, key, entry, verdict)| {
                        process.suspect || verdict != Verdict::Valid || !state.is_old(key, entry, process.knows)
                    })
                },
            ),
            Property::always(
                "G3: what a process knows to be removed is not served at all",
                |bounds: &Self, state: &State| {
                    state.servings(bounds).all(|(process, key, entry, verdict)| {
                        verdict == Verdict::Removed || !state.is_removed(key, entry, process.knows)
                    })
                },
            ),
            Property::always("G1: after max_lag nobody serves as fresh what is old", |bounds: &Self, state: &State| {
                let lost = state.done.without(state.journal.writes);
                let due = state.ageing[1].without(lost);
                state.servings(bounds).all(|(process, key, entry, verdict)| {
                    let silent = process.suspect && !bounds.breaks(Rule::SuspectServesNothing);
                    silent || verdict != Verdict::Valid || !state.is_old(key, entry, due)
                })
            }),
            Property::always(
                "G1: what a failover loses is made good by whoever knew of it",
                |bounds: &Self, state: &State| {
                    let done = state.done.without(state.forgotten);
                    !state.is_quiet(bounds)
                        || state.servings(bounds).all(|(_, key, entry, verdict)| {
                            verdict != Verdict::Valid || !state.is_old(key, entry, done)
                        })
                },
            ),
            Property::always(
                "G2: a caller is given no load that began before an invalidation it came after",
                |_, state: &State| !state.joined_doomed,
            ),
            Property::sometimes("a lost end of the feed is found out", |_, state: &State| {
                state.event == Some(Event::Healed)
            }),
            Property::sometimes("a process reads the ledger", |_, state: &State| {
                state.event == Some(Event::ReadLedger)
            }),
            Property::sometimes("the floor rises", |_, state: &State| state.event == Some(Event::Dropped)),
            Property::sometimes("a queue is emptied", |_, state: &State| state.event == Some(Event::Flushed)),
            Property::sometimes("a late writer is refused", |_, state: &State| state.event == Some(Event::Fenced)),
            Property::sometimes("a caller that joined loads again", |_, state: &State| {
                state.event == Some(Event::AskedAgain)
            }),
            Property::sometimes("a process is suspect and has got something old", |bounds: &Self, state: &State| {
                state.servings(bounds).any(|(process, key, entry, _)| {
                    process.suspect && state.is_old(key, entry, state.done.without(process.knows))
                })
            }),
            Property::sometimes("what was expired may be served stale", |bounds: &Self, state: &State| {
                state.servings(bounds).any(|(process, key, entry, verdict)| {
                    verdict == Verdict::Expired && state.is_old(key, entry, process.knows)
                })
            }),
            Property::sometimes("what has been written is served as fresh by all", |bounds: &Self, state: &State| {
                let newest = |entry: Entry| state.world.version > 0 && entry.version == state.world.version;
                let fresh =
                    |serving: &(&Process, usize, Entry, Verdict)| serving.3 == Verdict::Valid && newest(serving.2);
                state.servings(bounds).filter(fresh).count() >= bounds.processes && state.is_quiet(bounds)
            }),
        ]
    }
}

/// What properties ask.
impl State {
    fn begun(&self) -> u8 {
        let begun = |process: &&Process| matches!(process.writing, Some(Writing::Begun { .. }));
        self.world.version + self.processes.iter().filter(begun).count() as u8
    }

    /// What each process that can have got it could do with the entry that is watched: everything that somebody could serve now, and what it would say of it.
    fn servings<'a>(&'a self, bounds: &'a Bounds) -> impl Iterator<Item = (&'a Process, usize, Entry, Verdict)> + 'a {
        let stored = self.stored.into_iter();
        let by_all = stored.flat_map(|(key, entry)| {
            self.processes.iter().filter(|process| process.got).map(move |process| (process, key, entry))
        });
        by_all.map(move |(process, key, entry)| (process, key, entry, process.standing(bounds, key, entry)))
    }

    /// Whether there is no entry yet that is watched, and none on its way.
    fn may_watch(&self) -> bool {
        self.stored.is_none() && self.processes.iter().all(|process| process.flight.is_none())
    }

    /// Whether an entry does not show one of these writes, which covers it.
    pub(crate) fn is_old(&self, key: usize, entry: Entry, writes: Writes) -> bool {
        self.covering(key, entry, writes).next().is_some()
    }

    fn is_removed(&self, key: usize, entry: Entry, writes: Writes) -> bool {
        self.covering(key, entry, writes).any(|mode| mode == Mode::Remove)
    }

    fn covering(&self, key: usize, entry: Entry, writes: Writes) -> impl Iterator<Item = Mode> + '_ {
        let made = (1_u8..).zip(&self.writes);
        let later = made
            .filter(move |(version, (scope, _))| *version > entry.version && writes.has(*version) && scope.covers(key));
        later.map(|(_, (_, mode))| *mode)
    }

    /// Nobody has anything to apply, to append or to find out.
    fn is_quiet(&self, bounds: &Bounds) -> bool {
        self.processes.iter().all(|process| {
            let may_find_out = !self.journal.has(process.cursor) && !bounds.breaks(Rule::Regression);
            process.cursor >= self.journal.end()
                && !may_find_out
                && !process.suspect
                && process.queue.is_empty()
                && process.writing.is_none()
                && process.appended.is_empty()
        })
    }
}
