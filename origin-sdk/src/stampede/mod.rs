//! Keeping many readers of one key from becoming many loads.

mod lease;
mod single_flight;
pub(crate) mod xfetch;

pub(crate) use lease::{Lease, LeaseOutcome, LeaseRequest};
pub(crate) use single_flight::{LeaderGuard, SingleFlight, Waiter};
