//! The journal: positions, records, and the validity rule.
//!
//! > An entry may be served as valid only if no journal record after its `loaded_at` covers one of
//! > its scopes.
//!
//! Every layer holds the records that it knows in an [`Applied`] and gets a [`Verdict`] from it
//! whenever an entry is *read*. The rule is implemented nowhere else.

mod applied;
mod position;
mod record;

pub use applied::{Applied, Verdict};
pub use position::Position;
#[cfg(feature = "signature")]
pub(crate) use position::decimal;
pub use record::{Mode, Record, Seq, Stamp};
