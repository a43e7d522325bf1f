//! The journal's scripts, and the parsing of their replies.

use redis::{FromRedisValue, Script, ScriptInvocation};
use shared_keys::{Mode, Position, Scope};

use super::connection::Connection;
use crate::error::StoreError;
use crate::store::{Appended, FeedRecord, Progress, Unless};

/// The functions of all scripts of the journal, with the first line that each script needs.
pub(super) const JOURNAL: &str = include_str!("lua/journal.lua");
/// The approximate number of records in the feed. A process that is further behind reads the
/// ledger.
pub(crate) const MAX_FEED: usize = 100_000;
/// The ledger rows read at a time: more than the scopes of one record (at most 1,000), so that a
/// page always advances.
const LEDGER_PAGE: usize = 2_000;
/// The most scopes in the ledger. Dropping the oldest raises the ledger's floor.
pub(crate) const MAX_LEDGER: usize = 100_000;

/// Returns a key of an app's journal. All of these keys are in one slot.
pub(super) fn journal_key(app: &str, name: &str) -> String {
    format!("{app}:{{journal}}:{name}")
}

/// The scripts of one app's journal, and its two keys.
pub(super) struct JournalScripts {
    feed_key: String,
    ledger_key: String,
    append: Script,
    follow: ReadScript,
    ledger: ReadScript,
}

/// A script that reads the journal and repairs it where necessary.
struct ReadScript {
    repairing: Script,
    /// The same script for a primary that refuses writes because it cannot save its data. It fails
    /// where a repair is necessary.
    reading: Script,
}

impl ReadScript {
    fn new(own: &str) -> Self {
        let reading = [JOURNAL, include_str!("lua/provably_primary.lua"), own].concat();
        Self {
            repairing: Script::new(&[JOURNAL, own].concat()),
            reading: Script::new(&reading.replacen("flags=allow-oom", "flags=no-writes", 1)),
        }
    }

    /// Runs the script with the keys and arguments that `prepare` adds.
    async fn run<T: FromRedisValue>(
        &self,
        connection: &Connection,
        prepare: impl Fn(&mut ScriptInvocation<'_>),
    ) -> Result<T, StoreError> {
        let mut call = self.repairing.prepare_invoke();
        prepare(&mut call);
        match connection.run_script(&call).await {
            Err(StoreError::Redis(error)) if error.code() == Some("MISCONF") => {
                let mut call = self.reading.prepare_invoke();
                prepare(&mut call);
                connection.run_script(&call).await
            }
            reply => reply,
        }
    }
}

impl JournalScripts {
    pub(super) fn new(app: &str) -> Self {
        Self {
            feed_key: journal_key(app, "feed"),
            ledger_key: journal_key(app, "ledger"),
            append: Script::new(&[JOURNAL, include_str!("lua/append.lua")].concat()),
            follow: ReadScript::new(include_str!("lua/follow.lua")),
            ledger: ReadScript::new(include_str!("lua/ledger.lua")),
        }
    }

    /// Returns the key of the last record of each scope.
    pub(super) fn ledger_key(&self) -> &str {
        &self.ledger_key
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
        let prepare = |call: &mut ScriptInvocation<'_>| {
            call.key(&self.feed_key).key(&self.ledger_key).arg(MAX_FEED).arg(MAX_LEDGER);
            call.arg(cursor.to_string()).arg(limit);
            for own in appended {
                call.arg(own.to_string());
            }
        };
        type Reply = (String, bool, bool, Vec<Row>);
        let (position, more, gap, rows): Reply = self.follow.run(connection, prepare).await?;
        // The position was read before the ledger's pages. A record appended in the meantime is
        // also in the next reply.
        let records = if gap { self.ledger(connection).await? } else { records_of(&rows)? };
        Ok(Progress { records, position: position.parse()?, more, as_of: None })
    }

    /// Returns the last record of every scope and mode in the ledger. Reads it in pages, so that no
    /// single command blocks Redis for long.
    pub(super) async fn ledger(&self, connection: &Connection) -> Result<Vec<FeedRecord>, StoreError> {
        let (mut from, mut all) = ("-inf".to_owned(), Vec::new());
        loop {
            let prepare = |call: &mut ScriptInvocation<'_>| {
                call.key(&self.feed_key).key(&self.ledger_key).arg(MAX_FEED).arg(MAX_LEDGER);
                call.arg(&from).arg(LEDGER_PAGE);
            };
            let (next, rows): (String, Vec<Row>) = self.ledger.run(connection, prepare).await?;
            all.extend(records_of(&rows)?);
            if next.is_empty() || next == from {
                return Ok(all);
            }
            from = next;
        }
    }
}

/// `[id, mode, scope, …]`. Bytes, because any client can write non-UTF-8 text to Redis.
pub(super) type Row = Vec<Vec<u8>>;

fn records_of(rows: &[Row]) -> Result<Vec<FeedRecord>, StoreError> {
    rows.iter().map(|row| record_of_row(row)).collect()
}

/// Parses a row of the feed or the ledger. A mode or scope that does not parse was written by a
/// newer version or by another program. What it covers is unknown, so the record counts as `remove
/// all`.
///
/// # Errors
/// [`StoreError`] if the position is malformed.
pub(super) fn record_of_row(row: &[Vec<u8>]) -> Result<FeedRecord, StoreError> {
    // Text that is not UTF-8 becomes empty, which is neither a mode nor a scope.
    let mut texts = row.iter().map(|bytes| std::str::from_utf8(bytes).unwrap_or_default());
    let position: Position = texts.next().unwrap_or_default().parse()?;
    let mode = texts.next().unwrap_or_default().parse();
    let scopes = texts.map(str::parse).collect::<Result<Vec<Scope>, _>>();
    match (mode, scopes) {
        (Ok(mode), Ok(scopes)) if !scopes.is_empty() => Ok(FeedRecord { position, mode, scopes }),
        _ => Ok(FeedRecord { position, mode: Mode::Remove, scopes: vec![Scope::All] }),
    }
}
