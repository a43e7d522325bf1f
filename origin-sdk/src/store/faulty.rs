//! A wrapper that injects faults into any store, to test a service against a failing Redis.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, FutureExt};
use shared_keys::{Mode, Position, Scope};

use super::{
    Appended, Claim, ClaimRequest, FeedRecord, JournalStore, LeaseToken, Outcome, Progress, ReportStore,
    ShipStatus, ShipStore, ShipTurn, Shipping, Store, Stored, Unless, Unshipped, ValueStore, Watch,
};
use crate::error::StoreError;
use crate::random::Generator;

/// Switches that inject faults into the shared tier and the journal, for tests of a service. Pass
/// it to [`CacheBuilder::faults`](crate::CacheBuilder::faults) and set the switches while the
/// service runs; clones share them. Initially all faults are off.
///
/// Random faults follow from the seed, so that a failing test can be repeated.
///
/// ```
/// use std::time::Duration;
/// use origin_sdk::{Cache, Delivery, Faults, Scope};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let faults = Faults::seeded(1);
/// let cache = Cache::builder("shop").faults(&faults).build().await.unwrap();
/// faults.cut(true);
/// assert_eq!(cache.invalidate([Scope::All]).await.journal, Delivery::Queued);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Faults(Arc<Mutex<Switches>>);

#[derive(Debug)]
struct Switches {
    chance: Generator,
    cut: bool,
    failing_fraction: f64,
    damaged_fraction: f64,
    delay: Duration,
    /// Whether the next operation panics.
    #[cfg(test)]
    panics: bool,
}

impl Faults {
    /// Returns switches that are all off. Random faults will follow from `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Switches {
            chance: Generator::seeded(seed),
            cut: false,
            failing_fraction: 0.0,
            damaged_fraction: 0.0,
            delay: Duration::ZERO,
            #[cfg(test)]
            panics: false,
        })))
    }

    /// Sets whether every operation fails at once, as if the connection were refused. Default:
    /// false.
    pub fn cut(&self, cut: bool) {
        self.switches().cut = cut;
    }

    /// Sets the fraction of operations that fail, chosen at random: `0.0` for none (the default) to
    /// `1.0` for all.
    pub fn fail(&self, fraction: f64) {
        self.switches().failing_fraction = fraction;
    }

    /// Sets the fraction of values that are damaged when read, chosen at random: `0.0` for none
    /// (the default) to `1.0` for all.
    pub fn damage(&self, fraction: f64) {
        self.switches().damaged_fraction = fraction;
    }

    /// Sets the delay that is added to every operation. Default: zero.
    pub fn delay(&self, delay: Duration) {
        self.switches().delay = delay;
    }

    /// Makes the next operation panic.
    #[cfg(test)]
    pub(crate) fn panic_once(&self) {
        self.switches().panics = true;
    }

    fn switches(&self) -> MutexGuard<'_, Switches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delays an operation, then fails it if a fault is due.
    async fn inject(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.switches().panics), "a panic was injected");
        let (delay, fails) = {
            let mut switches = self.switches();
            let by_chance = switches.chance.unit() < switches.failing_fraction;
            (switches.delay, switches.cut || by_chance)
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if fails { Err(StoreError::Injected) } else { Ok(()) }
    }

    fn damaged_value(&self, stored: Option<Stored>) -> Option<Stored> {
        stored.map(|stored| Stored { bytes: self.damaged(stored.bytes), ..stored })
    }

    /// Returns the bytes, or a damaged copy: one bit flipped at random, and cut off after that
    /// byte.
    fn damaged(&self, bytes: Bytes) -> Bytes {
        let mut switches = self.switches();
        if bytes.is_empty() || switches.chance.unit() >= switches.damaged_fraction {
            return bytes;
        }
        let at = switches.chance.below(bytes.len());
        let mut damaged = BytesMut::from(&bytes[..=at]);
        damaged[at] ^= 1 << switches.chance.below(8);
        damaged.freeze()
    }
}

/// A store that injects [`Faults`] into the operations of another.
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Faults,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn Store>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// Runs an operation of the inner store, unless a fault is due.
    fn with_faults<'a, T: Send + 'a>(
        &'a self,
        operation: impl FnOnce(&'a dyn Store) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        async move {
            self.faults.inject().await?;
            operation(&*self.inner).await
        }
        .boxed()
    }
}

impl ValueStore for FaultyStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        async move {
            self.faults.inject().await?;
            Ok(self.faults.damaged_value(self.inner.get(key).await?))
        }
        .boxed()
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Stored>>, StoreError>> {
        async move {
            self.faults.inject().await?;
            let stored = self.inner.get_many(keys).await?;
            Ok(stored.into_iter().map(|stored| self.faults.damaged_value(stored)).collect())
        }
        .boxed()
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        bytes: Bytes,
        ttl: Duration,
        lease: Option<&'a LeaseToken>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.with_faults(move |inner| inner.put(key, bytes, ttl, lease))
    }

    fn remove<'a>(
        &'a self,
        key: &'a str,
        lease: Option<&'a LeaseToken>,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.with_faults(move |inner| inner.remove(key, lease, outcome))
    }

    fn raise_version<'a>(&'a self, key: &'a str, version: u64) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.with_faults(move |inner| inner.raise_version(key, version))
    }

    fn claim<'a>(
        &'a self,
        key: &'a str,
        request: ClaimRequest<'a>,
    ) -> BoxFuture<'a, Result<Claim, StoreError>> {
        async move {
            self.faults.inject().await?;
            let claim = self.inner.claim(key, request).await?;
            Ok(Claim { stored: self.faults.damaged_value(claim.stored), ..claim })
        }
        .boxed()
    }

    fn renew<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.with_faults(move |inner| inner.renew(key, token, ttl))
    }

    fn release<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.with_faults(move |inner| inner.release(key, token, outcome))
    }

    fn watch<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Watch, StoreError>> {
        self.with_faults(move |inner| inner.watch(key))
    }

    fn watch_at_once(&self, key: &str) -> Option<Watch> {
        self.inner.watch_at_once(key)
    }
}

impl JournalStore for FaultyStore {
    fn append<'a>(
        &'a self,
        seen: Position,
        mode: Mode,
        scopes: &'a [Scope],
        unless: Option<Unless<'a>>,
    ) -> BoxFuture<'a, Result<Appended, StoreError>> {
        self.with_faults(move |inner| inner.append(seen, mode, scopes, unless))
    }

    fn connections(&self) -> u64 {
        self.inner.connections()
    }

    fn is_connected(&self) -> bool {
        !self.faults.switches().cut && self.inner.is_connected()
    }

    fn follow<'a>(
        &'a self,
        cursor: Position,
        appended: &'a [Position],
    ) -> BoxFuture<'a, Result<Progress, StoreError>> {
        self.with_faults(move |inner| inner.follow(cursor, appended))
    }

    fn wait(&self, cursor: Position, timeout: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        self.with_faults(move |inner| inner.wait(cursor, timeout))
    }
}

impl ShipStore for FaultyStore {
    fn take_ship_turn<'a>(&'a self, shipping: Shipping<'a>) -> BoxFuture<'a, Result<ShipTurn, StoreError>> {
        self.with_faults(move |inner| inner.take_ship_turn(shipping))
    }

    fn end_ship_turn<'a>(&'a self, shipping: Shipping<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        self.with_faults(move |inner| inner.end_ship_turn(shipping))
    }

    fn unshipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        max: usize,
    ) -> BoxFuture<'a, Result<Option<Unshipped>, StoreError>> {
        self.with_faults(move |inner| inner.unshipped(shipping, max))
    }

    fn shipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        records: &'a [FeedRecord],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.with_faults(move |inner| inner.shipped(shipping, records))
    }

    fn not_shipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        why: &'a str,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.with_faults(move |inner| inner.not_shipped(shipping, why))
    }

    fn ship_status(&self) -> BoxFuture<'_, Result<Vec<ShipStatus>, StoreError>> {
        self.with_faults(|inner| inner.ship_status())
    }
}

impl ReportStore for FaultyStore {
    fn publish_report<'a>(
        &'a self,
        process: &'a str,
        report: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.with_faults(move |inner| inner.publish_report(process, report, ttl))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, Layer, Lifetime, Namespace};

    crate::keys! {
        app "faults" version 1;
        /// A number.
        key Number { id: u64 } = "number:{id}";
    }

    async fn cache(faults: &Faults) -> (Cache, Namespace<Number, u64>) {
        let cache = Cache::builder("faults").faults(faults).build().await.unwrap();
        let numbers = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
        (cache, numbers)
    }

    async fn read(numbers: &Namespace<Number, u64>, id: u64) -> (u64, Layer) {
        let hit = numbers.get_or_load(&Number { id }, move |_, _| async move { Ok(id * 2) }).await;
        let hit = hit.unwrap();
        (*hit.value, hit.layer)
    }

    #[tokio::test]
    async fn a_failing_shared_tier_fails_no_read() {
        let faults = Faults::seeded(7);
        let (cache, numbers) = cache(&faults).await;
        faults.fail(0.5);
        for id in 0..100 {
            assert_eq!(read(&numbers, id).await.0, id * 2);
        }
        assert!(cache.stats().store_errors > 10, "expected about half of the operations to fail");
    }

    #[tokio::test]
    async fn damaged_bytes_are_a_miss_and_never_a_value() {
        let faults = Faults::seeded(7);
        let (cache, numbers) = cache(&faults).await;
        faults.damage(1.0);
        for id in 0..100 {
            assert_eq!(read(&numbers, id).await, (id * 2, Layer::Loader));
            cache.core().memory.clear();
            let again = read(&numbers, id).await;
            assert_eq!(again.0, id * 2);
        }
        assert!(cache.stats().undecodable > 50, "expected the damaged values to be counted as undecodable");
    }

    #[tokio::test]
    async fn the_same_seed_fails_the_same_operations() {
        let failures = async |seed| {
            let faults = Faults::seeded(seed);
            faults.fail(0.5);
            let mut failed = Vec::new();
            for _ in 0..64 {
                failed.push(faults.inject().await.is_err());
            }
            failed
        };
        assert_eq!(failures(3).await, failures(3).await);
        assert_ne!(failures(3).await, failures(4).await);
    }
}
