//! Writes to both tiers: a new value replaces the key's older one, or ends it if it is not kept.

use std::any::type_name;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use shared_keys::Position;

use super::{Inner, SharedForm};
use crate::codec::Encoded;
use crate::entry::Entry;
use crate::error::StoreError;
use crate::in_flight::{ReadInFlight, WriteInFlight};
use crate::placement::{Placement, Storage};
use crate::stampede::Lease;
use crate::store::Outcome;

/// A write of one key: the order in which it counts, and the lease under which it runs.
pub(super) struct TierWrite {
    pub(super) in_flight: WriteInFlight,
    pub(super) lease: Option<Lease>,
    /// The clock's reading when the load or write of the value began. A copy in the store from
    /// before then is older than the value.
    pub(super) began_at: Duration,
}

impl<V: Send + Sync + 'static> Inner<V> {
    /// Stores an entry in both tiers; in the shared one only while the lease, if there is one, is
    /// held. If the value cannot be kept, ends the older one instead.
    pub(super) async fn store(&self, key: &str, entry: &Arc<Entry<V>>, write: TierWrite) -> Placement {
        if entry.lifetime().total().is_zero() {
            self.end(key, entry.loaded_at, write).await;
            return Placement::nowhere(Storage::NoLifetime);
        }
        match &self.shared_form {
            Some(form) => self.store_in_both(form, key, entry, write).await,
            None => self.store_in_memory_alone(key, entry, &write),
        }
    }

    fn store_in_memory_alone(&self, key: &str, entry: &Arc<Entry<V>>, write: &TierWrite) -> Placement {
        let memory = self.store_in_memory(key, entry, size_of::<V>());
        let is_overtaken = write.in_flight.is_overtaken();
        if is_overtaken {
            self.core.memory.remove_entry(key, entry);
        }
        Placement {
            memory: if is_overtaken { Storage::Overtaken } else { memory },
            redis: Storage::MemoryOnly,
        }
    }

    async fn store_in_both(
        &self,
        form: &SharedForm<V>,
        key: &str,
        entry: &Arc<Entry<V>>,
        write: TierWrite,
    ) -> Placement {
        let ttl = entry.lifetime().total();
        let Encoded { bytes, uncompressed_bytes, copy } = match self.encoded(form, key, entry) {
            Ok(encoded) => encoded,
            Err(refusal) => {
                self.end(key, entry.loaded_at, write).await;
                return Placement::nowhere(refusal);
            }
        };
        // A copy that was read back lacks what the store would lack.
        let copy = copy.map(|copy| self.entry(key, Arc::new(copy), entry.meta()));
        let entry = copy.as_ref().unwrap_or(entry);
        let mut placement = Placement::nowhere(Storage::Overtaken);
        placement.memory = self.store_in_memory(key, entry, uncompressed_bytes);
        let TierWrite { in_flight, mut lease, began_at } = write;
        let stored = match &mut lease {
            _ if uncompressed_bytes > self.core.codec.max_value_bytes => {
                Err(StoreError::TooLarge(uncompressed_bytes))
            }
            Some(lease) => lease.fill(bytes, ttl).await,
            None => self.core.store.put(key, bytes, ttl, None).await,
        };
        placement.redis = match stored {
            Ok(is_stored) => {
                self.note_copy(key, Some(is_stored), began_at);
                if is_stored { Storage::Stored } else { Storage::Overtaken }
            }
            Err(error) => {
                self.empty(key, lease, began_at).await;
                self.refusal(key, &error)
            }
        };
        if in_flight.is_overtaken() {
            // The writes may have reached the tiers in different orders.
            self.empty(key, None, began_at).await;
            placement.redis = Storage::Overtaken;
        }
        if placement.redis == Storage::Overtaken {
            self.core.memory.remove_entry(key, entry);
            placement.memory = Storage::Overtaken;
        }
        placement
    }

    /// Ends the key's value in both tiers, unless memory holds one that is newer than `loaded_at`.
    pub(super) async fn end(&self, key: &str, loaded_at: Position, write: TierWrite) {
        let is_newer = |held: &Entry<V>| held.loaded_at > loaded_at;
        if let Some(ended) = self.core.memory.remove_unless(key, is_newer) {
            ended.end();
        }
        self.empty(key, write.lease, write.began_at).await;
    }

    /// Removes the key from the store, with a lease only while that is held.
    async fn empty(&self, key: &str, lease: Option<Lease>, began_at: Duration) {
        if self.shared_form.is_none() {
            return;
        }
        let emptied = match lease {
            Some(lease) => lease.empty().await,
            None => self.core.store.remove(key, None, Outcome::NotShared).await,
        };
        if let Err(error) = &emptied {
            tracing::debug!(%error, key, "an older value could not be removed: its copies are not served here");
            self.metrics.store_errors.add(1);
        }
        self.note_copy(key, emptied.ok(), began_at);
    }

    /// Remembers whether the store may still hold a copy that is older than this process's value.
    /// `is_replaced` is the store's answer; `None` if it gave none.
    fn note_copy(&self, key: &str, is_replaced: Option<bool>, began_at: Duration) {
        let copies = &self.core.outdated_copies;
        if is_replaced == Some(true) {
            copies.clear(key, self.core.clock.now());
        } else {
            copies.mark(key, began_at, is_replaced.is_none());
        }
    }

    /// Counts a value that the store has not taken, and returns why.
    fn refusal(&self, key: &str, error: &StoreError) -> Storage {
        if let StoreError::TooLarge(_) = error {
            tracing::debug!(%error, key, "the store does not take a value");
            self.metrics.too_large_for_redis.add(1);
            return Storage::TooLarge;
        }
        tracing::debug!(%error, key, "the store has not taken a value");
        self.metrics.store_errors.add(1);
        Storage::Unavailable
    }

    /// Puts a copy from the store into memory. Returns `false`, and puts nothing there, if a newer
    /// value has been written since the copy was read.
    pub(super) fn place_copy(
        &self,
        key: &str,
        entry: &Arc<Entry<V>>,
        uncompressed_bytes: usize,
        read: &ReadInFlight<'_>,
    ) -> bool {
        if read.is_overtaken() {
            return false;
        }
        self.store_in_memory(key, entry, uncompressed_bytes);
        let is_overtaken = read.is_overtaken();
        if is_overtaken {
            self.core.memory.remove_entry(key, entry);
        }
        !is_overtaken
    }

    /// Stores an entry in this process's memory, and counts the values that are too large for it.
    /// The value counts for `default_bytes` unless the namespace says for how many.
    fn store_in_memory(&self, key: &str, entry: &Arc<Entry<V>>, default_bytes: usize) -> Storage {
        let bytes = self.bytes_of.as_ref().map_or(default_bytes, |bytes_of| bytes_of(&entry.value));
        // Checked now, so that the first hit need not.
        entry.verdict(&self.core.journal);
        if self.core.memory.put(entry, bytes) {
            return Storage::Stored;
        }
        self.metrics.too_large_for_memory.add(1);
        tracing::debug!(key, bytes, "the value exceeds `memory_bytes`: memory does not hold it");
        Storage::TooLarge
    }

    fn encoded(&self, form: &SharedForm<V>, key: &str, entry: &Entry<V>) -> Result<Encoded<V>, Storage> {
        (form.encode)(self.core.codec, &entry.meta(), &*entry.value).map_err(|error| {
            self.metrics.not_serializable.add(1);
            let value_type = type_name::<V>();
            let mut refused_types = self.core.refused_types.lock().unwrap_or_else(PoisonError::into_inner);
            if refused_types.insert(value_type) {
                tracing::error!(%error, key, value_type, "a value cannot be cached; further ones of its type are only counted");
            }
            Storage::NotSerializable
        })
    }
}
