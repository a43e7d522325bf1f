//! Stampede protection: many concurrent readers of one key cause one load.
//!
//! - [`lookups`]: one lookup per key in the shared tier.
//! - [`single_flight`]: one load per key in this process.
//! - [`lease`]: one load per key in the fleet.
//! - [`backoff`]: no load of a key for a while after its source has failed.
//! - [`nesting`]: loads that wait for other loads.
//! - [`xfetch`]: one early refresh before a popular key expires.

mod backoff;
mod lease;
mod lookups;
mod nesting;
mod single_flight;
pub(crate) mod xfetch;

pub(crate) use backoff::FailureBackoff;
pub(crate) use lease::{Lease, LeaseOutcome, LeaseRequest};
pub(crate) use lookups::Lookups;
pub(crate) use nesting::{Cycle, Flight, LoadKey, Run, RunGuard, within};
pub(crate) use single_flight::{JoinOutcome, LeaderGuard, SingleFlight, Waiter};
