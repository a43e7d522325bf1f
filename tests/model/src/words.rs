//! The words of the model: what is small and plain enough to be copied.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use shared_keys::{Applied, Position, Record, ScopeHash, Stamp, Verdict};

/// How many keys there are. Key 0 carries the tag, key 1 does not.
pub const KEYS: usize = 2;

/// A place in the journal. 0 is before every record.
pub type At = u8;

/// A version of the whole database: how many writes have been committed.
pub type Version = u8;

/// What an invalidation covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The first key.
    Key0,
    /// The second key.
    Key1,
    /// The tag that the first key's value carries. Nobody knows that before it is loaded.
    Tag,
    /// Everything.
    All,
}

/// All of them, by number.
pub const SCOPES: [Scope; 4] = [Scope::Key0, Scope::Key1, Scope::Tag, Scope::All];

impl Scope {
    /// The scope of a key.
    #[must_use]
    pub fn of_key(key: usize) -> Self {
        SCOPES[key]
    }

    /// Whether it covers the value of a key.
    #[must_use]
    pub fn covers(self, key: usize) -> bool {
        match self {
            Self::Tag => key == 0,
            Self::All => true,
            own => own == Self::of_key(key),
        }
    }
}

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Stale from now on.
    Expire,
    /// Never to be served again.
    Remove,
}

impl Mode {
    /// The verdict on what such a record covers.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Expire => Verdict::Expired,
            Self::Remove => Verdict::Removed,
        }
    }
}

/// A set of writes, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Writes(u8);

impl Writes {
    /// Every write up to a version.
    #[must_use]
    pub fn up_to(version: Version) -> Self {
        Self(((1_u16 << version) - 1) as u8)
    }

    /// The one that made this version.
    #[must_use]
    pub fn one(version: Version) -> Self {
        Self(1 << (version - 1))
    }

    /// These and those.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without those.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the one that made this version is in.
    #[must_use]
    pub fn has(self, version: Version) -> bool {
        self.0 & Self::one(version).0 != 0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A cached value: what of the database it shows, and its `loaded_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// The version that was read.
    pub version: Version,
    /// The position applied before the load began.
    pub at: At,
}

/// Per scope and mode the last position: what a process holds as `Applied`, and Redis as the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Marks([[At; 2]; 4]);

impl Marks {
    /// The last position of a scope and mode, 0 if there is none.
    #[must_use]
    pub fn get(self, scope: Scope, mode: Mode) -> At {
        self.0[scope as usize][mode as usize]
    }

    /// Takes a position in.
    pub fn raise(&mut self, scope: Scope, mode: Mode, at: At) {
        let mark = &mut self.0[scope as usize][mode as usize];
        *mark = at.max(*mark);
    }

    /// Takes a row out.
    pub fn drop_row(&mut self, scope: Scope, mode: Mode) {
        self.0[scope as usize][mode as usize] = 0;
    }

    /// All that there are.
    pub fn rows(self) -> impl Iterator<Item = (Scope, Mode, At)> {
        let row = move |scope| [Mode::Expire, Mode::Remove].map(|mode| (scope, mode, self.get(scope, mode)));
        SCOPES.into_iter().flat_map(row).filter(|(.., at)| *at > 0)
    }

    /// What the SDK's own rule says of an entry with these scopes.
    #[must_use]
    pub fn verdict(self, scopes: &[ScopeHash], at: At) -> Verdict {
        thread_local! {
            /// The same few sets of marks are asked for again and again.
            static APPLIED: RefCell<HashMap<Marks, Applied>> = RefCell::default();
        }
        APPLIED.with_borrow_mut(|known| {
            let applied = known.entry(self).or_insert_with(|| {
                let mut applied = Applied::new(100);
                for (scope, mode, at) in self.rows() {
                    let mode = match mode {
                        Mode::Expire => shared_keys::Mode::Expire,
                        Mode::Remove => shared_keys::Mode::Remove,
                    };
                    applied.apply(Record { scope: HASHES[scope as usize], mode, stamp: stamp(at) });
                }
                applied
            });
            applied.verdict(scopes.iter().copied(), stamp(at))
        })
    }
}

fn stamp(at: At) -> Stamp {
    Stamp::origin(Position::new(at.into(), 0))
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

/// What is known of a key before it is loaded.
#[must_use]
pub fn scopes_of_key(key: usize) -> &'static [ScopeHash] {
    &SCOPES_OF_KEY[key]
}

/// What is known of it afterwards.
#[must_use]
pub fn scopes_of_value(key: usize) -> &'static [ScopeHash] {
    &SCOPES_OF_VALUE[key]
}
