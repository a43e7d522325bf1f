//! The journal's scripts, and their replies as records.

use redis::Script;
use shared_keys::{Mode, Position, Scope};

use super::connection::Connection;
use crate::error::StoreError;
use crate::store::{Appended, FeedRecord, Progress, Unless};

/// Records that the feed keeps, about. A process that was away for longer reads the ledger.
pub(super) const MAX_FEED: usize = 100_000;
/// Rows of the ledger that are read at a time: more than the scopes that one record may have.
const LEDGER_PAGE: usize = 5_000;
/// Scopes that the ledger keeps. Older ones raise the floor.
pub(super) const MAX_LEDGER: usize = 100_000;

/// A key of an app's journal. All of them are in one slot.
pub(super) fn journal_key(app: &str, name: &str) -> String {
    format!("{app}:{{journal}}:{name}")
}

/// The scripts of one app's journal, and its two keys in one slot.
pub(super) struct JournalScripts {
    feed_key: String,
    ledger_key: String,
    append: Script,
    follow: Script,
    ledger: Script,
}

impl JournalScripts {
    pub(super) fn new(app: &str) -> Self {
        Self {
            feed_key: journal_key(app, "feed"),
            ledger_key: journal_key(app, "ledger"),
            append: Script::new(concat!(include_str!("lua/journal.lua"), include_str!("lua/append.lua"))),
            follow: Script::new(concat!(include_str!("lua/journal.lua"), include_str!("lua/follow.lua"))),
            ledger: Script::new(concat!(include_str!("lua/journal.lua"), include_str!("lua/ledger.lua"))),
        }
    }

    pub(super) fn feed_key(&self) -> &str {
        &self.feed_key
    }

    pub(super) async fn append(
        &self,
        connection: &Connection,
        seen: Position,
        mode: Mode,
        scopes: &[Scope],
        unless: Option<Unless<'_>>,
    ) -> Result<Appended, StoreError> {
        let mut call = self.append.prepare_invoke();
        call.key(&self.feed_key).key(&self.ledger_key).arg(MAX_FEED).arg(MAX_LEDGER);
        call.arg(seen.to_string()).arg(mode.as_str());
        call.arg(unless.map(|unless| unless.since.to_string()).unwrap_or_default());
        let checked = unless.map_or(&[][..], |unless| unless.scopes);
        call.arg(checked.len());
        for scope in checked.iter().chain(scopes) {
            call.arg(scope.to_string());
        }
        let (position, clean): (String, bool) = connection.run_script(&call).await?;
        Ok(Appended { position: position.parse()?, clean })
    }

    pub(super) async fn follow(
        &self,
        connection: &Connection,
        cursor: Position,
        appended: &[Position],
        limit: usize,
    ) -> Result<Progress, StoreError> {
        let mut call = self.follow.prepare_invoke();
        call.key(&self.feed_key).key(&self.ledger_key).arg(MAX_FEED).arg(MAX_LEDGER);
        call.arg(cursor.to_string()).arg(limit);
        for own in appended {
            call.arg(own.to_string());
        }
        let (position, more, gap, rows): (String, bool, bool, Vec<Row>) = connection.run_script(&call).await?;
        // The position was taken first: what comes while the pages are read is told by the next call as well.
        let records = if gap { self.ledger(connection).await? } else { records_of(&rows)? };
        Ok(Progress { records, position: position.parse()?, more })
    }

    /// The last record of every scope and mode that the ledger has, a page at a time, so that no single command takes long.
    pub(super) async fn ledger(&self, connection: &Connection) -> Result<Vec<FeedRecord>, StoreError> {
        let (mut from, mut all) = ("-inf".to_owned(), Vec::new());
        loop {
            let mut call = self.ledger.prepare_invoke();
            call.key(&self.feed_key).key(&self.ledger_key).arg(MAX_FEED).arg(MAX_LEDGER);
            call.arg(&from).arg(LEDGER_PAGE);
            let (next, rows): (String, Vec<Row>) = connection.run_script(&call).await?;
            all.extend(records_of(&rows)?);
            if next.is_empty() || next == from {
                return Ok(all);
            }
            from = next;
        }
    }
}

/// `[id, mode, scope, …]` as bytes: whoever can write to Redis can write anything.
pub(super) type Row = Vec<Vec<u8>>;

fn records_of(rows: &[Row]) -> Result<Vec<FeedRecord>, StoreError> {
    rows.iter().map(|row| record_of_row(row)).collect()
}

/// A scope that does not parse was written by a newer version or a stranger: what it covers is
/// unknown, so it counts as `all`.
pub(super) fn record_of_row(row: &[Vec<u8>]) -> Result<FeedRecord, StoreError> {
    // What is not UTF-8 is no mode and no scope either.
    let mut texts = row.iter().map(|bytes| std::str::from_utf8(bytes).unwrap_or_default());
    let position: Position = texts.next().unwrap_or_default().parse()?;
    let mode = texts.next().unwrap_or_default().parse();
    let scopes = texts.map(str::parse).collect::<Result<Vec<Scope>, _>>();
    match (mode, scopes) {
        (Ok(mode), Ok(scopes)) if !scopes.is_empty() => Ok(FeedRecord { position, mode, scopes }),
        _ => Ok(FeedRecord { position, mode: Mode::Remove, scopes: vec![Scope::All] }),
    }
}
