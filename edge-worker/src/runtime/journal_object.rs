//! The Durable Object that holds the edge journal: one for all data centres.
//!
//! ```text
//! POST /append?nonce=N      a purge message; returns 200 <accepted> <seq>, or 409 if the nonce was used
//! POST /targets             hashes of targets that unsafe requests invalidated, one per line; returns
//!                           200 <seq> <previous>, see `TargetsAppended`, or 429 if there are too many
//! GET  /snapshot?window=S   the records of the last S seconds, or all of them; see `journal::snapshot`
//! ```
//!
//! Only the worker reaches it, and only after it has checked the signature. Each record gets the
//! next number, and a row for each hash that a stored response may carry for its scope. Rows are
//! compacted as they arrive. Beyond [`MAX_RECORDS`] the older quarter is dropped and raises the
//! floor, which invalidates all responses from before it.
//!
//! Targets of unsafe requests are a table of their own with at most [`MAX_TARGETS`] rows. Any
//! client may be able to fill it, so they do not count as records: once it is full, the object
//! refuses further targets until some are older than [`TARGET_RETENTION_SECS`]. Those then raise
//! the floor. So unsafe requests, however many, invalidate nothing that is younger than that but
//! what they are for.
//!
//! The object begins to count at the milliseconds of its creation, and with a floor there. So an
//! object that lost its storage counts on above the numbers that responses carry, and those
//! responses count as removed. (This fails only if it has accepted more than a thousand records a
//! second all its life.)

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::SystemTime;

use shared_keys::purge::{CLOCK_WINDOW, PurgeMessage};
use shared_keys::{ParseError, Position, Record, ScopeHash, Seq, Stamp};
use wasm_bindgen::JsValue;
use worker::js_sys::Reflect;
use worker::{
    DurableObject, Env, Error, Request, Response, Result, SqlStorage, SqlStorageValue, State, durable_object,
};

use super::now;
use crate::invalidation_queue;
use crate::journal::snapshot::{MAX_RECORDS, SnapshotText};
use crate::journal::{Appended, TargetsAppended, numbered_records};
use crate::time::unix_ms;

/// How long a nonce is stored: while a message with it can be inside the clock window, on either
/// side of the sender's clock.
const NONCE_RETENTION_MS: u64 = 2 * CLOCK_WINDOW.as_secs() * 1000;

/// How long marks are stored. An isolate whose window is longer gets more records than it needs.
const MARK_RETENTION_SECS: u64 = 2 * 3600;

/// The number of rendered texts that are cached: the recent records and the whole.
const MAX_RENDERED: usize = 2;

/// The number of targets of unsafe requests that are stored, beside one message of them.
const MAX_TARGETS: u64 = 2_000;

/// The age from which targets give way to new ones.
const TARGET_RETENTION_SECS: u64 = 24 * 3600;

const SCHEMA: [&str; 7] = [
    "CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 0), first INTEGER NOT NULL, seq INTEGER NOT NULL)",
    // `placed` is 1 for records with an origin position. Positions are padded, so that their texts
    // sort as numbers.
    "CREATE TABLE IF NOT EXISTS records (scope TEXT NOT NULL, mode TEXT NOT NULL, placed INTEGER NOT NULL, \
     seq INTEGER NOT NULL, position TEXT, PRIMARY KEY (scope, mode, placed)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS records_by_seq ON records (seq)",
    "CREATE TABLE IF NOT EXISTS floors (placed INTEGER PRIMARY KEY, seq INTEGER NOT NULL, position TEXT)",
    // The last number that was assigned in a second.
    "CREATE TABLE IF NOT EXISTS marks (at_s INTEGER PRIMARY KEY, seq INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS targets (scope TEXT PRIMARY KEY, seq INTEGER NOT NULL, at_s INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, expires_ms INTEGER NOT NULL) WITHOUT ROWID",
];

/// The edge journal.
#[durable_object(fetch)]
pub struct JournalObject {
    state: State,
    created: Cell<bool>,
    /// The texts rendered last. Until the next append every data centre requests the same two.
    rendered: RefCell<VecDeque<Rendered>>,
}

/// A rendered text, identified by the numbers after which it begins and at which it ends.
struct Rendered {
    after: u64,
    seq: u64,
    text: String,
}

impl DurableObject for JournalObject {
    fn new(state: State, _env: Env) -> Self {
        Self { state, created: Cell::new(false), rendered: RefCell::default() }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let url = request.url()?;
        let parameter = |name| {
            url.query_pairs()
                .find(|(n, _)| n == name)
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        match (request.inner().method().as_str(), url.path()) {
            ("POST", "/append") => {
                let message =
                    PurgeMessage::parse(&request.bytes().await?).map_err(|error| error.to_string())?;
                match self.append(parameter("nonce"), message).await? {
                    Some(appended) => Response::ok(appended.to_text()),
                    None => Response::error("expected a nonce that was not used before", 409),
                }
            }
            ("POST", "/targets") => {
                let text = request.text().await?;
                let targets: std::result::Result<Vec<ScopeHash>, ParseError> =
                    text.lines().map(str::parse).collect();
                match self.append_targets(targets.map_err(|error| error.to_string())?).await? {
                    Some(appended) => Response::ok(appended.to_text()),
                    None => Response::error("expected fewer targets of unsafe requests", 429),
                }
            }
            ("GET", "/snapshot") => {
                let since_s = parameter("window").parse().ok().map(|window| now_s().saturating_sub(window));
                Response::ok(self.snapshot(since_s)?)
            }
            _ => Response::error("expected POST /append, POST /targets or GET /snapshot", 404),
        }
    }
}

impl JournalObject {
    fn table(&self) -> Result<Table> {
        let table = Table { sql: self.state.storage().sql() };
        if !self.created.get() {
            table.create(unix_ms(now()))?;
            self.created.set(true);
        }
        Ok(table)
    }

    /// Returns the text of the records since that second, and perhaps of some before it. Returns
    /// all records if no second is given, or no mark before it is stored.
    fn snapshot(&self, since_s: Option<u64>) -> Result<String> {
        let table = self.table()?;
        let Counter { first, seq } = table.counter()?;
        let after = since_s.map_or(Ok(first), |since_s| table.mark_before(since_s, first))?;
        let mut rendered = self.rendered.borrow_mut();
        if let Some(same) = rendered.iter().find(|rendered| (rendered.after, rendered.seq) == (after, seq)) {
            return Ok(same.text.clone());
        }
        let text = table.snapshot(first, after, seq)?.render();
        rendered.push_front(Rendered { after, seq, text: text.clone() });
        rendered.truncate(MAX_RENDERED);
        Ok(text)
    }

    /// Appends a message in one transaction. Returns `None` if its nonce was used before.
    async fn append(&self, nonce: String, message: PurgeMessage) -> Result<Option<Appended>> {
        let now_ms = unix_ms(now());
        self.transaction(move |table| {
            if !table.insert_nonce(&nonce, now_ms)? {
                return Ok(None);
            }
            let seq = table.append(&message, now())?;
            table.mark(seq, now_ms / 1000)?;
            table.compact()?;
            Ok(Some(Appended { accepted: message.records.len(), seq }))
        })
        .await
    }

    /// Appends targets of unsafe requests in one transaction. Returns `None` if the object has too
    /// many of them.
    async fn append_targets(&self, targets: Vec<ScopeHash>) -> Result<Option<TargetsAppended>> {
        self.transaction(move |table| {
            let at_s = now_s();
            if targets.len() > invalidation_queue::MAX_TARGETS || !table.has_room_for_targets(at_s)? {
                return Ok(None);
            }
            let appended = table.append_targets(&targets, at_s)?;
            table.mark(appended.seq, at_s)?;
            Ok(Some(appended))
        })
        .await
    }

    async fn transaction<T: Copy + 'static>(
        &self,
        work: impl FnOnce(&Table) -> Result<Option<T>> + 'static,
    ) -> Result<Option<T>> {
        let table = self.table()?;
        let result = Rc::new(Cell::new(None));
        let inside = Rc::clone(&result);
        self.state
            .storage()
            .transaction(move |_| async move {
                inside.set(work(&table)?);
                Ok(())
            })
            .await?;
        Ok(result.get())
    }
}

/// The object's tables.
struct Table {
    sql: SqlStorage,
}

/// The number at which the object began to count, and the last assigned number.
struct Counter {
    first: u64,
    seq: u64,
}

/// A row of a result. Its columns are read by name, because a deserializer per kind of row is much
/// code.
struct Row(JsValue);

impl Row {
    fn number(&self, column: &str) -> Result<u64> {
        let number = self.column(column).as_f64().map(|number| number as u64);
        number.ok_or_else(|| Error::RustError(format!("expected a number in the column {column}")))
    }

    fn text(&self, column: &str) -> Option<String> {
        self.column(column).as_string()
    }

    fn column(&self, name: &str) -> JsValue {
        Reflect::get(&self.0, &name.into()).unwrap_or_default()
    }
}

impl Table {
    fn create(&self, now_ms: u64) -> Result<()> {
        for statement in SCHEMA {
            self.sql.exec(statement, None)?;
        }
        let first = integer(now_ms);
        self.sql.exec(
            "INSERT OR IGNORE INTO counter (id, first, seq) VALUES (0, ?, ?)",
            vec![first.clone(), first],
        )?;
        self.sql.exec("INSERT OR IGNORE INTO floors (placed, seq) SELECT 0, first FROM counter", None)?;
        Ok(())
    }

    fn counter(&self) -> Result<Counter> {
        let row = self.row("SELECT first, seq FROM counter", vec![])?;
        Ok(Counter { first: row.number("first")?, seq: row.number("seq")? })
    }

    fn rows(&self, query: &str, values: Vec<SqlStorageValue>) -> Result<Vec<Row>> {
        self.sql.exec(query, values)?.map(|row| row.map(Row)).collect()
    }

    /// Returns the only row of a result.
    fn row(&self, query: &str, values: Vec<SqlStorageValue>) -> Result<Row> {
        let row = self.rows(query, values)?.into_iter().next();
        row.ok_or_else(|| Error::RustError(format!("expected a row from {query}")))
    }

    /// Returns the `value` of the only row of a result.
    fn number(&self, query: &str, values: Vec<SqlStorageValue>) -> Result<u64> {
        self.row(query, values)?.number("value")
    }

    /// Stores a nonce. Returns `false` if it is stored already.
    fn insert_nonce(&self, nonce: &str, now_ms: u64) -> Result<bool> {
        self.sql.exec("DELETE FROM nonces WHERE expires_ms < ?", vec![integer(now_ms)])?;
        let expires_ms = integer(now_ms + NONCE_RETENTION_MS);
        let query = "INSERT OR IGNORE INTO nonces (nonce, expires_ms) VALUES (?, ?) RETURNING 1 AS value";
        let inserted = self.rows(query, vec![nonce.into(), expires_ms])?;
        Ok(!inserted.is_empty())
    }

    /// Assigns the next number to each record of a message, and returns the last number.
    fn append(&self, message: &PurgeMessage, now: SystemTime) -> Result<u64> {
        let seq = self.counter()?.seq + message.records.len() as u64;
        for Record { scope, mode, stamp } in numbered_records(message, seq, now) {
            self.sql.exec(
                "INSERT INTO records (scope, mode, placed, seq, position) VALUES (?, ?, ?, ?, ?) \
                 ON CONFLICT (scope, mode, placed) DO UPDATE SET \
                 seq = max(seq, excluded.seq), position = max(position, excluded.position)",
                vec![
                    scope.to_string().into(),
                    mode.as_str().into(),
                    i32::from(stamp.origin.is_some()).into(),
                    integer(stamp.edge.unwrap_or_default().0),
                    stamp.origin.map(padded).into(),
                ],
            )?;
        }
        self.sql.exec("UPDATE counter SET seq = ?", vec![integer(seq)])?;
        Ok(seq)
    }

    /// Drops old targets if there are [`MAX_TARGETS`], and raises the floor to them. Returns
    /// whether there is room.
    fn has_room_for_targets(&self, now_s: u64) -> Result<bool> {
        const COUNT: &str = "SELECT count(*) AS value FROM targets";
        if self.number(COUNT, vec![])? < MAX_TARGETS {
            return Ok(true);
        }
        let oldest = integer(now_s.saturating_sub(TARGET_RETENTION_SECS));
        self.sql.exec(
            "INSERT INTO floors (placed, seq) SELECT 0, max(seq) FROM targets WHERE at_s < ? HAVING count(*) > 0 \
             ON CONFLICT (placed) DO UPDATE SET seq = max(seq, excluded.seq)",
            vec![oldest.clone()],
        )?;
        self.sql.exec("DELETE FROM targets WHERE at_s < ?", vec![oldest])?;
        Ok(self.number(COUNT, vec![])? < MAX_TARGETS)
    }

    /// Assigns the next number to each target.
    fn append_targets(&self, targets: &[ScopeHash], at_s: u64) -> Result<TargetsAppended> {
        let (mut seq, mut previous) = (self.counter()?.seq, 0);
        for target in targets.iter().map(ToString::to_string) {
            let query = "SELECT coalesce(max(seq), 0) AS value FROM targets WHERE scope = ?";
            previous = previous.max(self.number(query, vec![target.as_str().into()])?);
            seq += 1;
            self.sql.exec(
                "INSERT OR REPLACE INTO targets (scope, seq, at_s) VALUES (?, ?, ?)",
                vec![target.into(), integer(seq), integer(at_s)],
            )?;
        }
        self.sql.exec("UPDATE counter SET seq = ?", vec![integer(seq)])?;
        Ok(TargetsAppended { seq, previous })
    }

    /// Drops the older quarter of the records once there are more than [`MAX_RECORDS`], and raises
    /// the floor.
    fn compact(&self) -> Result<()> {
        let rows = self.number("SELECT count(*) AS value FROM records", vec![])?;
        if rows <= MAX_RECORDS as u64 {
            return Ok(());
        }
        let dropped = integer(rows - (MAX_RECORDS - MAX_RECORDS / 4) as u64);
        let cut =
            self.number("SELECT seq AS value FROM records ORDER BY seq LIMIT 1 OFFSET ?", vec![dropped])?;
        let cut = integer(cut);
        self.sql.exec(
            "INSERT INTO floors (placed, seq, position) \
             SELECT placed, max(seq), max(position) FROM records WHERE seq < ? GROUP BY placed \
             ON CONFLICT (placed) DO UPDATE SET \
             seq = max(seq, excluded.seq), position = max(position, excluded.position)",
            vec![cut.clone()],
        )?;
        self.sql.exec("DELETE FROM records WHERE seq < ?", vec![cut])?;
        Ok(())
    }

    /// Stores the last number that was assigned in this second, and deletes old marks except the
    /// last of them.
    fn mark(&self, seq: u64, at_s: u64) -> Result<()> {
        self.sql.exec(
            "INSERT OR REPLACE INTO marks (at_s, seq) VALUES (?, ?)",
            vec![integer(at_s), integer(seq)],
        )?;
        let oldest = integer(at_s.saturating_sub(MARK_RETENTION_SECS));
        self.sql.exec(
            "DELETE FROM marks WHERE at_s < (SELECT max(at_s) FROM marks WHERE at_s < ?)",
            vec![oldest],
        )?;
        Ok(())
    }

    /// Returns the last number that was assigned before that second, or `first` if no mark is
    /// older.
    fn mark_before(&self, at_s: u64, first: u64) -> Result<u64> {
        let query = "SELECT coalesce(max(seq), ?) AS value FROM marks WHERE at_s < ?";
        self.number(query, vec![integer(first), integer(at_s)])
    }

    /// Returns the records after the number `after`.
    fn snapshot(&self, first: u64, after: u64, seq: u64) -> Result<SnapshotText> {
        let floors = self.rows("SELECT placed, seq, position FROM floors ORDER BY placed DESC", vec![])?;
        let query = "SELECT scope, mode, seq, position FROM records WHERE seq > ? \
             UNION ALL SELECT scope, 'remove', seq, NULL FROM targets WHERE seq > ? ORDER BY seq DESC";
        let records = self.rows(query, vec![integer(after), integer(after)])?;
        let floor = |row: &Row| {
            let placed = row.number("placed")? == 1;
            Ok(stamp(row.number("seq")?, row.text("position").filter(|_| placed).as_deref()))
        };
        Ok(SnapshotText {
            first: Seq(first),
            after: Seq(after),
            seq: Seq(seq),
            floors: floors.iter().map(floor).collect::<Result<_>>()?,
            records: records.iter().filter_map(|row| record(row).transpose()).collect::<Result<_>>()?,
        })
    }
}

fn now_s() -> u64 {
    unix_ms(now()) / 1000
}

/// Parses a record; `None` if its scope or mode is not of this version.
fn record(row: &Row) -> Result<Option<Record>> {
    let stamp = stamp(row.number("seq")?, row.text("position").as_deref());
    let scope = row.text("scope").and_then(|scope| scope.parse().ok());
    let mode = row.text("mode").and_then(|mode| mode.parse().ok());
    Ok(scope.zip(mode).map(|(scope, mode)| Record { scope, mode, stamp }))
}

fn stamp(seq: u64, position: Option<&str>) -> Stamp {
    Stamp { edge: Some(Seq(seq)), origin: position.and_then(unpadded) }
}

/// Converts a number to a SQL value. Journal numbers are near the milliseconds since 1970, which a
/// JavaScript number represents exactly.
fn integer(value: u64) -> SqlStorageValue {
    SqlStorageValue::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

fn padded(position: Position) -> String {
    format!("{:020}-{:020}", position.ms(), position.seq())
}

fn unpadded(text: &str) -> Option<Position> {
    let (ms, seq) = text.split_once('-')?;
    Some(Position::new(ms.parse().ok()?, seq.parse().ok()?))
}
