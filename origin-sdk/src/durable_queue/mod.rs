//! A durable copy of the queue of invalidations, for services that must not lose them when a
//! process ends while Redis cannot be reached.

mod file;

use std::fmt;
use std::pin::Pin;

pub use self::file::QueueFile;
use crate::error::BoxError;
use crate::receipt::UnsentInvalidation;

/// A future of a [`QueueStore`].
pub type QueueFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// A place that keeps queued invalidations beyond the end of the process, set by
/// [`CacheBuilder::durable_queue`](crate::CacheBuilder::durable_queue). [`QueueFile`] is one; a table of the service's own database
/// can be another.
///
/// Each process has a place of its own. Calls do not overlap, unless one takes more than 5 s, which
/// counts as a failure. An invalidation that is stored twice,
/// or is stored although it was sent, does no harm: it removes or expires too much.
pub trait QueueStore: fmt::Debug + Send + Sync + 'static {
    /// Returns the stored invalidations, when the cache is built. For one that cannot be read,
    /// returns a removal of [`Scope::All`](crate::Scope::All): what it covers is unknown.
    fn load(&self) -> QueueFuture<'_, Vec<UnsentInvalidation>>;

    /// Adds invalidations, and returns once they are durable.
    fn append<'a>(&'a self, invalidations: &'a [UnsentInvalidation]) -> QueueFuture<'a, ()>;

    /// Removes all stored invalidations: they have been sent.
    fn clear(&self) -> QueueFuture<'_, ()>;
}
