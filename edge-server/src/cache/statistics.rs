//! Counts of a cache service's requests.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of requests so far, and the present usage.
#[derive(Debug)]
pub(crate) struct CacheStatistics {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// The number of puts with each result.
    pub(crate) puts: [(&'static str, u64); Put::ALL.len()],
    /// Deletes of a stored response.
    pub(crate) removed: u64,
    /// Deletes of a response that is not stored.
    pub(crate) missing: u64,
    /// The usage of each tier.
    pub(crate) tiers: Vec<(&'static str, Usage)>,
    pub(crate) disk: Option<DiskStatistics>,
}

/// The counts that only a disk cache has.
#[derive(Debug)]
pub(crate) struct DiskStatistics {
    /// Whether the files of earlier runs are still being scanned.
    pub(crate) is_scanning: bool,
    /// Files that were no stored response, or a damaged one.
    pub(crate) invalid_files: u64,
}

/// The usage of a tier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) capacity_bytes: u64,
    pub(crate) entries: u64,
    /// Responses evicted so far.
    pub(crate) evictions: u64,
}

/// The result of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Stored,
    /// The response states that it must not be stored.
    NotCacheable,
    /// It is larger than the platform's limit, or than the store.
    TooLarge,
    /// It is no response, or has another length than it states.
    Malformed,
    /// Its sender has gone before its end.
    BrokenOff,
    /// The disk cannot take it.
    Failed,
}

impl Put {
    const ALL: [(&'static str, Self); 6] = [
        ("stored", Self::Stored),
        ("not_cacheable", Self::NotCacheable),
        ("too_large", Self::TooLarge),
        ("malformed", Self::Malformed),
        ("broken_off", Self::BrokenOff),
        ("failed", Self::Failed),
    ];
}

/// The counts so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    puts: [AtomicU64; Put::ALL.len()],
    removed: AtomicU64,
    missing: AtomicU64,
}

impl Counters {
    pub(super) fn count_lookup(&self, is_hit: bool) {
        count(if is_hit { &self.hits } else { &self.misses });
    }

    pub(super) fn count_put(&self, put: Put) {
        count(&self.puts[put as usize]);
    }

    pub(super) fn count_delete(&self, existed: bool) {
        count(if existed { &self.removed } else { &self.missing });
    }

    /// Returns the counts, with those of the tiers.
    pub(super) fn read(
        &self,
        tiers: Vec<(&'static str, Usage)>,
        disk: Option<DiskStatistics>,
    ) -> CacheStatistics {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStatistics {
            hits: load(&self.hits),
            misses: load(&self.misses),
            puts: Put::ALL.map(|(name, put)| (name, load(&self.puts[put as usize]))),
            removed: load(&self.removed),
            missing: load(&self.missing),
            tiers,
            disk,
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
