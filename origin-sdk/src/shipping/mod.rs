//! Journal → edge: every record that was appended reaches every target at least once, through restarts of either side.
//!
//! Each target (the worker's purge endpoint, a zone's purge API) has a progress of its own in the store, so one that is down
//! does not hold up the other. Exactly one process of the fleet ships to a target at a time: the one that holds its lease.
//! When it dies another takes over within [`SHIP_LEASE`](crate::store::SHIP_LEASE), and begins with what was taken and not
//! confirmed. So records arrive in the journal's order, some of them twice after a failure, which changes nothing: the edge
//! compares positions, and a zone purges what is there.
//!
//! Nothing is given up. What a target refuses is tried again, ever more slowly, and shows in [`Stats`](crate::Stats) and in
//! `cachectl ship status`; if the journal is trimmed before the target is back, it is told to drop everything.

mod pacing;
mod shipper;
mod target;
mod worker;
mod zone;

pub(crate) use self::shipper::{ShipGauges, Shipper};
pub(crate) use self::target::Target;
pub(crate) use self::worker::WorkerEndpoint;
pub use self::zone::{ApiToken, Plan, Zone};
pub(crate) use self::zone::{CLOUDFLARE_API, ZoneApi};
