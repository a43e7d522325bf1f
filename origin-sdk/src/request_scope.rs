//! What the cached reads of one request add up to: it bubbles up into the response's headers.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared_keys::{Lifetime, TagSet};

use crate::cached::{Freshness, Layer};
use crate::entry::Entry;

tokio::task_local! {
    static REQUEST: RequestScope;
}

/// What a response can depend on.
pub(crate) trait Dependency: Send + Sync {
    /// Adds what an invalidation can name it by.
    fn add_to<'a>(&'a self, tags: &mut TagSet<'a>);
}

impl<V: Send + Sync> Dependency for Entry<V> {
    fn add_to<'a>(&'a self, tags: &mut TagSet<'a>) {
        tags.insert_key(&self.key);
        self.meta.tags.iter().for_each(|tag| tags.insert_tag(tag));
    }
}

/// The sum of a request's reads. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub(crate) struct RequestScope(Arc<Mutex<RequestReads>>);

/// What has been read so far.
#[derive(Default)]
pub(crate) struct RequestReads {
    /// The entries, each once, by their place in memory: they are only spelled out once the request has run.
    dependencies: HashMap<usize, Arc<dyn Dependency>>,
    /// The shortest remaining lifetime of what was read; `None` before the first read.
    pub(crate) lifetime: Option<Lifetime>,
    /// The seconds of freshness that the read with the fewest had left; negative if it was stale.
    pub(crate) ttl_secs: i64,
    /// The innermost layer that was needed.
    pub(crate) layer: Option<Layer>,
    /// Whether something was read that only one user may see, or that no cache may keep.
    pub(crate) private: bool,
}

impl RequestScope {
    /// Runs a request; what it reads in this task is gathered.
    pub(crate) async fn scope<F: Future>(&self, request: F) -> F::Output {
        REQUEST.scope(self.clone(), request).await
    }

    /// That of the request which this task serves, if it serves one.
    fn current() -> Option<Self> {
        REQUEST.try_with(Self::clone).ok()
    }

    /// What has been gathered; taken out, since nothing reads on once the request has run.
    pub(crate) fn take(&self) -> RequestReads {
        mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, RequestReads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestReads {
    /// What was read, for the edge.
    pub(crate) fn tags(&self) -> TagSet<'_> {
        let mut tags = TagSet::default();
        self.dependencies.values().for_each(|dependency| dependency.add_to(&mut tags));
        tags
    }
}

/// The task, made to count for the request that is served where this is called: what it reads through the cache bubbles up
/// into that request's response, also if it is spawned. What it reads after the handler has returned comes too late.
///
/// ```
/// # use std::time::Duration;
/// # use origin_sdk::{Cache, Lifetime, Namespace, http::for_this_request};
/// # origin_sdk::keys! {
/// #     app "shop" version 1;
/// #     /// A name.
/// #     pub key Name { id: u64 } = "name:{id}";
/// # }
/// # async fn load(id: u64) -> Result<String, std::io::Error> { Ok(id.to_string()) }
/// async fn two_names(names: Namespace<Name, String>) -> Option<String> {
///     let other = names.clone();
///     let read = async move { other.get_or_load(&Name { id: 1 }, |_| load(1)).await };
///     let one = tokio::spawn(for_this_request(read));
///     let two = names.get_or_load(&Name { id: 2 }, |_| load(2)).await.ok()?;
///     Some(format!("{} {}", one.await.ok()?.ok()?.value, two.value))
/// }
/// ```
pub fn for_this_request<F: Future>(task: F) -> impl Future<Output = F::Output> {
    let request = RequestScope::current();
    async move {
        match request {
            Some(request) => request.scope(task).await,
            None => task.await,
        }
    }
}

/// Marks the response to the current request as one user's data: it gets
/// `Cache-Control: private, no-store` and no tags, whatever the handler and the layer's settings say.
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

/// Adds a read to the request that this task serves, if it serves one.
pub(crate) fn note_read<V: Send + Sync + 'static>(
    entry: &Arc<Entry<V>>,
    layer: Layer,
    freshness: Freshness,
    now: Duration,
    private: bool,
) {
    note(|gathered| {
        // What was served stale must not live on as fresh in the next layer.
        let (age, whole) = (entry.age(now), entry.meta.lifetime);
        let (left, ttl_secs) = match freshness {
            Freshness::Fresh => (whole.remaining(age), signed_secs(whole.remaining(age).fresh_for())),
            // What a record expired is stale whatever its age.
            Freshness::Stale(_) => {
                (Lifetime::fresh(Duration::ZERO), -signed_secs(age.saturating_sub(whole.fresh_for())).max(1))
            }
        };
        gathered.ttl_secs = gathered.lifetime.map_or(ttl_secs, |_| gathered.ttl_secs.min(ttl_secs));
        gathered.lifetime = Some(gathered.lifetime.map_or(left, |lifetime| lifetime.min(left)));
        gathered.layer = gathered.layer.max(Some(layer));
        gathered.private |= private;
        if !gathered.private {
            // The entry is held, so its place in memory is not another's meanwhile.
            let place = Arc::as_ptr(entry).addr();
            gathered.dependencies.entry(place).or_insert_with(|| Arc::clone(entry) as Arc<dyn Dependency>);
        }
    });
}

/// Adds a read that went past the cache: the response must not be kept anywhere.
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
    // Outside of a request there is nobody to tell.
    let _ = REQUEST.try_with(|request| add(&mut request.lock()));
}
