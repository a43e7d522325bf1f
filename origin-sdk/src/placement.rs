//! The tiers that hold a new value.

/// The tiers of the origin that hold a new value, and why the others do not.
///
/// ```
/// # use std::time::Duration;
/// # use origin_sdk::{Cache, Lifetime, Namespace, Storage};
/// # origin_sdk::keys! { app "shop" version 1; pub key Product { id: u64 } = "product:{id}"; }
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let cache = Cache::builder("shop").build().await.unwrap();
/// let names: Namespace<Product, String> = cache.namespace(Lifetime::fresh(Duration::ZERO)).build();
/// let placement = names.put(&Product { id: 7 }, "Lamp".to_owned(), cache.position()).await;
/// assert_eq!((placement.is_cached(), placement.memory), (false, Storage::NoLifetime));
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placement {
    /// This process's memory.
    pub memory: Storage,
    /// Redis, or the embedded store.
    pub redis: Storage,
}

/// Whether a tier holds a new value, and if not, why. Whatever the reason, this process does not
/// serve the key's older value from it either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Storage {
    /// The tier holds the value.
    Stored,
    /// An invalidation covers the value, or a newer value of the key has been written or may have
    /// been.
    Overtaken,
    /// The value's lifetime, with its stale windows, is shorter than a millisecond.
    NoLifetime,
    /// The value does not serialise.
    NotSerializable,
    /// The value alone exceeds the tier's bounds.
    TooLarge,
    /// The tier could not be reached or refused the value, for example because its memory is full.
    Unavailable,
    /// The journal could not be reached, so that other writes may be unknown.
    Disconnected,
    /// The cache was built with [`bypass`](crate::CacheBuilder::bypass).
    Bypassed,
    /// The namespace keeps its values in memory alone
    /// ([`Cache::memory_namespace`](crate::Cache::memory_namespace)).
    MemoryOnly,
}

impl Placement {
    /// Returns the placement of a value that no tier holds.
    pub(crate) const fn nowhere(reason: Storage) -> Self {
        Self { memory: reason, redis: reason }
    }

    /// Returns whether a tier holds the value, so that a read which follows finds it.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.memory == Storage::Stored || self.redis == Storage::Stored
    }
}
