//! Values that are on their way into a tier, and whether a newer write of their key has overtaken
//! them.
//!
//! The journal orders a value and an invalidation. It does not order two values of one key that no
//! record lies between: a copy read from the store just before a load replaces it there, or a load
//! that began before a `put`. Each of them registers here while it is under way, each write of the
//! key marks it, and an overtaken value does not enter the tiers.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::{DefaultHashBuilder, HashMap};
use shared_keys::Position;

/// The loads and writes under way, by key. A key without any takes no memory.
#[derive(Default)]
pub(crate) struct InFlight {
    states: Mutex<HashMap<Arc<str>, KeyState>>,
    writes: WriteCounts,
}

/// The writes of keys, for reads of the store: there are far more of these than of loads and
/// writes, so they register nothing.
///
/// Some keys share a count, so a write of one key that begins during a read of another one may
/// overtake it. The read then counts as a miss, which is safe.
struct WriteCounts {
    hasher: DefaultHashBuilder,
    /// In the upper half how many writes have begun, and in the lower half how many of them have
    /// not ended.
    counts: Box<[AtomicU64; COUNTS]>,
}

/// The number of counts. They fit into a core's cache, as each read looks at one.
const COUNTS: usize = 4_096;
const ONE_BEGUN: u64 = 1 << 32;

impl Default for WriteCounts {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            counts: Box::new([const { AtomicU64::new(0) }; COUNTS]),
        }
    }
}

impl WriteCounts {
    fn of(&self, key: &str) -> &AtomicU64 {
        &self.counts[self.hasher.hash_one(key) as usize % COUNTS]
    }

    fn begin(&self, key: &str) {
        self.of(key).fetch_add(ONE_BEGUN + 1, Ordering::AcqRel);
    }

    fn end(&self, key: &str) {
        self.of(key).fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Default)]
struct KeyState {
    /// The values and writes that are under way.
    guards: usize,
    /// How many writes have begun and not ended.
    writes: usize,
    /// How many writes have begun: the number of the last one.
    writes_begun: u64,
    /// The number and the position of each write that no later one of the same position or a higher
    /// one has followed: by ascending number, and so by descending position.
    newest_writes: Vec<(u64, Position)>,
}

/// A value that is under way, until dropped.
pub(crate) struct ValueInFlight(Registration);

/// A read of the store that is under way.
pub(crate) struct ReadInFlight<'a> {
    count: &'a AtomicU64,
    /// The count when the read began; `None` if a write had not ended.
    began_at: Option<u64>,
}

/// A write of a key, until dropped.
pub(crate) struct WriteInFlight(Registration);

struct Registration {
    in_flight: Arc<InFlight>,
    key: Arc<str>,
    position: Position,
    /// The writes that had begun when this was registered, with this one if it is a write; `None`
    /// for a value if one of them had not ended.
    writes_begun: Option<u64>,
}

impl InFlight {
    /// Registers a load that starts at this position. Call it before the loader.
    pub(crate) fn load(self: &Arc<Self>, key: impl Into<Arc<str>>, position: Position) -> ValueInFlight {
        let key = key.into();
        let writes_begun = {
            let mut states = self.lock();
            let state = states.entry(Arc::clone(&key)).or_default();
            state.guards += 1;
            (state.writes == 0).then_some(state.writes_begun)
        };
        ValueInFlight(Registration { in_flight: Arc::clone(self), key, position, writes_begun })
    }

    /// Returns a mark for a read of the store. Every write of the key overtakes it. Call it before
    /// the read.
    pub(crate) fn read(&self, key: &str) -> ReadInFlight<'_> {
        let count = self.writes.of(key);
        let began_at = count.load(Ordering::Acquire);
        // The writes that have not ended are registered, so they overtake no read of another key.
        let is_written =
            !began_at.is_multiple_of(ONE_BEGUN) && self.lock().get(key).is_some_and(|state| state.writes > 0);
        ReadInFlight { count, began_at: (!is_written).then_some(began_at) }
    }

    /// Begins a write, which overtakes everything that is under way to the key and not newer than
    /// `position`. Call it before the tiers change, and drop the result afterwards.
    pub(crate) fn write(self: &Arc<Self>, key: impl Into<Arc<str>>, position: Position) -> WriteInFlight {
        let key = key.into();
        let writes_begun = {
            let mut states = self.lock();
            self.writes.begin(&key);
            Some(states.entry(Arc::clone(&key)).or_default().begin_write(position))
        };
        WriteInFlight(Registration { in_flight: Arc::clone(self), key, position, writes_begun })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, KeyState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadInFlight<'_> {
    /// Returns whether a write of the key has begun since the read began, or was under way then.
    ///
    /// Check a copy before it enters memory and once more afterwards: if it was overtaken in
    /// between, it has to leave memory again.
    pub(crate) fn is_overtaken(&self) -> bool {
        // A write begins before it changes memory. So if it has changed memory before the copy did,
        // under the same lock, this sees it; if not, it replaces the copy.
        self.began_at
            .is_none_or(|began_at| self.count.load(Ordering::Acquire) / ONE_BEGUN != began_at / ONE_BEGUN)
    }
}

impl KeyState {
    /// Returns the number of the write.
    fn begin_write(&mut self, position: Position) -> u64 {
        self.guards += 1;
        self.writes += 1;
        self.writes_begun += 1;
        while self.newest_writes.pop_if(|(_, older)| *older <= position).is_some() {}
        self.newest_writes.push((self.writes_begun, position));
        self.writes_begun
    }
}

impl ValueInFlight {
    /// Begins to write this value. Returns `None` if it has been overtaken.
    pub(crate) fn write(&self) -> Option<WriteInFlight> {
        let Registration { ref in_flight, ref key, position, .. } = self.0;
        let writes_begun = {
            let mut states = in_flight.lock();
            let state = states.get_mut(key).filter(|state| !self.0.is_overtaken_in(state))?;
            in_flight.writes.begin(key);
            Some(state.begin_write(position))
        };
        let (in_flight, key) = (Arc::clone(in_flight), Arc::clone(key));
        Some(WriteInFlight(Registration { in_flight, key, position, writes_begun }))
    }
}

impl WriteInFlight {
    /// Returns whether another write that is not older has begun since this one. Check it after the
    /// tiers have changed: if they were changed by both, each may hold either value.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.0.is_overtaken()
    }
}

impl Registration {
    fn is_overtaken(&self) -> bool {
        self.in_flight.lock().get(&self.key).is_some_and(|state| self.is_overtaken_in(state))
    }

    fn is_overtaken_in(&self, state: &KeyState) -> bool {
        let Some(writes_begun) = self.writes_begun else { return true };
        let mut later = state.newest_writes.iter().filter(|(number, _)| *number > writes_begun);
        later.any(|(_, position)| *position >= self.position)
    }
}

impl Drop for WriteInFlight {
    fn drop(&mut self) {
        if let Some(state) = self.0.in_flight.lock().get_mut(&self.0.key) {
            state.writes -= 1;
        }
        self.0.in_flight.writes.end(&self.0.key);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut states = self.in_flight.lock();
        if let Some(state) = states.get_mut(&self.key) {
            state.guards -= 1;
            if state.guards == 0 {
                states.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ValueInFlight {
        fn is_overtaken(&self) -> bool {
            self.0.is_overtaken()
        }
    }

    const OLD: Position = Position::new(1, 0);
    const NEW: Position = Position::new(2, 0);

    #[test]
    fn a_write_overtakes_loads_that_are_not_newer_and_every_read() {
        let in_flight = Arc::new(InFlight::default());
        let (read, old, new) = (in_flight.read("a"), in_flight.load("a", OLD), in_flight.load("a", NEW));
        let other = in_flight.load("b", OLD);
        assert!(!read.is_overtaken() && [&old, &new].iter().all(|value| !value.is_overtaken()));
        drop(in_flight.write("a", OLD));
        assert_eq!([&old, &new, &other].map(|value| value.is_overtaken()), [true, false, false]);
        assert!(read.is_overtaken());
        drop(in_flight.write("a", NEW));
        assert!(new.is_overtaken());
    }

    #[test]
    fn a_value_that_begins_during_a_write_is_overtaken_and_one_after_it_is_not() {
        let in_flight = Arc::new(InFlight::default());
        let write = in_flight.write("a", OLD);
        let (load, read) = (in_flight.load("a", OLD), in_flight.read("a"));
        drop(write);
        assert_eq!((load.is_overtaken(), in_flight.load("a", OLD).is_overtaken()), (true, false));
        assert_eq!((read.is_overtaken(), in_flight.read("a").is_overtaken()), (true, false));
    }

    #[test]
    fn a_write_under_way_overtakes_no_read_of_another_key_that_begins_later() {
        let in_flight = Arc::new(InFlight::default());
        let _write = in_flight.write("a", OLD);
        assert!(in_flight.read("a").is_overtaken());
        for n in 0..4 * COUNTS {
            assert!(!in_flight.read(&format!("key:{n}")).is_overtaken(), "{n}");
        }
    }

    #[test]
    fn a_read_is_overtaken_by_each_way_to_write() {
        let in_flight = Arc::new(InFlight::default());
        let (read, load) = (in_flight.read("a"), in_flight.load("a", OLD));
        assert!(!read.is_overtaken());
        let write = load.write();
        assert!(read.is_overtaken() && in_flight.read("a").is_overtaken());
        drop(write);
        assert!(!in_flight.read("a").is_overtaken());
    }

    #[test]
    fn a_value_does_not_overtake_itself_and_is_written_only_if_it_was_not_overtaken() {
        let in_flight = Arc::new(InFlight::default());
        let (first, second) = (in_flight.load("a", OLD), in_flight.load("a", OLD));
        let write = first.write().unwrap();
        assert!(!write.is_overtaken());
        assert!(second.write().is_none());
        drop(in_flight.write("a", OLD));
        assert!(write.is_overtaken(), "a write began while this one was under way");
    }

    #[test]
    fn a_write_of_an_older_value_overtakes_no_newer_one() {
        let in_flight = Arc::new(InFlight::default());
        let newer = in_flight.write("a", NEW);
        let older = in_flight.write("a", OLD);
        assert_eq!((newer.is_overtaken(), older.is_overtaken()), (false, false));
        drop(in_flight.write("a", OLD));
        assert_eq!((newer.is_overtaken(), older.is_overtaken()), (false, true));
    }

    #[test]
    fn a_key_without_values_under_way_takes_no_memory() {
        let in_flight = Arc::new(InFlight::default());
        let load = in_flight.load("a", OLD);
        let write = load.write();
        drop(load);
        assert_eq!(in_flight.lock().len(), 1);
        drop(write);
        assert!(in_flight.lock().is_empty());
    }
}
