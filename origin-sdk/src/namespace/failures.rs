//! Keys that are not loaded for a while because their source fails.

use std::sync::Arc;

use super::Inner;
use crate::cached::{Cached, Freshness, Layer, StaleReason};
use crate::entry::Entry;
use crate::error::LoadError;

impl<V: Send + Sync + 'static> Inner<V> {
    /// Returns the result of a read whose key is not to be loaded now: the fallback if that may be
    /// served, else the error of the last load.
    pub(super) fn back_off(
        &self,
        key: &str,
        fallback: Option<&Arc<Entry<V>>>,
    ) -> Option<Result<Cached<V>, LoadError>> {
        let error = self.failures.error(key, self.core.clock.now())?;
        self.metrics.backed_off.add(1);
        Some(self.serve_on_error(fallback).ok_or(error))
    }

    /// Serves the fallback in place of a load that failed, if that may be served.
    pub(super) fn serve_on_error(&self, fallback: Option<&Arc<Entry<V>>>) -> Option<Cached<V>> {
        let stale = fallback.filter(|entry| self.may_serve_on_error(entry))?;
        let freshness = Freshness::Stale(StaleReason::LoadFailed);
        Some(self.serve(stale, Layer::Loader, freshness, self.core.clock.now()))
    }

    /// Whether the key is not to be loaded now.
    pub(super) fn is_backing_off(&self, key: &str) -> bool {
        self.failures.error(key, self.core.clock.now()).is_some()
    }

    pub(super) fn note_failure(&self, key: &str, error: &LoadError) {
        let backoff = self.options.failure_backoff;
        let backoff = backoff - (backoff / 2).mul_f64(self.core.randomness.draw());
        self.failures.note_failure(key, error, self.core.clock.now().saturating_add(backoff));
    }
}
