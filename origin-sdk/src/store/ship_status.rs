//! The state of shipping the journal to a target.

use serde::{Serialize, Serializer};
use shared_keys::Position;

/// The state of shipping to one target. It is read from the store, so every process gets the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShipStatus {
    /// The target's name: `worker`, or `zone:` and the zone's ID.
    pub target: String,
    /// The process that ships to the target now, as `PID-RANDOM`; `None` if none does.
    pub shipper: Option<String>,
    /// How many records the target has not confirmed.
    pub queued: u64,
    /// How long ago the first unconfirmed record was appended, in milliseconds; 0 without one.
    pub lag_ms: u64,
    /// The position of the last record that the target has confirmed.
    #[serde(serialize_with = "as_text")]
    pub confirmed: Option<Position>,
    /// How long ago the target last confirmed a record, in milliseconds.
    pub confirmed_ms_ago: Option<u64>,
    /// How many attempts have failed since the last confirmation.
    pub failures: u64,
    /// The error of the last failed attempt.
    pub last_error: Option<String>,
    /// How long ago the last failed attempt was, in milliseconds.
    pub last_error_ms_ago: Option<u64>,
}

fn as_text<S: Serializer>(position: &Option<Position>, serializer: S) -> Result<S::Ok, S::Error> {
    position.map(|position| position.to_string()).serialize(serializer)
}
