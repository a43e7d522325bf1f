//! What a read gives back.

use std::sync::Arc;
use std::time::Duration;

/// A value, and where it came from.
#[derive(Debug)]
pub struct Cached<V> {
    /// The value, shared with the cache.
    pub value: Arc<V>,
    /// The layer that answered.
    pub layer: Layer,
    /// How long ago it was loaded; zero if it was loaded for this read.
    pub age: Duration,
    /// Whether it is fresh, and if not, why it was served all the same.
    pub freshness: Freshness,
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), ..*self }
    }
}

/// A layer of the origin, from the fastest inward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// This process's memory.
    Memory,
    /// Redis, or the embedded store.
    Redis,
    /// The loader: nothing cached could be served.
    Loader,
}

impl Layer {
    /// `memory`, `redis` or `loader`: stable, for headers, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Loader => "loader",
        }
    }
}

/// Whether a value is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Within its lifetime, and not covered by any record that this process knows.
    Fresh,
    /// Served where stale is allowed.
    Stale(StaleReason),
}

/// Why a stale value was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StaleReason {
    /// It is within `stale_while_revalidate`. After [`get_or_load`](crate::Namespace::get_or_load) a refresh runs.
    Revalidating,
    /// The load failed, and it is within `stale_if_error`.
    LoadFailed,
    /// The load took longer than the soft timeout, and it is within `stale_if_error`. The load goes on.
    SoftTimeout,
    /// The journal cannot be reached, so nobody knows whether it is still valid; the namespace chose
    /// [`OnDisconnect::ServeStale`](crate::OnDisconnect::ServeStale).
    Disconnected,
    /// It has just been loaded, but so soon after an invalidation that its source may not have had the new value yet
    /// ([`source_lag`](crate::NamespaceBuilder::source_lag)). It is not kept.
    SourceLag,
}

impl StaleReason {
    /// `stale-while-revalidate`, `stale-if-error`, `soft-timeout`, `suspect` or `source-lag`: stable, for headers, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revalidating => "stale-while-revalidate",
            Self::LoadFailed => "stale-if-error",
            Self::SoftTimeout => "soft-timeout",
            Self::Disconnected => "disconnected",
            Self::SourceLag => "source-lag",
        }
    }
}
