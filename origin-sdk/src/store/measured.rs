//! A wrapper that measures the operations of a store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use shared_keys::{Mode, Position, Scope};
use tracing::Instrument;

use super::{
    Appended, Claim, ClaimRequest, FeedRecord, JournalStore, LeaseToken, Outcome, Progress, ReportStore,
    ShipStatus, ShipStore, ShipTurn, Shipping, Store, Stored, Unless, Unshipped, ValueStore, Watch,
};
use crate::clock::Clock;
use crate::error::StoreError;
use crate::metrics::{Counter, Histogram};
use crate::spans;

/// An operation that is measured: the journal's, the leases', and writes of values. Reads of values
/// are not: the namespaces measure them, from the call to the decoded value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    Remove,
    RaiseVersion,
    Claim,
    Renew,
    Release,
    Watch,
    Append,
    Follow,
    Ship,
}

impl Operation {
    pub(crate) const ALL: [Self; 10] = [
        Self::Put,
        Self::Remove,
        Self::RaiseVersion,
        Self::Claim,
        Self::Renew,
        Self::Release,
        Self::Watch,
        Self::Append,
        Self::Follow,
        Self::Ship,
    ];

    /// Returns the name for metrics and spans.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Remove => "remove",
            Self::RaiseVersion => "raise_version",
            Self::Claim => "claim",
            Self::Renew => "renew",
            Self::Release => "release",
            Self::Watch => "watch",
            Self::Append => "append",
            Self::Follow => "follow",
            Self::Ship => "ship",
        }
    }
}

/// How long the operations of a store took, and how many failed.
#[derive(Debug, Default)]
pub(crate) struct StoreTimings([(Histogram, Counter); Operation::ALL.len()]);

impl StoreTimings {
    fn add(&self, operation: Operation, duration: Duration, is_error: bool) {
        let (durations, errors) = &self.0[operation as usize];
        durations.add(duration);
        errors.add(is_error.into());
    }

    /// Returns the durations and the number of failures of each operation.
    #[cfg(feature = "metrics")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Operation, &Histogram, u64)> {
        Operation::ALL
            .into_iter()
            .zip(&self.0)
            .map(|(operation, (durations, errors))| (operation, durations, errors.get()))
    }
}

/// A store that measures the operations of another.
pub(crate) struct MeasuredStore<S> {
    inner: S,
    timings: Arc<StoreTimings>,
    clock: Clock,
}

impl<S: Store> MeasuredStore<S> {
    pub(crate) fn new(inner: S, timings: Arc<StoreTimings>, clock: Clock) -> Self {
        Self { inner, timings, clock }
    }

    fn measured<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        result: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        let span = spans::store(operation.as_str());
        async move {
            let started_at = self.clock.now();
            let result = result.await;
            let duration = self.clock.now().saturating_sub(started_at);
            self.timings.add(operation, duration, result.is_err());
            result
        }
        .instrument(span)
        .boxed()
    }
}

impl<S: Store> ValueStore for MeasuredStore<S> {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        self.inner.get(key)
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Stored>>, StoreError>> {
        self.inner.get_many(keys)
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        bytes: Bytes,
        ttl: Duration,
        lease: Option<&'a LeaseToken>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.measured(Operation::Put, self.inner.put(key, bytes, ttl, lease))
    }

    fn remove<'a>(
        &'a self,
        key: &'a str,
        lease: Option<&'a LeaseToken>,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.measured(Operation::Remove, self.inner.remove(key, lease, outcome))
    }

    fn raise_version<'a>(&'a self, key: &'a str, version: u64) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.measured(Operation::RaiseVersion, self.inner.raise_version(key, version))
    }

    fn claim<'a>(
        &'a self,
        key: &'a str,
        request: ClaimRequest<'a>,
    ) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.measured(Operation::Claim, self.inner.claim(key, request))
    }

    fn renew<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.measured(Operation::Renew, self.inner.renew(key, token, ttl))
    }

    fn release<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.measured(Operation::Release, self.inner.release(key, token, outcome))
    }

    fn watch<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Watch, StoreError>> {
        self.measured(Operation::Watch, self.inner.watch(key))
    }

    fn watch_at_once(&self, key: &str) -> Option<Watch> {
        self.inner.watch_at_once(key)
    }
}

impl<S: Store> JournalStore for MeasuredStore<S> {
    fn append<'a>(
        &'a self,
        seen: Position,
        mode: Mode,
        scopes: &'a [Scope],
        unless: Option<Unless<'a>>,
    ) -> BoxFuture<'a, Result<Appended, StoreError>> {
        self.measured(Operation::Append, self.inner.append(seen, mode, scopes, unless))
    }

    fn follow<'a>(
        &'a self,
        cursor: Position,
        appended: &'a [Position],
    ) -> BoxFuture<'a, Result<Progress, StoreError>> {
        self.measured(Operation::Follow, self.inner.follow(cursor, appended))
    }

    fn connections(&self) -> u64 {
        self.inner.connections()
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    /// Not measured: it waits on purpose.
    fn wait(&self, cursor: Position, timeout: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.wait(cursor, timeout)
    }
}

impl<S: Store> ShipStore for MeasuredStore<S> {
    fn take_ship_turn<'a>(&'a self, shipping: Shipping<'a>) -> BoxFuture<'a, Result<ShipTurn, StoreError>> {
        self.measured(Operation::Ship, self.inner.take_ship_turn(shipping))
    }

    fn end_ship_turn<'a>(&'a self, shipping: Shipping<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        self.measured(Operation::Ship, self.inner.end_ship_turn(shipping))
    }

    fn unshipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        max: usize,
    ) -> BoxFuture<'a, Result<Option<Unshipped>, StoreError>> {
        self.measured(Operation::Ship, self.inner.unshipped(shipping, max))
    }

    fn shipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        records: &'a [FeedRecord],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.measured(Operation::Ship, self.inner.shipped(shipping, records))
    }

    fn not_shipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        why: &'a str,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.measured(Operation::Ship, self.inner.not_shipped(shipping, why))
    }

    fn ship_status(&self) -> BoxFuture<'_, Result<Vec<ShipStatus>, StoreError>> {
        self.measured(Operation::Ship, self.inner.ship_status())
    }
}

impl<S: Store> ReportStore for MeasuredStore<S> {
    fn publish_report<'a>(
        &'a self,
        process: &'a str,
        report: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.publish_report(process, report, ttl)
    }
}
