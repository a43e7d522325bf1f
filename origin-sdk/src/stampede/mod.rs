//! Keeping many readers of one key from becoming many loads.

mod flight;

pub(crate) use flight::{Flights, Seat};
