//! What each action does to the state.

use shared_keys::Verdict;

use crate::bounds::{Bounds, Fault, Kind, Rule};
use crate::journal::{Answer, Journal, Record};
use crate::process::{Flight, Process, Writing};
use crate::protocol::{Event, State};
use crate::words::{At, Entry, Mode, Scope, Version, Writes};

/// Steps of the protocol.
impl State {
    pub(crate) fn load(&mut self, n: usize, key: usize) {
        let process = &mut self.processes[n];
        let entry = Entry { version: self.world.version, at: process.position };
        process.flight = Some(Flight { key, entry, outdated: false, joined: None });
    }

    /// `run_loader` after the loader, and `load` for the caller that joined.
    pub(crate) fn land(&mut self, bounds: &Bounds, n: usize) -> Option<()> {
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

    pub(crate) fn join(&mut self, n: usize) -> Option<()> {
        let process = &mut self.processes[n];
        let flight = process.flight?;
        let joined = Some(process.knows);
        process.may_join(&flight).then(|| process.flight = Some(Flight { joined, ..flight }))
    }

    /// `Journal::catch_up`, a record at a time.
    pub(crate) fn follow(&mut self, bounds: &Bounds, n: usize) {
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

    pub(crate) fn confirm(&mut self, bounds: &Bounds, n: usize) {
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
    pub(crate) fn append_all(&mut self, bounds: &Bounds, n: usize) {
        let process = &mut self.processes[n];
        let all = Writes::up_to(self.world.version);
        let record = (Scope::All, Mode::Remove, all);
        let seen = process.appended.iter().copied().fold(process.position, At::max);
        let (at, _) = self.journal.append(bounds, &mut self.world, seen, record, None);
        process.apply(Scope::All, Mode::Remove, at, all);
        process.appended = vec![at];
        self.event = Some(Event::Healed);
    }

    pub(crate) fn write(&mut self, n: usize, kind: Kind) {
        let since = self.processes[n].position;
        match kind {
            Kind::Through(key) => self.processes[n].writing = Some(Writing::Begun { key, since }),
            Kind::Invalidate(scope, mode) => self.committed(n, scope, mode, None),
        }
    }

    pub(crate) fn commit(&mut self, n: usize) -> Option<()> {
        let Some(Writing::Begun { key, since }) = self.processes[n].writing else { return None };
        self.committed(n, Scope::of_key(key), Mode::Remove, Some((key, since)));
        Some(())
    }

    pub(crate) fn committed(&mut self, n: usize, scope: Scope, mode: Mode, through: Option<(usize, At)>) {
        self.world.version += 1;
        self.writes.push((scope, mode));
        let version = self.world.version;
        self.processes[n].writing = Some(Writing::Committed { scope, mode, version, through });
    }

    /// `Journal::invalidate` and `Namespace::write_through`, when Redis answers.
    pub(crate) fn append(&mut self, bounds: &Bounds, n: usize, watch: bool) -> Option<()> {
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

    pub(crate) fn append_record(
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
    pub(crate) fn flush(&mut self, bounds: &Bounds, n: usize) -> Option<()> {
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

    pub(crate) fn lag_passes(&mut self) {
        self.ageing = [self.done, self.ageing[0]];
        for process in &mut self.processes {
            process.suspect |= !process.confirmed;
            process.confirmed = false;
        }
    }

    pub(crate) fn fail(&mut self, bounds: &Bounds, fault: Fault, n: usize) -> Option<()> {
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

    pub(crate) fn disconnect(&mut self, bounds: &Bounds) {
        if !bounds.breaks(Rule::ReconnectAsksFirst) {
            self.processes.iter_mut().for_each(Process::doubt);
        }
    }

    /// What Redis has lost and no process knows of any more, nobody can make good.
    pub(crate) fn forget(&mut self) {
        let known = self.processes.iter().fold(self.journal.writes, |known, process| known.and(process.knows));
        self.forgotten = self.forgotten.and(self.done.without(known));
        // What is lost begins to age anew once it is made good.
        let lost = self.done.without(self.journal.writes);
        self.ageing = self.ageing.map(|writes| writes.without(lost));
    }
}
