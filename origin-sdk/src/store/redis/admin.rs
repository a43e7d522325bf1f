//! What people ask of the journal and the keyspace, and services never do.

use shared_keys::Position;

use super::RedisStore;
use super::journal::{Row, record_of_row};
use crate::error::StoreError;
use crate::store::FeedRecord;

/// Keys that one step of looking for journals goes through.
const SCAN_COUNT: u32 = 10_000;
/// What a feed's key ends with, behind the app's name.
const FEED_SUFFIX: &str = ":{journal}:feed";

/// A stream entry: its ID, and its fields and values in turn.
type StreamEntry = (Vec<u8>, Vec<Vec<u8>>);

impl RedisStore {
    /// The apps that have a journal here. Goes through the whole keyspace, a step at a time.
    pub(crate) async fn apps(&self) -> Result<Vec<String>, StoreError> {
        let (mut cursor, mut apps) = (0_u64, Vec::new());
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("*{FEED_SUFFIX}")).arg("COUNT").arg(SCAN_COUNT);
            let keys: Vec<Vec<u8>>;
            (cursor, keys) = self.commands.run(scan.arg("TYPE").arg("stream")).await?;
            let names = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
            apps.extend(names.filter_map(|key| key.strip_suffix(FEED_SUFFIX).map(str::to_owned)));
            if cursor == 0 {
                // SCAN can show a key twice.
                apps.sort_unstable();
                apps.dedup();
                return Ok(apps);
            }
        }
    }

    /// The last records, at most `max`, oldest first.
    pub(crate) async fn last_records(&self, max: usize) -> Result<Vec<FeedRecord>, StoreError> {
        let mut range = redis::cmd("XREVRANGE");
        range.arg(self.scripts.feed_key()).arg("+").arg("-").arg("COUNT").arg(max);
        let mut records = records_of(self.commands.run(&range).await?)?;
        records.reverse();
        Ok(records)
    }

    /// The records after `position`, at most `max`, oldest first.
    pub(crate) async fn records_after(&self, position: Position, max: usize) -> Result<Vec<FeedRecord>, StoreError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(self.scripts.feed_key()).arg(format!("({position}")).arg("+").arg("COUNT").arg(max);
        records_of(self.commands.run(&range).await?)
    }

    /// The last record of each scope and mode that the ledger knows.
    pub(crate) async fn ledger(&self) -> Result<Vec<FeedRecord>, StoreError> {
        self.scripts.ledger(&self.commands).await
    }

    /// Takes a target out of the shipping. If a process still ships to it, it comes back, and is told everything again.
    pub(crate) async fn forget_target(&self, target: &str) -> Result<bool, StoreError> {
        self.ship.forget(&self.commands, target).await
    }
}

fn records_of(entries: Vec<StreamEntry>) -> Result<Vec<FeedRecord>, StoreError> {
    let row = |(id, fields): StreamEntry| -> Row {
        std::iter::once(id).chain(fields.into_iter().skip(1).step_by(2)).collect()
    };
    entries.into_iter().map(|entry| record_of_row(&row(entry))).collect()
}
