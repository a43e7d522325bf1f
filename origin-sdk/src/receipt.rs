//! What a write or an invalidation has reached when it returns.

use std::sync::Arc;

use shared_keys::Position;

/// How far an invalidation has come, layer by layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Where its record stands in the journal; `None` while it is queued.
    pub position: Option<Position>,
    /// This process: always [`Delivery::Done`]; it will not serve what was covered.
    pub memory: Delivery,
    /// The shared tier: what it held is refused by all who know the record. After a write-through, whether it has the new
    /// value; if that `Failed`, the next process to read it loads it.
    pub redis: Delivery,
    /// The fleet's journal, and with it every other process: within milliseconds if `Done`, and at the latest after the
    /// maximum lag.
    pub journal: Delivery,
    /// The edge.
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

/// Whether a layer has an invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// It obeys it.
    Done,
    /// It will get it: the SDK tries until it is taken.
    Queued,
    /// It is queued in this process, and no task sends it, because the call was made outside of a
    /// Tokio runtime. The next invalidation or lagging
    /// read inside of one starts the task again.
    Stranded,
    /// It could not take it, and nothing tries again. No layer serves anything old for that.
    Failed,
    /// There is no such layer.
    NotConfigured,
}

/// A value that was written through the cache.
#[derive(Debug)]
#[non_exhaustive]
pub struct Written<V> {
    /// What the writer returned.
    pub value: Arc<V>,
    /// Whether the value was also cached. It is not if another write came between, a newer version may have been written, or
    /// the journal could not be reached: the next read loads it then.
    pub cached: bool,
    /// How far the invalidation of the old value has come.
    pub receipt: Receipt,
}
