//! Stampede protection: keeps many readers of one key from causing many loads.
//!
//! - [`single_flight`]: one load per key in this process.
//! - [`lease`]: one load per key in the fleet.
//! - [`xfetch`]: one early refresh before a popular key expires.

mod lease;
mod single_flight;
pub(crate) mod xfetch;

pub(crate) use lease::{Lease, LeaseOutcome, LeaseRequest};
pub(crate) use single_flight::{JoinOutcome, LeaderGuard, SingleFlight, Waiter};
