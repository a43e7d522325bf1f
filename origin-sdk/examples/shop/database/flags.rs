//! The feature flags.

use serde::{Deserialize, Serialize};

use super::Database;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flag {
    pub(crate) name: String,
    pub(crate) enabled: bool,
    /// The percentage of users who get the feature, 0 to 100.
    pub(crate) rollout: u8,
}

impl Database {
    /// Returns all flags, sorted by name.
    pub(crate) async fn flags(&self) -> rusqlite::Result<Vec<Flag>> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Flag { name: row.get(0)?, enabled: row.get(1)?, rollout: row.get(2)? })
        };
        self.run(move |session| {
            session.rows("SELECT name, enabled, rollout FROM flags ORDER BY name", (), read)
        })
        .await
    }
}
