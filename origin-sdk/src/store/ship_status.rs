//! How shipping stands, for people.

use serde::{Serialize, Serializer};
use shared_keys::Position;

/// How far one target of the shipper has come, by what the store knows: the same whichever process asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShipStatus {
    /// Its name: `worker`, or `zone:` and the zone's ID.
    pub target: String,
    /// The process that ships to it now, as `PID-RANDOM`; `None` if none does.
    pub shipper: Option<String>,
    /// Records that it has not confirmed.
    pub queued: u64,
    /// How long ago the first of these was appended, in milliseconds; 0 if there are none.
    pub lag_ms: u64,
    /// The last record that it has confirmed.
    #[serde(serialize_with = "as_text")]
    pub confirmed: Option<Position>,
    /// How long ago that was, in milliseconds.
    pub confirmed_ms_ago: Option<u64>,
    /// Attempts that have failed since.
    pub failures: u64,
    /// Why the last attempt that failed did.
    pub last_error: Option<String>,
    /// How long ago that was, in milliseconds.
    pub last_error_ms_ago: Option<u64>,
}

fn as_text<S: Serializer>(position: &Option<Position>, serializer: S) -> Result<S::Ok, S::Error> {
    position.map(|position| position.to_string()).serialize(serializer)
}
