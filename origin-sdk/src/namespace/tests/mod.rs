//! Time is moved by hand: the cache's by its clock, timeouts by Tokio's, which stands still until
//! nothing else is to be done.

mod batch;
mod batch_failures;
mod bounds;
mod counters;
mod failures;
mod fidelity;
mod flights;
mod freshness;
mod gone;
mod in_place;
mod lag;
mod lifetimes;
mod load_errors;
mod loaders;
mod memory_only;
mod nesting;
mod registry;
mod spans;
mod timeouts;
mod write;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::{NamespaceBuilder, SharedForm};
use crate::{BoxError, Cache, CacheBuilder, Cached, Clock, Lifetime, LoadContext, Namespace, Randomness};

crate::keys! {
    app "shop" version 1;

    /// A number.
    key Number { id: u64 } = "number:{id}";
}

const KEY: Number = Number { id: 1 };
const FRESH: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
/// An entry in memory replaces a failed load for ten minutes after its expiry.
const LIFETIME: Lifetime = Lifetime::fresh(FRESH).stale_if_error(Duration::from_secs(600));

/// A cache on the embedded store, and its clock. Nothing happens by chance.
async fn cache(set: impl FnOnce(CacheBuilder) -> CacheBuilder) -> (Cache, Clock) {
    let clock = Clock::manual();
    let builder = Cache::builder("shop").clock(clock.clone()).max_lag(Duration::from_secs(36_000));
    (set(builder.randomness(Randomness::fixed(0.0))).build().await.unwrap(), clock)
}

async fn numbers(
    set: impl FnOnce(NamespaceBuilder<Number, u64>) -> NamespaceBuilder<Number, u64>,
) -> (Cache, Clock, Namespace<Number, u64>) {
    let (cache, clock) = cache(|builder| builder).await;
    let numbers = set(cache.namespace(LIFETIME)).build();
    (cache, clock, numbers)
}

/// Returns a namespace whose settings need not be those of others of its key type.
fn unshared<V>(cache: &Cache, lifetime: Lifetime) -> Namespace<Number, V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    NamespaceBuilder::new(Arc::clone(cache.core()), Arc::default(), lifetime, Some(SharedForm::new())).build()
}

async fn load(numbers: &Namespace<Number, u64>, value: u64) -> Cached<u64> {
    numbers.get_or_load(&KEY, move |_, _| async move { Ok(value) }).await.unwrap()
}

/// Lets the tasks run that are ready to.
async fn let_run() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// A loader that waits for a permit.
fn gated(
    gate: &Arc<Semaphore>,
    value: u64,
) -> impl FnOnce(Number, LoadContext) -> BoxFuture<'static, Result<u64, BoxError>> + use<> {
    let gate = Arc::clone(gate);
    move |_, _| {
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            Ok(value)
        })
    }
}
