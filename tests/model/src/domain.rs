//! The small values that every part of the model shares: scopes, modes, writes, entries and
//! positions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use shared_keys::{Applied, ScopeHash, Stamp, Verdict};

/// The number of keys. The value of key 0 carries the tag, the value of key 1 does not.
pub const KEYS: usize = 2;

/// A position in the journal. 0 stands before every record.
pub type Position = u8;

/// The version of the whole database: the number of committed writes.
pub type Version = u8;

/// The scope of an invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The first key.
    Key0,
    /// The second key.
    Key1,
    /// The tag of the first key's value. It is not known before that value is loaded.
    Tag,
    /// Every entry.
    All,
}

/// All scopes, in the order of their discriminants.
pub const SCOPES: [Scope; 4] = [Scope::Key0, Scope::Key1, Scope::Tag, Scope::All];

impl Scope {
    /// Returns the scope of a key.
    #[must_use]
    pub fn of_key(key: usize) -> Self {
        SCOPES[key]
    }

    /// Returns whether the scope covers the value of a key.
    #[must_use]
    pub fn covers(self, key: usize) -> bool {
        match self {
            Self::Tag => key == 0,
            Self::All => true,
            own => own == Self::of_key(key),
        }
    }
}

/// The effect of a record on the entries that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// The entry is stale from now on.
    Expire,
    /// The entry is never served again.
    Remove,
}

impl Mode {
    /// Returns the verdict on an entry that such a record covers.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Expire => Verdict::Expired,
            Self::Remove => Verdict::Removed,
        }
    }
}

/// A set of writes. Each write is named by the version that it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct WriteSet(u8);

impl WriteSet {
    /// Returns the set of every write up to and including a version.
    #[must_use]
    pub fn up_to(version: Version) -> Self {
        Self(((1_u16 << version) - 1) as u8)
    }

    /// Returns the set of the one write that made a version.
    #[must_use]
    pub fn of(version: Version) -> Self {
        Self(1 << (version - 1))
    }

    /// Returns the writes that are in either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the writes of this set that are not in the other.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns whether the set contains the write that made a version.
    #[must_use]
    pub fn contains(self, version: Version) -> bool {
        self.0 & Self::of(version).0 != 0
    }
}

/// A cached value: the version of the database that it shows, and its `loaded_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// The version that the load read.
    pub version: Version,
    /// The position that the process had applied before the load began.
    pub loaded_at: Position,
}

/// The last position for each scope and mode. A process stores it as `Applied`, Redis as the
/// ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LastPositions([[Position; 2]; 4]);

impl LastPositions {
    /// Returns the last position of a scope and mode, or 0 if there is no record of them.
    #[must_use]
    pub fn get(self, scope: Scope, mode: Mode) -> Position {
        self.0[scope as usize][mode as usize]
    }

    /// Raises the position of a scope and mode. A lower position changes nothing.
    pub fn raise(&mut self, scope: Scope, mode: Mode, position: Position) {
        let last = &mut self.0[scope as usize][mode as usize];
        *last = position.max(*last);
    }

    /// Drops the row of a scope and mode.
    pub fn drop_row(&mut self, scope: Scope, mode: Mode) {
        self.0[scope as usize][mode as usize] = 0;
    }

    /// Returns all rows.
    pub fn rows(self) -> impl Iterator<Item = (Scope, Mode, Position)> {
        let row = move |scope| [Mode::Expire, Mode::Remove].map(|mode| (scope, mode, self.get(scope, mode)));
        SCOPES.into_iter().flat_map(row).filter(|(.., position)| *position > 0)
    }

    /// Returns the verdict of the SDK's own rule on an entry with these scopes.
    #[must_use]
    pub fn verdict(self, scopes: &[ScopeHash], loaded_at: Position) -> Verdict {
        thread_local! {
            /// The checker needs the verdicts of the same few tables millions of times.
            static APPLIED: RefCell<HashMap<LastPositions, Applied>> = RefCell::default();
        }
        APPLIED.with_borrow_mut(|cached| {
            let applied = cached.entry(self).or_insert_with(|| self.to_applied());
            applied.verdict(scopes.iter().copied(), stamp(loaded_at))
        })
    }

    fn to_applied(self) -> Applied {
        let mut applied = Applied::new(100);
        for (scope, mode, position) in self.rows() {
            let mode = match mode {
                Mode::Expire => shared_keys::Mode::Expire,
                Mode::Remove => shared_keys::Mode::Remove,
            };
            let (scope, stamp) = (HASHES[scope as usize], stamp(position));
            applied.apply(shared_keys::Record { scope, mode, stamp });
        }
        applied
    }
}

fn stamp(position: Position) -> Stamp {
    Stamp::origin(shared_keys::Position::new(position.into(), 0))
}

static HASHES: LazyLock<[ScopeHash; 4]> = LazyLock::new(|| {
    ["key:app:v1:{item:0}", "key:app:v1:{item:1}", "tag:group:0", "all"]
        .map(|text| text.parse::<shared_keys::Scope>().map_or(ScopeHash(0), |scope| scope.hash()))
});

static SCOPES_OF_KEY: LazyLock<[Vec<ScopeHash>; KEYS]> =
    LazyLock::new(|| ["app:v1:{item:0}", "app:v1:{item:1}"].map(ScopeHash::of_key));

static SCOPES_OF_VALUE: LazyLock<[Vec<ScopeHash>; KEYS]> = LazyLock::new(|| {
    let [mut tagged, plain] = SCOPES_OF_KEY.clone();
    tagged.push(HASHES[Scope::Tag as usize]);
    [tagged, plain]
});

/// Returns the scopes of a key that are known before its value is loaded.
#[must_use]
pub fn scopes_of_key(key: usize) -> &'static [ScopeHash] {
    &SCOPES_OF_KEY[key]
}

/// Returns the scopes of a key's value, its tag included.
#[must_use]
pub fn scopes_of_value(key: usize) -> &'static [ScopeHash] {
    &SCOPES_OF_VALUE[key]
}
