//! The result of a read.

use std::sync::Arc;
use std::time::Duration;

/// A value, and the layer that it comes from.
#[derive(Debug)]
pub struct Cached<V> {
    /// The value, shared with the cache.
    pub value: Arc<V>,
    /// The layer that returned the value.
    pub layer: Layer,
    /// The time since the value was loaded, up to 50 ms too short; zero if it was loaded for this
    /// read.
    pub age: Duration,
    /// Whether the value is fresh, and if not, why it was served all the same.
    pub freshness: Freshness,
}

impl<V> Cached<V> {
    /// Returns a value that was loaded for this read.
    pub(crate) fn loaded(value: Arc<V>) -> Self {
        Self { value, layer: Layer::Loader, age: Duration::ZERO, freshness: Freshness::Fresh }
    }
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), ..*self }
    }
}

/// A layer of the origin, in the order of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// This process's memory.
    Memory,
    /// Redis, or the embedded store.
    Redis,
    /// The loader: no cached value could be served.
    Loader,
}

impl Layer {
    /// Returns `memory`, `redis` or `loader`: stable, for headers, logs and metrics.
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
    /// The value is within its lifetime, and no record that this process knows covers it.
    Fresh,
    /// The value is stale, and may be served stale.
    Stale(StaleReason),
}

/// Why a stale value was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StaleReason {
    /// The value is within `stale_while_revalidate`. A read that has a loader refreshes it in the
    /// background.
    Revalidating,
    /// The load failed, and the value is within `stale_if_error`.
    LoadFailed,
    /// The load takes longer than the soft timeout, and the value is within `stale_if_error`. The
    /// load goes on in the background.
    SoftTimeout,
    /// The journal cannot be reached, so a record that covers the value may be unknown. The
    /// namespace has chosen [`OnDisconnect::ServeStale`](crate::OnDisconnect::ServeStale).
    Disconnected,
    /// The value was loaded so soon after an invalidation that its source may not have had the new
    /// state yet ([`source_lag`](crate::NamespaceBuilder::source_lag)). It is not stored.
    SourceLag,
}

impl StaleReason {
    /// Returns `stale-while-revalidate`, `stale-if-error`, `soft-timeout`, `disconnected` or
    /// `source-lag`: stable, for headers, logs and metrics.
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
