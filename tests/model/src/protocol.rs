//! The protocol as a state machine, and what must hold in each of its states.

use shared_keys::Verdict;
use stateright::{Model, Property};

use crate::journal::{Answer, Journal, Record, World};
use crate::process::{Flight, Process, Writing};
use crate::words::{At, Entry, KEYS, Mode, Scope, Version, Writes};

/// A rule of the protocol that can be taken out, to see that the properties depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// An entry is checked when it is read.
    CheckOnRead,
    /// `loaded_at` is taken before the load.
    StampBeforeLoad,
    /// Whoever finds the record that it applied last missing, and not trimmed, appends `all`.
    Regression,
    /// Whoever finds that a record of its own did not come back to it appends `all`.
    OwnRecordComesBack,
    /// Whoever has lost its connection asks the journal before it serves anything else.
    ReconnectAsksFirst,
    /// A written value is cached only if no record since its writer began covers it, by the ledger.
    Fence,
    /// Nor by what the writer's process knows: a failover can have lost the record.
    WriterAsksItself,
    /// Ledger rows that are dropped raise the floor.
    Floor,
    /// Whoever finds no feed creates it with a record of `all`.
    NewFeedCoversAll,
    /// A queued invalidation holds at once in the process that queued it.
    QueuedCover,
    /// A caller that joined a flight asks the rule once more when it lands.
    JoinedAskAgain,
    /// A process that may be further behind than `max_lag` serves nothing as fresh.
    SuspectServesNothing,
    /// Positions come from records only, and never from a clock that moves on by itself.
    PositionsAreRecords,
    /// Assumed, not enforced: the clock of a primary that has lost records is not behind them.
    ClockIsNotBehindWhatWasLost,
}

/// How far the model goes.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Processes of the fleet.
    pub processes: usize,
    /// The writes that there may be, each of them at most `writes` times in total.
    pub kinds: &'static [Kind],
    /// Writes in total.
    pub writes: u8,
    /// Failovers, restarts, evictions, crashes and unreachable appends in total.
    pub faults: u8,
    /// The faults that there may be.
    pub of: &'static [Fault],
    /// Records that the feed keeps.
    pub feed: usize,
    /// Rows that the ledger keeps.
    pub ledger: usize,
    /// Whether `max_lag` passes.
    pub lag: bool,
    /// Whether later callers join loads.
    pub joins: bool,
    /// The rule that is taken out.
    pub broken: Option<Rule>,
}

impl Bounds {
    /// Whether this rule is taken out.
    #[must_use]
    pub fn breaks(&self, rule: Rule) -> bool {
        self.broken == Some(rule)
    }
}

/// A kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The database, then `invalidate` or `expire`.
    Invalidate(Scope, Mode),
    /// `write_through` of a key.
    Through(usize),
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process ends, and a new one takes its place.
    Crash,
    /// An append does not reach Redis.
    Unreached,
    /// An append is executed, and its answer is lost.
    Unanswered,
    /// The replica becomes the primary, without what it has not got.
    Failover,
    /// The same, of a replica that has got all, and whose clock is behind.
    FailoverBackInTime,
    /// Redis comes back empty.
    Restart,
    /// Redis evicts the feed.
    EvictFeed,
    /// Redis evicts the ledger.
    EvictLedger,
}

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

/// Steps of the protocol.
impl State {
    fn load(&mut self, n: usize, key: usize) {
        let process = &mut self.processes[n];
        let entry = Entry { version: self.world.version, at: process.position };
        process.flight = Some(Flight { key, entry, outdated: false, joined: None });
    }

    /// `run_loader` after the loader, and `load` for the caller that joined.
    fn land(&mut self, bounds: &Bounds, n: usize) -> Option<()> {
        let process = &mut self.processes[n];
        let flight = process.flight.take()?;
        let late = Entry { at: process.position, ..flight.entry };
        let entry = if bounds.breaks(Rule::StampBeforeLoad) { late } else { flight.entry };
        let is_valid = process.verdict(flight.key, entry.at) == Verdict::Valid;
        if is_valid {
            self.stored = Some((flight.key, entry));
            process.got = true;
        }
        if let Some(knew) = flight.joined {
            if is_valid || bounds.breaks(Rule::JoinedAskAgain) {
                self.joined_doomed |= self.is_old(flight.key, entry, knew);
            } else {
                self.event = Some(Event::AskedAgain);
            }
        }
        Some(())
    }

    fn join(&mut self, n: usize) -> Option<()> {
        let process = &mut self.processes[n];
        let flight = process.flight?;
        let joined = Some(process.knows);
        process.may_join(&flight).then(|| process.flight = Some(Flight { joined, ..flight }))
    }

    /// `Journal::catch_up`, a record at a time.
    fn follow(&mut self, bounds: &Bounds, n: usize) {
        let process = &mut self.processes[n];
        let cursor = process.cursor;
        let was_there = cursor == 0 || self.journal.has(cursor);
        // Its own records come back to it in their order, or they are lost.
        let (lost_own, reached) = match self.journal.follow(bounds, &mut self.world, cursor) {
            Answer::Next(record) => {
                let Record { at, scope, mode, writes } = record;
                process.apply(scope, mode, at, writes);
                if !was_there {
                    self.event = Some(Event::Healed);
                }
                (process.appended.iter().any(|own| *own < at), at)
            }
            Answer::Ledger(ledger, end, writes) => {
                for (scope, mode, at) in ledger.rows() {
                    process.apply(scope, mode, at, writes);
                }
                if cursor != 0 {
                    self.event = Some(Event::ReadLedger);
                }
                // Which of them are there, the ledger does not tell.
                (!process.appended.is_empty(), end)
            }
            Answer::Nothing => (!process.appended.is_empty(), cursor),
        };
        process.move_to(reached);
        if lost_own && !bounds.breaks(Rule::OwnRecordComesBack) {
            self.append_all(bounds, n);
        } else if reached == cursor {
            self.confirm(bounds, n);
        }
    }

    fn confirm(&mut self, bounds: &Bounds, n: usize) {
        let process = &mut self.processes[n];
        process.appended.clear();
        process.suspect = false;
        process.confirmed = true;
        if bounds.breaks(Rule::PositionsAreRecords) && self.world.clock == process.position {
            // A heartbeat, and Redis's clock has moved on since the last record.
            self.world.clock += 1;
            process.position = self.world.clock;
        }
    }

    /// A record that it knows of is lost, and what others still hold from before it nobody else can know.
    fn append_all(&mut self, bounds: &Bounds, n: usize) {
        let process = &mut self.processes[n];
        let all = Writes::up_to(self.world.version);
        let record = (Scope::All, Mode::Remove, all);
        let seen = process.appended.iter().copied().fold(process.position, At::max);
        let (at, _) = self.journal.append(bounds, &mut self.world, seen, record, None);
        process.apply(Scope::All, Mode::Remove, at, all);
        process.appended = vec![at];
        self.event = Some(Event::Healed);
    }

    fn write(&mut self, n: usize, kind: Kind) {
        let since = self.processes[n].position;
        match kind {
            Kind::Through(key) => self.processes[n].writing = Some(Writing::Begun { key, since }),
            Kind::Invalidate(scope, mode) => self.committed(n, scope, mode, None),
        }
    }

    fn commit(&mut self, n: usize) -> Option<()> {
        let Some(Writing::Begun { key, since }) = self.processes[n].writing else { return None };
        self.committed(n, Scope::of_key(key), Mode::Remove, Some((key, since)));
        Some(())
    }

    fn committed(&mut self, n: usize, scope: Scope, mode: Mode, through: Option<(usize, At)>) {
        self.world.version += 1;
        self.writes.push((scope, mode));
        let version = self.world.version;
        self.processes[n].writing = Some(Writing::Committed { scope, mode, version, through });
    }

    /// `Journal::invalidate` and `Namespace::write_through`, when Redis answers.
    fn append(&mut self, bounds: &Bounds, n: usize, watch: bool) -> Option<()> {
        let process = &mut self.processes[n];
        let Writing::Committed { scope, mode, version, through } = process.writing.take()? else { return None };
        if through.is_none() && !process.queue.is_empty() {
            process.enqueue(bounds, scope, mode, version);
            return Some(());
        }
        let (at, is_clean) = self.append_record(bounds, n, scope, mode, version, through);
        if let Some((key, _)) = through {
            if is_clean {
                self.processes[n].got |= watch;
                self.stored = watch.then_some((key, Entry { version, at })).or(self.stored);
            } else {
                self.event = Some(Event::Fenced);
            }
        }
        Some(())
    }

    fn append_record(
        &mut self,
        bounds: &Bounds,
        n: usize,
        scope: Scope,
        mode: Mode,
        version: Version,
        through: Option<(usize, At)>,
    ) -> (At, bool) {
        let process = &mut self.processes[n];
        let writes = Writes::one(version);
        let rows = self.journal.ledger.map_or(0, |ledger| ledger.rows().count());
        let unless = through.map(|(key, since)| (since, key));
        let seen = process.position;
        let (at, is_clean) = self.journal.append(bounds, &mut self.world, seen, (scope, mode, writes), unless);
        let knows_better = |(since, key): (At, usize)| process.verdict(key, since) != Verdict::Valid;
        let is_clean = is_clean && (bounds.breaks(Rule::WriterAsksItself) || !unless.is_some_and(knows_better));
        process.apply(scope, mode, at, writes);
        process.appended.push(at);
        self.done = self.done.and(writes);
        if self.journal.ledger.is_some_and(|ledger| ledger.rows().count() <= rows) && rows == bounds.ledger {
            self.event = Some(Event::Dropped);
        }
        (at, is_clean)
    }

    /// `Journal::flush_queue`.
    fn flush(&mut self, bounds: &Bounds, n: usize) -> Option<()> {
        let (scope, mode, version) = *self.processes[n].queue.first()?;
        self.append_record(bounds, n, scope, mode, version, None);
        let process = &mut self.processes[n];
        process.queue.remove(0);
        if process.queue.is_empty() {
            process.pending = [None; 4];
            self.event = Some(Event::Flushed);
        }
        Some(())
    }

    fn lag_passes(&mut self) {
        self.ageing = [self.done, self.ageing[0]];
        for process in &mut self.processes {
            process.suspect |= !process.confirmed;
            process.confirmed = false;
        }
    }

    fn fail(&mut self, bounds: &Bounds, fault: Fault, n: usize) -> Option<()> {
        match fault {
            Fault::Crash => self.processes[n] = Process::default(),
            Fault::Unreached | Fault::Unanswered => {
                let writing = self.processes[n].writing;
                let Some(Writing::Committed { scope, mode, version, .. }) = writing else { return None };
                if fault == Fault::Unanswered {
                    let record = (scope, mode, Writes::one(version));
                    let seen = self.processes[n].position;
                    self.journal.append(bounds, &mut self.world, seen, record, None);
                }
                self.processes[n].writing = None;
                self.processes[n].enqueue(bounds, scope, mode, version);
            }
            Fault::Failover => {
                self.journal = self.replica.clone();
                self.disconnect(bounds);
                if bounds.breaks(Rule::ClockIsNotBehindWhatWasLost) {
                    self.world.clock = self.journal.end();
                }
            }
            Fault::FailoverBackInTime => {
                self.world.clock = self.journal.end();
                self.disconnect(bounds);
            }
            Fault::Restart => {
                self.journal = Journal::default();
                self.disconnect(bounds);
            }
            Fault::EvictFeed => self.journal.feed.clear(),
            Fault::EvictLedger => self.journal.ledger = None,
        }
        Some(())
    }

    fn disconnect(&mut self, bounds: &Bounds) {
        if !bounds.breaks(Rule::ReconnectAsksFirst) {
            self.processes.iter_mut().for_each(Process::doubt);
        }
    }

    /// What Redis has lost and no process knows of any more, nobody can make good.
    fn forget(&mut self) {
        let known = self.processes.iter().fold(self.journal.writes, |known, process| known.and(process.knows));
        self.forgotten = self.forgotten.and(self.done.without(known));
        // What is lost begins to age anew once it is made good.
        let lost = self.done.without(self.journal.writes);
        self.ageing = self.ageing.map(|writes| writes.without(lost));
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
    fn is_old(&self, key: usize, entry: Entry, writes: Writes) -> bool {
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
