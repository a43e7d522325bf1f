//! The loads of a batch: their leases, one call of the loader, and the store of its values.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, join};
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use shared_keys::Key;
use tokio::time::Instant;

use super::Inner;
use super::load::{LoadOutcome, LoadRequest, RunningLoad};
use super::run::{LoaderOutput, TaskStart};
use crate::entry::Entry;
use crate::error::{BoxError, LoadError, Work};
use crate::loader::{BatchContext, LoadContext, LoadFuture};
use crate::stampede::{LeaderGuard, Lease, LeaseOutcome};

/// The loader of a batch: keys → the results by the keys' texts.
pub(super) type BatchLoader<K, V> =
    dyn Fn(Vec<K>, BatchContext) -> BoxFuture<'static, Result<Values<V>, LoadError>> + Send + Sync;
pub(super) type Values<V> = HashMap<Box<str>, Result<V, LoadError>>;

/// The most keys of a batch whose leases or values are on their way to Redis. More at a time would
/// exceed the timeout of a command, and delay the commands of other callers.
const COMMANDS_AT_ONCE: usize = 128;

/// The most calls of a batch's loader for keys that other processes have not loaded.
const LOADERS_AT_ONCE: usize = 4;

/// A load that the batch leads.
pub(super) struct BatchLoad<K, V> {
    pub(super) key: K,
    pub(super) request: LoadRequest<V>,
    pub(super) guard: LeaderGuard<LoadOutcome<V>, RunningLoad<V>>,
}

/// A load, and the result of the request for its lease.
type Requested<K, V> = (BatchLoad<K, V>, LeaseOutcome<Arc<Entry<V>>>);

/// Erases the types of a batch's loader.
pub(super) fn batch_loader<K, V, F, L, I>(loader: F) -> Arc<BatchLoader<K, V>>
where
    K: Key,
    F: Fn(Vec<K>, BatchContext) -> L + Send + Sync + 'static,
    L: Future<Output = Result<I, BoxError>> + Send + 'static,
    I: IntoIterator<Item = (K, V)>,
{
    Arc::new(move |keys, context| {
        let load = loader(keys, context.clone());
        async move {
            let values = load.await.map_err(|error| LoadError::failed(Work::Loader, error))?;
            let mut values: Values<V> =
                values.into_iter().map(|(key, value)| (key.to_text().into(), Ok(value))).collect();
            values.extend(context.take_failures().into_iter().map(|(key, error)| (key, Err(error))));
            Ok(values)
        }
        .boxed()
    })
}

/// Calls the batch's loader once the future is polled, so that a panic of the call is one of the
/// load.
pub(super) fn load_many<K, V>(
    loader: Arc<BatchLoader<K, V>>,
    keys: Vec<K>,
    context: BatchContext,
) -> LoadFuture<Values<V>>
where
    K: Key + Send + 'static,
    V: Send + 'static,
{
    async move { loader(keys, context).await }.boxed()
}

/// Runs many loads with one call of the loader. Loads whose keys other processes are loading wait
/// for these processes instead. Those that have to be loaded all the same then share calls.
pub(super) async fn load_together<K, V>(
    inner: Arc<Inner<V>>,
    loads: Vec<BatchLoad<K, V>>,
    loader: Arc<BatchLoader<K, V>>,
) where
    K: Key + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    let since = Instant::now();
    let _running = inner.core.closing.work.begin();
    let inner = &*inner;
    let requested: Vec<_> = loads
        .into_iter()
        .map(|load| async move {
            let lease_request = inner.lease_request(&load.request);
            let lease = match inner.shared_form {
                Some(_) => inner.try_acquire(&lease_request, &load.request).await,
                None => inner.held_or_unavailable(&load.request),
            };
            (load, lease_request, lease)
        })
        .collect();
    let mut requested = stream::iter(requested).buffered(COMMANDS_AT_ONCE);
    let (mut first, waiting) = (Vec::new(), FuturesUnordered::new());
    while let Some((load, mut lease_request, lease)) = requested.next().await {
        match lease {
            LeaseOutcome::Held(left) => {
                waiting.push(async move {
                    let lease = inner.wait_for_lease(&mut lease_request, &load.request, left).await;
                    (load, lease)
                });
            }
            lease => first.push((load, lease)),
        }
    }
    let all_waiting = waiting.len().max(1);
    let loader = &loader;
    let others =
        waiting.ready_chunks(all_waiting).map(move |ready| load_ready(inner, ready, loader, since).boxed());
    let others = others.buffer_unordered(LOADERS_AT_ONCE).collect::<()>();
    join(load_ready(inner, first, loader, since), others).await;
}

/// Completes the loads whose values other processes have stored, and loads the others.
async fn load_ready<K, V>(
    inner: &Inner<V>,
    ready: Vec<Requested<K, V>>,
    loader: &Arc<BatchLoader<K, V>>,
    since: Instant,
) where
    K: Key + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    let mut batch = Vec::new();
    for (load, lease) in ready {
        match lease {
            LeaseOutcome::Found(entry) => {
                load.guard.complete(Ok(Some(inner.found_in_store(&load.request, entry))));
            }
            LeaseOutcome::Failed => {
                let failed = inner.finish(&load.request, None, Err(LoadError::failed_elsewhere())).await;
                load.guard.complete(failed);
            }
            LeaseOutcome::Acquired(mut lease) => {
                lease.start_renewal();
                batch.push((load, Some(lease)));
            }
            LeaseOutcome::Unavailable | LeaseOutcome::Held(_) => batch.push((load, None)),
        }
    }
    if !batch.is_empty() {
        load_batch(inner, batch, Arc::clone(loader), since).await;
    }
}

/// Calls the loader for all keys of the batch, and completes their loads.
async fn load_batch<K, V>(
    inner: &Inner<V>,
    batch: Vec<(BatchLoad<K, V>, Option<Lease>)>,
    loader: Arc<BatchLoader<K, V>>,
    since: Instant,
) where
    K: Key + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    let keys = batch.iter().map(|(load, _)| load.key.clone()).collect();
    let contexts =
        batch.iter().map(|(load, _)| (load.request.key.as_ref().into(), load.request.context.clone()));
    let (whole, contexts) = (LoadContext::default(), BatchContext::new(contexts));
    let flights: Vec<_> = batch.iter().map(|(load, _)| Arc::clone(&load.request.flight)).collect();
    let output = {
        let load = load_many(loader, keys, contexts);
        let load = pin!(inner.run_loader(load, &whole, &flights, TaskStart::Spawned));
        inner.within_hard_timeout(since, load).await
    };
    let (mut values, delta) = match output {
        Ok(LoaderOutput { value, delta }) => (value, Ok(delta)),
        Err(error) => (Values::new(), Err(error)),
    };
    let finished: Vec<_> = batch
        .into_iter()
        .map(|(load, lease)| {
            let BatchLoad { request, guard, .. } = load;
            let value = values.remove(&*request.key).transpose();
            let output = delta.clone().and_then(|delta| Ok(LoaderOutput { value: value?, delta }));
            if whole.is_built_on_stale() {
                request.context.set_built_on_stale();
            }
            async move {
                // A panic, of a value's serialisation, is an error of its key alone.
                let outcome = AssertUnwindSafe(inner.finish(&request, lease, output)).catch_unwind().await;
                guard.complete(outcome.unwrap_or_else(|_| Err(LoadError::panicked(Work::Loader))));
            }
        })
        .collect();
    stream::iter(finished).buffer_unordered(COMMANDS_AT_ONCE).collect::<()>().await;
}
