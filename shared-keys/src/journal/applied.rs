//! The records that a layer has applied, and the validity rule.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::{Mode, Position, Record, Seq, Stamp};
use crate::{Scope, ScopeHash, Tag};

/// The validity of an entry. A later variant is the stricter one.
///
/// ```
/// use shared_keys::Verdict;
/// assert_eq!(Verdict::Expired.max(Verdict::Removed), Verdict::Removed);
/// assert_eq!(Verdict::Removed.as_str(), "removed");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// No record after the entry's `loaded_at` covers it.
    Valid,
    /// The entry may be served only where stale entries are allowed.
    Expired,
    /// The entry must never be served again.
    Removed,
}

impl Verdict {
    /// Returns `valid`, `expired` or `removed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Removed => "removed",
        }
    }
}

/// The latest records of a scope, in the two orders that entries are compared in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Marks {
    /// The last record with an origin position.
    origin: Option<Position>,
    /// The last record without an origin position, which is compared only in the edge's order.
    unplaced: Option<Seq>,
    /// The last record in the edge's order. A record without a number there counts as the latest
    /// possible.
    edge: Option<Seq>,
}

impl Marks {
    fn add(&mut self, stamp: Stamp) {
        let seq = stamp.edge.unwrap_or(Seq(u64::MAX));
        self.edge = self.edge.max(Some(seq));
        match stamp.origin {
            Some(position) => self.origin = self.origin.max(Some(position)),
            None => self.unplaced = self.unplaced.max(Some(seq)),
        }
    }

    fn merge(&mut self, other: Self) {
        self.origin = self.origin.max(other.origin);
        self.unplaced = self.unplaced.max(other.unplaced);
        self.edge = self.edge.max(other.edge);
    }

    /// Returns whether one of the records is after `loaded_at`.
    ///
    /// If record and entry both have an origin position, the positions are compared; otherwise the
    /// numbers at the edge. An entry without a place in an order counts as the oldest in it.
    fn after(&self, loaded_at: Stamp) -> bool {
        let seq = loaded_at.edge.unwrap_or_default();
        match loaded_at.origin {
            Some(position) => self.origin > Some(position) || self.unplaced > Some(seq),
            None => self.edge > Some(seq),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Hits {
    remove: Marks,
    expire: Marks,
}

impl Hits {
    fn verdict(&self, loaded_at: Stamp) -> Verdict {
        if self.remove.after(loaded_at) {
            Verdict::Removed
        } else if self.expire.after(loaded_at) {
            Verdict::Expired
        } else {
            Verdict::Valid
        }
    }
}

/// The records that a layer has applied, reduced to the latest per scope. It decides whether an
/// entry is valid.
///
/// It holds at most `max_scopes` scopes. Beyond that, the older half is dropped and counts as a
/// record that covers everything, so forgetting makes entries invalid, never valid.
///
/// ```
/// use shared_keys::{Applied, Mode, Position, Record, Scope, Stamp, Verdict};
///
/// let tag = "tag:category:7".parse::<Scope>().unwrap().hash();
/// let mut applied = Applied::new(100_000);
/// let stamp = Stamp::origin(Position::new(20, 0));
/// applied.apply(Record { scope: tag, mode: Mode::Remove, stamp });
///
/// // An entry loaded before the record is never served again, even if it is stored after it.
/// assert_eq!(applied.verdict([tag], Stamp::origin(Position::new(10, 0))), Verdict::Removed);
/// assert_eq!(applied.verdict([tag], Stamp::origin(Position::new(20, 0))), Verdict::Valid);
/// ```
#[derive(Debug, Clone)]
pub struct Applied {
    scopes: HashMap<ScopeHash, Hits>,
    /// The scopes of several tags that have records. Entries carry only the single tags.
    all_tags: Vec<AllTags>,
    everything: Hits,
    max_scopes: usize,
    all: ScopeHash,
}

#[derive(Debug, Clone)]
struct AllTags {
    scope: ScopeHash,
    tags: Box<[ScopeHash]>,
}

/// The largest number of scopes of several tags that are tracked exactly. A further one counts as
/// its first tag alone, which covers more.
const MAX_ALL_TAGS: usize = 1000;

impl Applied {
    /// Creates an empty set of records that holds at most `max_scopes` scopes (at least 2).
    ///
    /// ```
    /// use shared_keys::{Applied, Mode, Position, Record, ScopeHash, Stamp, Verdict};
    /// let mut applied = Applied::new(2);
    /// for ms in 1..=3 {
    ///     let stamp = Stamp::origin(Position::new(ms, 0));
    ///     applied.apply(Record { scope: ScopeHash(ms), mode: Mode::Expire, stamp });
    /// }
    /// // The older two were dropped, and now cover everything up to their positions.
    /// assert_eq!(applied.len(), 1);
    /// assert_eq!(applied.verdict([], Stamp::origin(Position::new(1, 0))), Verdict::Removed);
    /// assert_eq!(applied.verdict([], Stamp::origin(Position::new(2, 0))), Verdict::Valid);
    /// ```
    #[must_use]
    pub fn new(max_scopes: usize) -> Self {
        Self {
            scopes: HashMap::new(),
            all_tags: Vec::new(),
            everything: Hits::default(),
            max_scopes: max_scopes.max(2),
            all: ScopeHash::all(),
        }
    }

    /// Applies a record of this scope, including a scope of several tags. Order and repetition do
    /// not matter.
    ///
    /// ```
    /// use shared_keys::{Applied, Mode, Position, Scope, Stamp, Tag, Verdict};
    /// let [red, large] = ["red", "large"].map(|text| Tag::new(text).unwrap());
    /// let both = Scope::all_tags([red.clone(), large.clone()]).unwrap();
    /// let mut applied = Applied::new(100);
    /// applied.apply_scope(&both, Mode::Remove, Stamp::origin(Position::new(20, 0)));
    ///
    /// let [red, large] = [Scope::Tag(red).hash(), Scope::Tag(large).hash()];
    /// let before = Stamp::origin(Position::new(10, 0));
    /// assert_eq!(applied.verdict([red, large], before), Verdict::Removed);
    /// assert_eq!(applied.verdict([red], before), Verdict::Valid);
    /// ```
    pub fn apply_scope(&mut self, scope: &Scope, mode: Mode, stamp: Stamp) {
        let hash = match scope {
            Scope::AllTags(tags) if self.tracks(scope.hash(), tags) => scope.hash(),
            _ => scope.carried_hash(),
        };
        self.apply(Record { scope: hash, mode, stamp });
    }

    /// Returns whether a scope of several tags is tracked exactly, and begins to track it if there
    /// is room.
    fn tracks(&mut self, scope: ScopeHash, tags: &[Tag]) -> bool {
        if self.all_tags.iter().any(|known| known.scope == scope) {
            return true;
        }
        if self.all_tags.len() < MAX_ALL_TAGS {
            let tags = tags.iter().map(|tag| ScopeHash::tag(tag.as_str())).collect();
            self.all_tags.push(AllTags { scope, tags });
            return true;
        }
        false
    }

    /// Applies a record. Order and repetition do not matter.
    pub fn apply(&mut self, record: Record) {
        let hits = if record.scope == self.all {
            &mut self.everything
        } else {
            self.scopes.entry(record.scope).or_default()
        };
        match record.mode {
            Mode::Remove => hits.remove.add(record.stamp),
            Mode::Expire => hits.expire.add(record.stamp),
        }
        if self.scopes.len() > self.max_scopes {
            self.drop_older_half();
        }
    }

    /// Makes every entry that was loaded before `floor` count as removed.
    ///
    /// ```
    /// use shared_keys::{Applied, Seq, Stamp, Verdict};
    /// let mut applied = Applied::new(100);
    /// applied.raise_floor(Stamp::edge(Seq(7)));
    /// assert_eq!(applied.verdict([], Stamp::edge(Seq(6))), Verdict::Removed);
    /// assert_eq!(applied.verdict([], Stamp::edge(Seq(7))), Verdict::Valid);
    /// ```
    pub fn raise_floor(&mut self, floor: Stamp) {
        self.everything.remove.add(floor);
    }

    /// **The validity rule**: returns the verdict on an entry with these scopes, loaded at
    /// `loaded_at`. The scope `all` need not be listed.
    ///
    /// If record and entry both have an origin position, the positions are compared; otherwise
    /// their numbers at the edge. Without a place in an order, an entry counts as the oldest and a
    /// record as the latest.
    ///
    /// ```
    /// use shared_keys::{Applied, Mode, Position, Record, ScopeHash, Seq, Stamp, Verdict};
    /// let mut applied = Applied::new(100);
    /// let at = |ms, seq| Stamp { origin: Some(Position::new(ms, 0)), edge: Some(Seq(seq)) };
    /// applied.apply(Record { scope: ScopeHash(1), mode: Mode::Remove, stamp: at(20, 5) });
    ///
    /// // A lagging origin built the response before the record; the edge fetched it afterwards.
    /// assert_eq!(applied.verdict([ScopeHash(1)], at(10, 9)), Verdict::Removed);
    /// assert_eq!(applied.verdict([ScopeHash(1)], at(20, 4)), Verdict::Valid);
    /// // A foreign origin sends no position.
    /// assert_eq!(applied.verdict([ScopeHash(1)], Stamp::edge(Seq(4))), Verdict::Removed);
    /// ```
    #[must_use]
    pub fn verdict(
        &self,
        scopes: impl IntoIterator<Item = ScopeHash, IntoIter: Clone>,
        loaded_at: Stamp,
    ) -> Verdict {
        let mut verdict = self.everything.verdict(loaded_at);
        let scopes = scopes.into_iter();
        for scope in scopes.clone().chain(self.all_tags_of(scopes)) {
            if verdict == Verdict::Removed {
                break;
            }
            if let Some(hits) = self.scopes.get(&scope) {
                verdict = verdict.max(hits.verdict(loaded_at));
            }
        }
        verdict
    }

    /// Returns the number at the edge of the last record of exactly this scope; `None` if there is
    /// none.
    ///
    /// ```
    /// use shared_keys::{Applied, Mode, Record, ScopeHash, Seq, Stamp};
    /// let mut applied = Applied::new(100);
    /// applied.apply(Record { scope: ScopeHash(1), mode: Mode::Expire, stamp: Stamp::edge(Seq(7)) });
    /// assert_eq!(applied.last_record(ScopeHash(1)), Some(Seq(7)));
    /// assert_eq!(applied.last_record(ScopeHash(2)), None);
    /// ```
    #[must_use]
    pub fn last_record(&self, scope: ScopeHash) -> Option<Seq> {
        self.scopes.get(&scope).and_then(|hits| hits.remove.edge.max(hits.expire.edge))
    }

    /// Returns the tracked scopes of several tags that cover an entry with these scopes.
    pub fn all_tags_of(
        &self,
        scopes: impl Iterator<Item = ScopeHash> + Clone,
    ) -> impl Iterator<Item = ScopeHash> {
        let covers =
            move |known: &&AllTags| known.tags.iter().all(|tag| scopes.clone().any(|scope| scope == *tag));
        self.all_tags.iter().filter(covers).map(|known| known.scope)
    }

    /// Returns the number of scopes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scopes.len()
    }

    /// Returns whether there are no scopes. There can still be a floor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    fn drop_older_half(&mut self) {
        let age = |hits: &Hits| {
            let latest = |a: Marks, b: Marks| (a.edge.max(b.edge), a.origin.max(b.origin));
            latest(hits.remove, hits.expire)
        };
        let Some(median) = median(self.scopes.values().map(age).collect()) else { return };
        let floor = &mut self.everything.remove;
        self.scopes.retain(|_, hits| {
            let keep = age(hits) > median;
            if !keep {
                floor.merge(hits.remove);
                floor.merge(hits.expire);
            }
            keep
        });
        self.all_tags.retain(|known| self.scopes.contains_key(&known.scope));
    }
}

/// Returns the median, by Hoare's quickselect. The standard library's selection would add much code
/// to the edge worker.
fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    let mut nth = values.len() / 2;
    loop {
        let pivot = *values.get(values.len() / 2)?;
        let before = values.iter().filter(|value| **value < pivot).count();
        let up_to = values.iter().filter(|value| **value <= pivot).count();
        if nth < before {
            values.retain(|value| *value < pivot);
        } else if nth < up_to {
            return Some(pivot);
        } else {
            values.retain(|value| *value > pivot);
            nth -= up_to;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: ScopeHash = ScopeHash(1);
    const B: ScopeHash = ScopeHash(2);

    fn at(origin: Option<u64>, edge: Option<u64>) -> Stamp {
        Stamp { origin: origin.map(|ms| Position::new(ms, 0)), edge: edge.map(Seq) }
    }

    fn applied(records: &[(ScopeHash, Mode, Stamp)]) -> Applied {
        let mut applied = Applied::new(1000);
        for &(scope, mode, stamp) in records {
            applied.apply(Record { scope, mode, stamp });
        }
        applied
    }

    #[test]
    fn a_record_covers_what_was_loaded_before_it_and_nothing_else() {
        let journal = applied(&[(A, Mode::Remove, at(Some(5), None))]);
        assert_eq!(journal.verdict([A], at(Some(4), None)), Verdict::Removed);
        assert_eq!(journal.verdict([A], at(Some(5), None)), Verdict::Valid);
        assert_eq!(journal.verdict([B], at(Some(4), None)), Verdict::Valid);
    }

    #[test]
    fn an_expire_does_not_weaken_an_earlier_remove() {
        let journal = applied(&[(A, Mode::Remove, at(Some(5), None)), (A, Mode::Expire, at(Some(6), None))]);
        assert_eq!(journal.verdict([A], at(Some(4), None)), Verdict::Removed);
        assert_eq!(journal.verdict([A], at(Some(5), None)), Verdict::Expired);
        assert_eq!(journal.verdict([A], at(Some(6), None)), Verdict::Valid);
    }

    #[test]
    fn positions_are_compared_where_both_have_one_and_the_edge_order_elsewhere() {
        let placed = applied(&[(A, Mode::Remove, at(Some(5), Some(9)))]);
        assert_eq!(
            placed.verdict([A], at(Some(4), Some(99))),
            Verdict::Removed,
            "a lagging origin built it before the purge"
        );
        assert_eq!(
            placed.verdict([A], at(Some(5), Some(1))),
            Verdict::Valid,
            "built at the purge, seen early"
        );
        assert_eq!(placed.verdict([A], at(None, Some(8))), Verdict::Removed);
        assert_eq!(placed.verdict([A], at(None, Some(9))), Verdict::Valid);
        let foreign = applied(&[(A, Mode::Remove, at(None, Some(9)))]);
        assert_eq!(foreign.verdict([A], at(Some(99), Some(8))), Verdict::Removed);
        assert_eq!(foreign.verdict([A], at(Some(0), Some(9))), Verdict::Valid);
    }

    #[test]
    fn an_entry_without_a_comparable_place_is_invalid() {
        let journal = applied(&[(A, Mode::Remove, at(Some(5), None))]);
        assert_eq!(journal.verdict([A], at(None, Some(7))), Verdict::Removed);
        assert_eq!(journal.verdict([A], Stamp::default()), Verdict::Removed);
    }

    #[test]
    fn all_and_the_floor_cover_every_scope() {
        let mut journal = applied(&[(Scope::All.hash(), Mode::Expire, at(Some(5), None))]);
        assert_eq!(journal.verdict([], at(Some(4), None)), Verdict::Expired);
        journal.raise_floor(at(Some(3), None));
        assert_eq!(journal.verdict([B], at(Some(2), None)), Verdict::Removed);
        assert_eq!(journal.verdict([B], at(Some(3), None)), Verdict::Expired);
    }

    fn tag(text: &str) -> Tag {
        Tag::new(text).unwrap()
    }

    #[test]
    fn scopes_of_several_tags_beyond_the_limit_cover_more_and_never_less() {
        let mut journal = Applied::new(10 * MAX_ALL_TAGS);
        for n in 0..MAX_ALL_TAGS + 10 {
            let both = Scope::all_tags([tag("a"), tag(&alloc::format!("b{n}"))]).unwrap();
            journal.apply_scope(&both, Mode::Remove, at(Some(5), None));
        }
        let hash = |text: &str| Scope::Tag(tag(text)).hash();
        for n in 0..MAX_ALL_TAGS + 10 {
            let scopes = [hash("a"), hash(&alloc::format!("b{n}"))];
            assert_eq!(journal.verdict(scopes, at(Some(4), None)), Verdict::Removed, "{n}");
        }
        assert_eq!(journal.verdict([hash("b0")], at(Some(4), None)), Verdict::Valid);
    }

    proptest! {
        #[test]
        fn the_median_is_the_one_in_the_middle(values in proptest::collection::vec(0u8..20, 0..30)) {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            prop_assert_eq!(median(values), sorted.get(sorted.len() / 2).copied());
        }
    }

    proptest! {
        /// A scope of several tags covers exactly the entries that carry all of them, or more once
        /// scopes were dropped.
        #[test]
        fn a_scope_of_several_tags_covers_what_carries_them_all(
            covered in prop::collection::btree_set("[a-d]", 1..4), carried in prop::collection::btree_set("[a-d]", 0..4),
            others in prop::collection::vec(("[a-d]", "[a-d]", 1u64..9), 0..6), max_scopes in 2usize..20,
        ) {
            let mut journal = Applied::new(max_scopes);
            let mut covers = covered.is_subset(&carried);
            journal.apply_scope(&Scope::all_tags(covered.iter().map(|text| tag(text))).unwrap(), Mode::Remove, at(Some(5), None));
            for (a, b, ms) in others {
                covers |= ms > 4 && carried.contains(&a) && carried.contains(&b);
                journal.apply_scope(&Scope::all_tags([tag(&a), tag(&b)]).unwrap(), Mode::Remove, at(Some(ms), None));
            }
            let scopes: Vec<_> = carried.iter().map(|text| Scope::Tag(tag(text)).hash()).collect();
            let verdict = journal.verdict(scopes, at(Some(4), None));
            prop_assert!(verdict == Verdict::Removed || !covers);
            if max_scopes > 7 {
                prop_assert_eq!(verdict == Verdict::Removed, covers);
            }
        }

        /// The map returns the same verdict as a search through all records, or a stricter one
        /// after records were dropped.
        #[test]
        fn the_map_is_never_laxer_than_the_records(
            records in prop::collection::vec((0u64..6, any::<bool>(), prop::option::of(0u64..9), 1u64..9), 0..40),
            scope in 0u64..6, origin in prop::option::of(0u64..9), edge in 0u64..9, max_scopes in 2usize..8,
        ) {
            let mut map = Applied::new(max_scopes);
            let mut worst = Verdict::Valid;
            let entry = at(origin, Some(edge));
            for (covered, remove, position, seq) in records {
                let mode = if remove { Mode::Remove } else { Mode::Expire };
                map.apply(Record { scope: ScopeHash(covered), mode, stamp: at(position, Some(seq)) });
                let after = match (position, origin) { (Some(r), Some(e)) => r > e, _ => seq > edge };
                if covered == scope && after {
                    worst = worst.max(if remove { Verdict::Removed } else { Verdict::Expired });
                }
            }
            let verdict = map.verdict([ScopeHash(scope)], entry);
            prop_assert!(verdict >= worst);
            if max_scopes >= 6 {
                prop_assert_eq!(verdict, worst);
            }
        }
    }
}
