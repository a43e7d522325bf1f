//! The state of an invalidation or a write when its call returns.

use std::sync::Arc;

use shared_keys::{Mode, Position, Scope};

use crate::placement::Placement;

/// The state of an invalidation in each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The position of its record in the journal; `None` while it is queued.
    pub position: Option<Position>,
    /// This process: always [`Delivery::Done`]. It no longer serves a covered value.
    pub memory: Delivery,
    /// The shared tier, whose copies are refused by every process that knows the record. After a
    /// write-through, `Failed` if it did not take the new value: then the next reader loads it.
    pub redis: Delivery,
    /// The journal, and with it every other process: if `Done`, normally within milliseconds and at
    /// the latest after `max_lag`.
    pub journal: Delivery,
    /// The edge: `Queued` until the shipper has delivered the record.
    pub edge: Delivery,
}

impl Receipt {
    /// Replaces `Queued` by `Stranded`.
    pub(crate) fn without_sender(mut self) -> Self {
        for delivery in [&mut self.redis, &mut self.journal, &mut self.edge] {
            if *delivery == Delivery::Queued {
                *delivery = Delivery::Stranded;
            }
        }
        self
    }

    pub(crate) fn new(position: Option<Position>, has_edge: bool) -> Self {
        let journal = if position.is_some() { Delivery::Done } else { Delivery::Queued };
        Self {
            position,
            memory: Delivery::Done,
            redis: journal,
            journal,
            edge: if has_edge { Delivery::Queued } else { Delivery::NotConfigured },
        }
    }
}

/// The state of an invalidation in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// The layer follows it.
    Done,
    /// The layer will receive it: the SDK retries until it is accepted.
    Queued,
    /// The invalidation is queued in this process, and no task sends it, because the call was made
    /// outside of a Tokio runtime, or after [`Cache::close`](crate::Cache::close). The next invalidation or lagging read
    /// inside of a runtime starts the task again, unless the cache is closed.
    Stranded,
    /// The layer has not accepted it, and there is no retry. No layer serves an old value because
    /// of that.
    Failed,
    /// The layer is not configured.
    NotConfigured,
}

/// A queued invalidation, which no other process knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsentInvalidation {
    /// Whether it removes or expires.
    pub mode: Mode,
    /// The scopes that it covers, at most 500. A larger invalidation is queued in parts.
    pub scopes: Vec<Scope>,
}

impl UnsentInvalidation {
    /// Returns an invalidation of these scopes.
    #[must_use]
    pub fn new(mode: Mode, scopes: Vec<Scope>) -> Self {
        Self { mode, scopes }
    }
}

/// A value that was written through the cache.
#[derive(Debug)]
#[non_exhaustive]
pub struct Written<V> {
    /// The value that the writer returned.
    pub value: Arc<V>,
    /// Whether a tier of this process holds the value: [`Placement::is_cached`]. If none does, the
    /// next read loads.
    pub cached: bool,
    /// The tiers that hold the value, and why the others do not.
    pub placement: Placement,
    /// The state of the old value's invalidation.
    pub receipt: Receipt,
}

impl<V> Written<V> {
    pub(crate) fn new(value: Arc<V>, placement: Placement, receipt: Receipt) -> Self {
        Self { value, cached: placement.is_cached(), placement, receipt }
    }
}
