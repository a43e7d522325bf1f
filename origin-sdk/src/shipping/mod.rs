//! Ships the journal to the edge: every appended record reaches every target at least once, through
//! restarts of either side (G6).
//!
//! Each target (the worker's purge endpoint, a zone's purge API) has its own progress in the store,
//! so an unavailable target does not delay the others. One process of the fleet ships to a target
//! at a time: the holder of the target's lease. When it dies, another process takes over within
//! [`SHIP_LEASE`](crate::store::SHIP_LEASE) and starts with the records that were sent but not
//! confirmed. Records therefore arrive in the journal's order, and some arrive twice after a
//! failure. Repeats are harmless: the edge compares positions, and a zone purges what it holds.
//!
//! No record is dropped. A refused call is retried with exponential backoff, and the failure shows
//! in [`Stats`](crate::Stats) and in `cachectl ship status`. If the journal is trimmed before a
//! target recovers, the target is sent a record that covers everything.

mod pacing;
mod shipper;
mod target;
mod worker;
mod zone;

pub(crate) use self::shipper::shippers;
pub(crate) use self::target::Target;
pub(crate) use self::worker::WorkerEndpoint;
pub use self::zone::{ApiToken, Plan, Zone};
pub(crate) use self::zone::{CLOUDFLARE_API, ZoneApi};
