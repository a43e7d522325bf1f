//! The cached reads of one request, whose sum goes into the response's headers.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared_keys::{Lifetime, TagSet};

use crate::cached::{Freshness, Layer};
use crate::entry::Entry;
use crate::stampede::{self, Run};

tokio::task_local! {
    static REQUEST: RequestScope;
}

/// A cached value that a response depends on.
pub(crate) trait Dependency: Send + Sync {
    /// Adds the tags and keys by which an invalidation can name the value.
    fn add_to<'a>(&'a self, tags: &mut TagSet<'a>);
}

impl<V: Send + Sync> Dependency for Entry<V> {
    fn add_to<'a>(&'a self, tags: &mut TagSet<'a>) {
        tags.insert_key(&self.key);
        self.tags.iter().for_each(|tag| tags.insert_tag(tag));
    }
}

/// The task-local scope of a request, in which its reads are summed up. Cheap to clone; clones
/// share the sum.
#[derive(Clone, Default)]
pub(crate) struct RequestScope(Arc<Mutex<RequestReads>>);

/// The sum of a request's reads so far.
#[derive(Default)]
pub(crate) struct RequestReads {
    /// The entries, each once, by their address. Their keys are rendered only after the request has
    /// run.
    dependencies: HashMap<usize, Arc<dyn Dependency>>,
    /// The shortest remaining lifetime of the reads; `None` before the first read.
    pub(crate) lifetime: Option<Lifetime>,
    /// The fewest seconds of freshness left of a read; negative if one was stale.
    pub(crate) ttl_secs: i64,
    /// The innermost layer that was needed.
    pub(crate) layer: Option<Layer>,
    /// Whether a read was private to one user, or bypassed the cache.
    pub(crate) private: bool,
}

impl RequestScope {
    /// Runs a request, and sums up its reads in this task.
    pub(crate) async fn scope<F: Future>(&self, request: F) -> F::Output {
        REQUEST.scope(self.clone(), request).await
    }

    /// Returns the scope of the request that this task serves, if it serves one.
    fn current() -> Option<Self> {
        REQUEST.try_with(Self::clone).ok()
    }

    /// Takes the sum, once the request has run.
    pub(crate) fn take(&self) -> RequestReads {
        mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, RequestReads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestReads {
    /// Returns the tags of the reads, for the edge.
    pub(crate) fn tags(&self) -> TagSet<'_> {
        let mut tags = TagSet::default();
        self.dependencies.values().for_each(|dependency| dependency.add_to(&mut tags));
        tags
    }
}

/// Attaches a task to the request that the caller serves: the task's reads through the cache count
/// for that request's response, also if the task is spawned. Reads after the handler has returned
/// are not counted. In a loader it attaches the task to the load.
///
/// ```
/// # use std::time::Duration;
/// # use origin_sdk::{Cache, Lifetime, Namespace, http::for_this_request};
/// # origin_sdk::keys! {
/// #     app "shop" version 1;
/// #     /// A name.
/// #     pub key Name { id: u64 } = "name:{id}";
/// # }
/// # async fn load(key: Name, _: origin_sdk::LoadContext) -> Result<String, origin_sdk::BoxError> {
/// #     Ok(key.id.to_string())
/// # }
/// async fn two_names(names: Namespace<Name, String>) -> Option<String> {
///     let other = names.clone();
///     let read = async move { other.get_or_load(&Name { id: 1 }, load).await };
///     let one = tokio::spawn(for_this_request(read));
///     let two = names.get_or_load(&Name { id: 2 }, load).await.ok()?;
///     Some(format!("{} {}", one.await.ok()?.ok()?.value, two.value))
/// }
/// ```
pub fn for_this_request<F: Future>(task: F) -> impl Future<Output = F::Output> {
    let (request, run) = (RequestScope::current(), Run::current());
    async move {
        let task = stampede::within(run, task);
        match request {
            Some(request) => request.scope(task).await,
            None => task.await,
        }
    }
}

/// Marks the response to the current request as one user's data: it gets
/// `Cache-Control: private, no-store` and no tags, whatever the handler and the layer's settings
/// say.
///
/// Call it in the task that serves the request, or in one inside [`for_this_request`], before the
/// handler returns. It has no effect elsewhere, and none inside a loader: the value of a loader is
/// shared with other requests, so one user's data must not be loaded into a shared namespace.
///
/// ```
/// use origin_sdk::http::mark_private;
///
/// async fn greeting(user: Option<&str>) -> String {
///     match user {
///         Some(user) => {
///             mark_private();
///             format!("Hello, {user}")
///         }
///         None => "Hello".to_owned(),
///     }
/// }
/// ```
#[cfg(feature = "http")]
pub fn mark_private() {
    note(|reads| reads.private = true);
}

/// Returns whether this task serves a request whose reads are summed up.
#[inline]
pub(crate) fn is_active() -> bool {
    REQUEST.try_with(|_| ()).is_ok()
}

/// Adds a read to the request that this task serves, if it serves one.
pub(crate) fn note_read<V: Send + Sync + 'static>(
    entry: &Arc<Entry<V>>,
    layer: Layer,
    freshness: Freshness,
    now: Duration,
    private: bool,
) {
    note(|gathered| {
        // A stale value must not become fresh again in the next layer.
        let (age, whole) = (entry.age(now), entry.lifetime());
        let (left, ttl_secs) = match freshness {
            Freshness::Fresh => (whole.remaining(age), signed_secs(whole.remaining(age).fresh_for())),
            // A value that a record has expired is stale at any age.
            Freshness::Stale(_) => {
                (Lifetime::fresh(Duration::ZERO), -signed_secs(age.saturating_sub(whole.fresh_for())).max(1))
            }
        };
        gathered.ttl_secs = gathered.lifetime.map_or(ttl_secs, |_| gathered.ttl_secs.min(ttl_secs));
        gathered.lifetime = Some(gathered.lifetime.map_or(left, |lifetime| lifetime.min(left)));
        gathered.layer = gathered.layer.max(Some(layer));
        gathered.private |= private;
        if !gathered.private {
            // The sum holds the entry, so no other entry can have its address.
            let place = Arc::as_ptr(entry).addr();
            gathered.dependencies.entry(place).or_insert_with(|| Arc::clone(entry) as Arc<dyn Dependency>);
        }
    });
}

/// Adds a read that bypassed the cache: no cache may store the response.
pub(crate) fn note_uncached() {
    note(|gathered| {
        gathered.layer = Some(Layer::Loader);
        gathered.private = true;
    });
}

fn signed_secs(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn note(add: impl FnOnce(&mut RequestReads)) {
    // Fails outside of a request, where there is no sum.
    let _ = REQUEST.try_with(|request| add(&mut request.lock()));
}
