//! The protocol as a state machine: its states, its actions, and which action is possible in which
//! state.

use stateright::{Model, Property};

use crate::bounds::{Bounds, Fault, WriteKind};
use crate::domain::{Entry, KEYS, Mode, Scope, WriteSet};
use crate::journal::{Journal, World};
use crate::process::{Process, WriteProgress};
use crate::properties::properties;

/// A state of the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// The database and Redis's clock.
    pub world: World,
    /// The scope and mode of each write, by version.
    pub writes: Vec<(Scope, Mode)>,
    /// The journal of the primary.
    pub journal: Journal,
    /// The journal of its replica.
    pub replica: Journal,
    /// The one entry that is watched, and its key.
    ///
    /// Every entry that can be made is the watched one in some run, and nothing in the protocol
    /// depends on which entries exist. A property that holds for this entry in all runs holds for
    /// every entry.
    ///
    /// The entry is never removed. A layer can lose an entry, deliver it late or bring an older one
    /// back, and any process can have read it at any time, so the rule must hold by what the entry
    /// itself carries.
    pub entry: Option<(usize, Entry)>,
    /// The fleet, sorted. Processes are alike, so states that differ only by their order are one.
    pub processes: Vec<Process>,
    /// The number of faults so far.
    pub faults: u8,
    /// The event of the last action, if it is one that a run must reach.
    pub event: Option<Event>,
    /// The writes that were reported as done, or were appended from a queue.
    pub done: WriteSet,
    /// The writes that were done before `max_lag` elapsed last, and those before the time before
    /// that.
    pub ageing: [WriteSet; 2],
    /// The writes whose record Redis lost together with every process that knew of it.
    pub forgotten: WriteSet,
    /// Whether a caller received the result of a load that had begun before an invalidation it came
    /// after.
    pub has_joined_stale_load: bool,
}

/// An event that a run must reach. Otherwise its bounds would prove nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A failover lost records, and a process detected it.
    LossDetected,
    /// A process read the ledger because records were trimmed that it had not applied.
    LedgerRead,
    /// A ledger row was dropped.
    LedgerRowDropped,
    /// A queue became empty.
    QueueDrained,
    /// The value of a write-through was refused.
    LateWriteRefused,
    /// A waiter loaded again.
    WaiterReloaded,
}

/// An action. Numbers are indices into [`State::processes`], except the key of `Load`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A process starts to load a key, and the loader reads the database.
    Load(usize, usize),
    /// The loader returns, and the value is stored.
    FinishLoad(usize),
    /// A later caller joins the load.
    Join(usize),
    /// A process reads the next record.
    Follow(usize),
    /// A process begins a write.
    Write(usize, WriteKind),
    /// The database commits a write-through.
    Commit(usize),
    /// The record is appended. With `true` the value of the write-through becomes the watched
    /// entry.
    Append(usize, bool),
    /// The oldest queued invalidation is appended.
    FlushQueue(usize),
    /// `max_lag` elapses.
    MaxLagElapses,
    /// The replica receives every record.
    Replicate,
    /// A fault occurs. Only some faults concern the process.
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
            match &process.load {
                None if state.may_watch() => actions.extend((0..KEYS).map(|key| Action::Load(n, key))),
                None => {}
                Some(load) => {
                    actions.push(Action::FinishLoad(n));
                    if self.joins && load.joined_knowing.is_none() {
                        actions.push(Action::Join(n));
                    }
                }
            }
            actions.push(Action::Follow(n));
            if !process.queue.is_empty() {
                actions.push(Action::FlushQueue(n));
            }
            match process.write {
                None if state.started_writes() < self.writes => {
                    actions.extend(self.kinds.iter().map(|kind| Action::Write(n, *kind)));
                }
                None => {}
                Some(WriteProgress::Started { .. }) => actions.push(Action::Commit(n)),
                Some(WriteProgress::Committed { through, .. }) => {
                    actions.push(Action::Append(n, false));
                    if through.is_some() && state.may_watch() {
                        actions.push(Action::Append(n, true));
                    }
                }
            }
        }
        if self.lag {
            actions.push(Action::MaxLagElapses);
        }
        if state.faults < self.faults {
            for fault in self.fault_kinds {
                match fault {
                    Fault::Crash | Fault::AppendUnreachable | Fault::AppendUnanswered => {
                        actions.extend((0..state.processes.len()).map(|n| Action::Fail(*fault, n)));
                    }
                    _ => actions.push(Action::Fail(*fault, 0)),
                }
            }
            if self.fault_kinds.contains(&Fault::Failover) && state.replica != state.journal {
                actions.push(Action::Replicate);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        state.event = None;
        match action {
            Action::Load(n, key) => state.load(n, key),
            Action::FinishLoad(n) => state.finish_load(self, n)?,
            Action::Join(n) => state.join(n)?,
            Action::Follow(n) => state.follow(self, n),
            Action::Write(n, kind) => state.write(n, kind),
            Action::Commit(n) => state.commit(n)?,
            Action::Append(n, watch) => state.append(self, n, watch)?,
            Action::FlushQueue(n) => state.flush_queue(self, n)?,
            Action::MaxLagElapses => state.max_lag_elapses(),
            Action::Replicate => state.replica = state.journal.clone(),
            Action::Fail(fault, n) => {
                state.faults += 1;
                state.fail(self, fault, n)?;
            }
        }
        state.forget();
        if state.entry.is_some() {
            state.processes.iter_mut().for_each(|process| process.has_entry |= !process.is_lagging);
        }
        if state.faults == self.faults {
            // No failover can follow, so the replica is not read again.
            state.replica = Journal::default();
        }
        state.processes.sort_unstable();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}

impl State {
    /// Returns the number of writes that have started, committed or not.
    fn started_writes(&self) -> u8 {
        let is_started = |process: &&Process| matches!(process.write, Some(WriteProgress::Started { .. }));
        self.world.version + self.processes.iter().filter(is_started).count() as u8
    }

    /// Returns whether no entry is watched yet, and none is being loaded.
    fn may_watch(&self) -> bool {
        self.entry.is_none() && self.processes.iter().all(|process| process.load.is_none())
    }
}
