//! The error of loads and writes.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::BoxError;
use crate::stampede::Cycle;

/// A failed load, for which no stale value may be served, or a failed write. Cheap to clone: all
/// waiters of a load get the same error.
///
/// Its text includes that of the loader's error, so [`source`](Error::source) returns the source
/// of that error, and a report of the whole chain prints no cause twice.
#[derive(Debug, Clone)]
pub struct LoadError(Arc<LoadFailure>);

/// The reason of a [`LoadError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// The loader or writer returned an error, or the loaders of other processes failed that this
    /// process waited for.
    Failed,
    /// The loader or writer panicked.
    Panicked,
    /// The load exceeded the namespace's hard timeout and was aborted.
    TimedOut,
    /// The cache was closed ([`Cache::close`](crate::Cache::close)) before the load was done.
    Closed,
    /// The read was made by a loader, and its value needs the value that this loader loads. The
    /// message names the keys of the cycle.
    Cycle,
}

/// The function of the caller that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Loader,
    Writer,
}

#[derive(Debug)]
enum LoadFailure {
    Failed(Work, BoxError),
    Panicked(Work),
    TimedOut(Duration),
    Closed,
    Cycle(Cycle),
    /// The loaders of two other processes failed, one after the other.
    FailedElsewhere,
}

impl LoadError {
    pub(crate) fn failed(work: Work, source: BoxError) -> Self {
        Self(Arc::new(LoadFailure::Failed(work, source)))
    }

    pub(crate) fn panicked(work: Work) -> Self {
        Self(Arc::new(LoadFailure::Panicked(work)))
    }

    pub(crate) fn timed_out(timeout: Duration) -> Self {
        Self(Arc::new(LoadFailure::TimedOut(timeout)))
    }

    pub(crate) fn closed() -> Self {
        Self(Arc::new(LoadFailure::Closed))
    }

    pub(crate) fn cycle(cycle: Cycle) -> Self {
        Self(Arc::new(LoadFailure::Cycle(cycle)))
    }

    pub(crate) fn failed_elsewhere() -> Self {
        Self(Arc::new(LoadFailure::FailedElsewhere))
    }

    /// Whether the error stands for two failures in a row.
    pub(crate) fn is_repeated(&self) -> bool {
        matches!(*self.0, LoadFailure::FailedElsewhere)
    }

    /// Returns the reason.
    #[must_use]
    pub fn kind(&self) -> LoadErrorKind {
        match *self.0 {
            LoadFailure::Failed(..) | LoadFailure::FailedElsewhere => LoadErrorKind::Failed,
            LoadFailure::Panicked(_) => LoadErrorKind::Panicked,
            LoadFailure::TimedOut(_) => LoadErrorKind::TimedOut,
            LoadFailure::Closed => LoadErrorKind::Closed,
            LoadFailure::Cycle(_) => LoadErrorKind::Cycle,
        }
    }

    /// Returns the first error of this type among the loader's own error, the errors that it wraps,
    /// and those of the loads that the loader waited for.
    ///
    /// It finds an error behind an `anyhow` context, in an [`io::Error`], in a `Box` and in an
    /// `Arc`. An `anyhow::Error` without a context hides the error in it once `?` has converted it;
    /// `reallocate_into_boxed_dyn_error_without_backtrace` converts it so that it is found.
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        match &*self.0 {
            LoadFailure::Failed(_, source) => find(&**source),
            _ => None,
        }
    }
}

/// Returns the first error of type `E` in a chain.
fn find<'a, E: Error + 'static>(first: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(first);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        if let Some(found) = error.downcast_ref::<Box<E>>().map(|found| &**found) {
            return Some(found);
        }
        if let Some(found) = error.downcast_ref::<Arc<E>>().map(|found| &**found) {
            return Some(found);
        }
        // The source of each of these is the source of the error in it, not that error.
        if let Some(load) = error.downcast_ref::<LoadError>() {
            return load.downcast_ref();
        }
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return find(inner);
        }
        if let Some(inner) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
            return find(&**inner);
        }
        next = error.source();
    }
    None
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            LoadFailure::Failed(work, source) => write!(f, "the {work} failed: {source}"),
            LoadFailure::Panicked(work) => write!(f, "the {work} panicked"),
            LoadFailure::TimedOut(timeout) => write!(f, "the load was not done within {timeout:?}"),
            LoadFailure::Closed => f.write_str("the cache was closed before the load was done"),
            LoadFailure::FailedElsewhere => f.write_str(
                "the loaders of two other processes failed, one after the other: their callers have the errors",
            ),
            LoadFailure::Cycle(cycle) => write!(
                f,
                "expected a loader that does not need the value it loads, got the cycle {}: \
                 read one of these values from its source instead",
                cycle.keys().join(" -> ")
            ),
        }
    }
}

impl Error for LoadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.0 {
            LoadFailure::Failed(_, source) => source.source(),
            _ => None,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loader => "loader",
            Self::Writer => "writer",
        })
    }
}
