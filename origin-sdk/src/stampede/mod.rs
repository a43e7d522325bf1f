//! Keeping many readers of one key from becoming many loads.

mod flight;
mod lease;

pub(crate) use flight::{Flights, Seat};
pub(crate) use lease::{Lease, Turn, take_turn};
