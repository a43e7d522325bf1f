//! Operations for administration of the journal. Services do not use them.

use shared_keys::Position;

use super::RedisStore;
use super::journal::{Row, record_of_row};
use crate::error::StoreError;
use crate::store::FeedRecord;

/// The keys visited by one step of the search for journals.
const SCAN_COUNT: u32 = 10_000;
/// The records read at a time. Earlier versions appended records of megabytes, and a reply of many
/// would exceed the timeout of a command.
const PAGE: usize = 4;
/// The number of scopes after which a list of records ends.
const MAX_SCOPES: usize = 4_000;
/// The end of a feed's key, after the app's name.
const FEED_SUFFIX: &str = ":{journal}:feed";

/// A stream entry: its ID, and its fields and values alternating.
type StreamEntry = (Vec<u8>, Vec<Vec<u8>>);

impl RedisStore {
    /// Returns the names of the apps that have a journal in this environment, sorted. Scans the
    /// whole keyspace, [`SCAN_COUNT`] keys at a time.
    pub(crate) async fn apps(&self) -> Result<Vec<String>, StoreError> {
        let (mut cursor, mut apps) = (0_u64, Vec::new());
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(format!("{}*{FEED_SUFFIX}", self.prefix))
                .arg("COUNT")
                .arg(SCAN_COUNT);
            let keys: Vec<Vec<u8>>;
            (cursor, keys) = self.commands.run(scan.arg("TYPE").arg("stream")).await?;
            let names = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
            let names = names.filter_map(|key| {
                Some(key.strip_prefix(&self.prefix)?.strip_suffix(FEED_SUFFIX)?.to_owned())
            });
            // With a `/` it belongs to an environment, and this one is without.
            apps.extend(names.filter(|app| !app.contains('/')));
            if cursor == 0 {
                // SCAN may return a key twice.
                apps.sort_unstable();
                apps.dedup();
                return Ok(apps);
            }
        }
    }

    /// Returns the last records, at most `max`, oldest first.
    pub(crate) async fn last_records(&self, max: usize) -> Result<Vec<FeedRecord>, StoreError> {
        let (mut records, mut before) = (Vec::new(), "+".to_owned());
        while records.len() < max {
            let mut range = redis::cmd("XREVRANGE");
            range.arg(self.scripts.feed_key()).arg(&before).arg("-");
            let page = self.page(&mut range, max - records.len()).await?;
            let Some(first) = page.last() else { break };
            before = format!("({}", first.position);
            records.extend(page);
        }
        records.reverse();
        Ok(records)
    }

    /// Returns the first records after `position`, oldest first: at most `max`, and no more once
    /// they have [`MAX_SCOPES`].
    pub(crate) async fn records_after(
        &self,
        position: Position,
        max: usize,
    ) -> Result<Vec<FeedRecord>, StoreError> {
        let (mut records, mut scopes, mut last) = (Vec::new(), 0, position);
        while records.len() < max && scopes < MAX_SCOPES {
            let mut range = redis::cmd("XRANGE");
            range.arg(self.scripts.feed_key()).arg(format!("({last}")).arg("+");
            let page = self.page(&mut range, max - records.len()).await?;
            let Some(newest) = page.last() else { break };
            last = newest.position;
            scopes += page.iter().map(|record| record.scopes.len()).sum::<usize>();
            records.extend(page);
        }
        Ok(records)
    }

    /// Runs a command that reads a range of the feed, for at most [`PAGE`] records.
    async fn page(&self, range: &mut redis::Cmd, max: usize) -> Result<Vec<FeedRecord>, StoreError> {
        records_of(self.commands.run(range.arg("COUNT").arg(max.min(PAGE))).await?)
    }

    /// Returns the last record of each scope and mode in the ledger.
    pub(crate) async fn ledger(&self) -> Result<Vec<FeedRecord>, StoreError> {
        self.scripts.ledger(&self.commands).await
    }

    /// Returns the reports that processes have published.
    pub(crate) async fn reports(&self) -> Result<Vec<String>, StoreError> {
        self.reports.all(&self.commands).await
    }

    /// Removes a target's shipping state. Returns `false` if the target is unknown. If a process
    /// still ships to it, the target reappears and receives the whole feed again.
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
