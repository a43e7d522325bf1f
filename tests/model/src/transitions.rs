//! The effect of each action on the state.

use shared_keys::Verdict;

use crate::bounds::{Bounds, Fault, Rule, WriteKind};
use crate::domain::{Entry, Mode, Position, Scope, Version, WriteSet};
use crate::journal::{FollowReply, Journal, Record};
use crate::process::{Process, RunningLoad, WriteProgress};
use crate::protocol::{Event, State};

impl State {
    /// Starts a load, which reads the database at once.
    pub(crate) fn load(&mut self, n: usize, key: usize) {
        let process = &mut self.processes[n];
        let entry = Entry { version: self.world.version, loaded_at: process.position };
        process.load = Some(RunningLoad { key, entry, is_outdated: false, joined_knowing: None });
    }

    /// Ends a load: stores its value if no applied record covers it, and answers the waiter.
    pub(crate) fn finish_load(&mut self, bounds: &Bounds, n: usize) -> Option<()> {
        let process = &mut self.processes[n];
        let load = process.load.take()?;
        let stamped_late = Entry { loaded_at: process.position, ..load.entry };
        let entry = if bounds.breaks(Rule::StampBeforeLoad) { stamped_late } else { load.entry };
        let is_valid = process.verdict(load.key, entry.loaded_at) == Verdict::Valid;
        if is_valid {
            self.entry = Some((load.key, entry));
            process.has_entry = true;
        }
        if let Some(known) = load.joined_knowing {
            if is_valid || bounds.breaks(Rule::WaiterRechecks) {
                self.has_joined_stale_load |= self.is_old(load.key, entry, known);
            } else {
                self.event = Some(Event::WaiterReloaded);
            }
        }
        Some(())
    }

    /// Adds a later caller to a load, if the process allows it.
    pub(crate) fn join(&mut self, n: usize) -> Option<()> {
        let process = &mut self.processes[n];
        let load = process.load?;
        let joined_knowing = Some(process.known);
        process.may_join(&load).then(|| process.load = Some(RunningLoad { joined_knowing, ..load }))
    }

    /// Runs `Journal::catch_up`, one record at a time.
    pub(crate) fn follow(&mut self, bounds: &Bounds, n: usize) {
        let process = &mut self.processes[n];
        let cursor = process.cursor;
        let was_there = cursor == 0 || self.journal.contains(cursor);
        // A process reads its own records in the order of their appends. A skipped record is lost.
        let (has_lost_own, reached) = match self.journal.follow(bounds, &mut self.world, cursor) {
            FollowReply::Next(record) => {
                let Record { position, scope, mode, writes } = record;
                process.apply(scope, mode, position, writes);
                if !was_there {
                    self.event = Some(Event::LossDetected);
                }
                (process.appended.iter().any(|own| *own < position), position)
            }
            FollowReply::Ledger(ledger, end, writes) => {
                for (scope, mode, position) in ledger.rows() {
                    process.apply(scope, mode, position, writes);
                }
                if cursor != 0 {
                    self.event = Some(Event::LedgerRead);
                }
                // The ledger does not say which records are still in the feed.
                (!process.appended.is_empty(), end)
            }
            FollowReply::UpToDate => (!process.appended.is_empty(), cursor),
        };
        process.advance_to(reached);
        if has_lost_own && !bounds.breaks(Rule::DetectLostOwnRecords) {
            self.append_all(bounds, n);
        } else if reached == cursor {
            self.confirm(bounds, n);
        }
    }

    /// Notes that the process is up to date.
    fn confirm(&mut self, bounds: &Bounds, n: usize) {
        let process = &mut self.processes[n];
        process.appended.clear();
        process.is_lagging = false;
        process.is_confirmed = true;
        if bounds.breaks(Rule::PositionsComeFromRecords) && self.world.clock == process.position {
            // A heartbeat, after Redis's clock has advanced since the last record.
            self.world.clock += 1;
            process.position = self.world.clock;
        }
    }

    /// Appends `all`. A record that this process knows is lost, and no other process can know which
    /// of its entries that record covered.
    fn append_all(&mut self, bounds: &Bounds, n: usize) {
        let process = &mut self.processes[n];
        let all = WriteSet::up_to(self.world.version);
        let record = (Scope::All, Mode::Remove, all);
        let seen = process.appended.iter().copied().fold(process.position, Position::max);
        let (position, _) = self.journal.append(bounds, &mut self.world, seen, record, None);
        process.apply(Scope::All, Mode::Remove, position, all);
        process.appended = vec![position];
        self.event = Some(Event::LossDetected);
    }

    /// Begins a write. An invalidation follows its database write, so that is committed at once.
    pub(crate) fn write(&mut self, n: usize, kind: WriteKind) {
        let since = self.processes[n].position;
        match kind {
            WriteKind::WriteThrough(key) => {
                self.processes[n].write = Some(WriteProgress::Started { key, since });
            }
            WriteKind::Invalidate(scope, mode) => self.commit_version(n, scope, mode, None),
        }
    }

    /// Commits a write-through.
    pub(crate) fn commit(&mut self, n: usize) -> Option<()> {
        let Some(WriteProgress::Started { key, since }) = self.processes[n].write else { return None };
        self.commit_version(n, Scope::of_key(key), Mode::Remove, Some((key, since)));
        Some(())
    }

    fn commit_version(&mut self, n: usize, scope: Scope, mode: Mode, through: Option<(usize, Position)>) {
        self.world.version += 1;
        self.writes.push((scope, mode));
        let version = self.world.version;
        self.processes[n].write = Some(WriteProgress::Committed { scope, mode, version, through });
    }

    /// Runs the end of `Journal::invalidate` or `Namespace::write_through`, with a Redis that
    /// answers.
    pub(crate) fn append(&mut self, bounds: &Bounds, n: usize, watch: bool) -> Option<()> {
        let process = &mut self.processes[n];
        let WriteProgress::Committed { scope, mode, version, through } = process.write.take()? else {
            return None;
        };
        if through.is_none() && !process.queue.is_empty() {
            process.enqueue(bounds, scope, mode, version);
            return Some(());
        }
        let (position, may_cache) = self.append_record(bounds, n, scope, mode, version, through);
        if let Some((key, _)) = through {
            if may_cache {
                self.processes[n].has_entry |= watch;
                self.entry = watch.then_some((key, Entry { version, loaded_at: position })).or(self.entry);
            } else {
                self.event = Some(Event::LateWriteRefused);
            }
        }
        Some(())
    }

    /// Appends the record of a write. Returns its position and whether a written value may be
    /// cached.
    fn append_record(
        &mut self,
        bounds: &Bounds,
        n: usize,
        scope: Scope,
        mode: Mode,
        version: Version,
        through: Option<(usize, Position)>,
    ) -> (Position, bool) {
        let process = &mut self.processes[n];
        let writes = WriteSet::of(version);
        let rows = self.journal.ledger.map_or(0, |ledger| ledger.rows().count());
        let unless_covered = through.map(|(key, since)| (since, key));
        let seen = process.position;
        let record = (scope, mode, writes);
        let (position, is_uncovered) =
            self.journal.append(bounds, &mut self.world, seen, record, unless_covered);
        let is_covered_here = |(since, key): (Position, usize)| process.verdict(key, since) != Verdict::Valid;
        let may_cache = is_uncovered
            && (bounds.breaks(Rule::WriterChecksApplied) || !unless_covered.is_some_and(is_covered_here));
        process.apply(scope, mode, position, writes);
        process.appended.push(position);
        self.done = self.done.union(writes);
        if self.journal.ledger.is_some_and(|ledger| ledger.rows().count() <= rows) && rows == bounds.ledger {
            self.event = Some(Event::LedgerRowDropped);
        }
        (position, may_cache)
    }

    /// Runs `Journal::flush_queue` for the oldest invalidation.
    pub(crate) fn flush_queue(&mut self, bounds: &Bounds, n: usize) -> Option<()> {
        let (scope, mode, version) = *self.processes[n].queue.first()?;
        self.append_record(bounds, n, scope, mode, version, None);
        let process = &mut self.processes[n];
        process.queue.remove(0);
        if process.queue.is_empty() {
            process.pending = [None; 4];
            self.event = Some(Event::QueueDrained);
        }
        Some(())
    }

    /// Lets `max_lag` elapse. A process that has not been up to date meanwhile counts as lagging.
    pub(crate) fn max_lag_elapses(&mut self) {
        self.ageing = [self.done, self.ageing[0]];
        for process in &mut self.processes {
            process.is_lagging |= !process.is_confirmed;
            process.is_confirmed = false;
        }
    }

    /// Lets a fault occur.
    pub(crate) fn fail(&mut self, bounds: &Bounds, fault: Fault, n: usize) -> Option<()> {
        match fault {
            Fault::Crash => self.processes[n] = Process::default(),
            Fault::AppendUnreachable | Fault::AppendUnanswered => {
                let write = self.processes[n].write;
                let Some(WriteProgress::Committed { scope, mode, version, .. }) = write else { return None };
                if fault == Fault::AppendUnanswered {
                    let record = (scope, mode, WriteSet::of(version));
                    let seen = self.processes[n].position;
                    self.journal.append(bounds, &mut self.world, seen, record, None);
                }
                self.processes[n].write = None;
                self.processes[n].enqueue(bounds, scope, mode, version);
            }
            Fault::Failover => {
                self.journal = self.replica.clone();
                self.disconnect_all(bounds);
                if bounds.breaks(Rule::ClockNotBehindLostRecords) {
                    self.world.clock = self.journal.end();
                }
            }
            Fault::FailoverWithClockBehind => {
                self.world.clock = self.journal.end();
                self.disconnect_all(bounds);
            }
            Fault::RestartEmpty => {
                self.journal = Journal::default();
                self.disconnect_all(bounds);
            }
            Fault::EvictFeed => self.journal.feed.clear(),
            Fault::EvictLedger => self.journal.ledger = None,
        }
        Some(())
    }

    fn disconnect_all(&mut self, bounds: &Bounds) {
        if !bounds.breaks(Rule::CatchUpAfterReconnect) {
            self.processes.iter_mut().for_each(Process::disconnect);
        }
    }

    /// Marks the writes whose record Redis has lost and no process knows. No process can make them
    /// good.
    pub(crate) fn forget(&mut self) {
        let known =
            self.processes.iter().fold(self.journal.writes, |known, process| known.union(process.known));
        self.forgotten = self.forgotten.union(self.done.difference(known));
        // The age of a lost write starts again once its record is made good.
        let lost = self.done.difference(self.journal.writes);
        self.ageing = self.ageing.map(|writes| writes.difference(lost));
    }
}
