//! Times as milliseconds since 1970, as stored entries and the journal write them.

use std::time::{Duration, SystemTime};

/// Returns the milliseconds from 1970 to `time`; zero for earlier times.
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Parses the number that [`unix_ms`] returns; `None` if the text is not such a number.
pub fn parse_unix_ms(text: &str) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(text.parse().ok()?))
}
