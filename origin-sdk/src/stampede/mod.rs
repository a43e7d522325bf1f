//! Keeping many readers of one key from becoming many loads.

mod flight;
mod lease;
pub(crate) mod xfetch;

pub(crate) use flight::{Flights, Place, Seat, Takeoff};
pub(crate) use lease::{Applicant, Lease, Turn};
