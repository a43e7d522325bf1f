//! The Durable Object that holds the edge journal: one for all data centres.
//!
//! ```text
//! POST /append?nonce=N      body: a purge message; 200 {"accepted":…,"seq":…}, 409 if the nonce was seen
//! GET  /snapshot?after=S    the records after S, or all if S is not its own; see `snapshot`
//! ```
//!
//! Only the worker reaches it, and only after it has checked the signature. Each record gets the next number, and a row for
//! each hash that entries may carry for it ([`Scope::edge_hashes`](shared_keys::Scope::edge_hashes)). Rows are compacted as they
//! arrive (see `snapshot`), and beyond [`MAX_RECORDS`] the older quarter goes and raises the floor, which makes entries from before
//! it invalid, never valid.
//!
//! It begins to count at the milliseconds of its creation, and with a floor there. So an object that lost its storage
//! counts on above the numbers that entries carry (unless it took more than a thousand records a second all its life), and
//! those entries count as removed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Deserialize;
use shared_keys::purge::{CLOCK_WINDOW, PurgeMessage};
use shared_keys::{Position, Record, Seq, Stamp};
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, SqlStorageValue, State, durable_object};

use crate::journal::Appended;
use crate::runtime;
use crate::snapshot::{MAX_RECORDS, SnapshotText};
use crate::store::metadata::unix_ms;

/// A nonce is remembered while a message with it can still be inside the clock window, whichever side of it the sender is on.
const NONCE_KEPT_MS: u64 = 2 * CLOCK_WINDOW.as_secs() * 1000;

const SCHEMA: [&str; 5] = [
    "CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 0), first INTEGER NOT NULL, seq INTEGER NOT NULL)",
    // `placed` is 1 for records with an origin position. A position's text is padded, so that it sorts as it counts.
    "CREATE TABLE IF NOT EXISTS records (scope TEXT NOT NULL, mode TEXT NOT NULL, placed INTEGER NOT NULL, \
     seq INTEGER NOT NULL, position TEXT, PRIMARY KEY (scope, mode, placed)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS records_by_seq ON records (seq)",
    "CREATE TABLE IF NOT EXISTS floors (placed INTEGER PRIMARY KEY, seq INTEGER NOT NULL, position TEXT)",
    "CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, expires_ms INTEGER NOT NULL) WITHOUT ROWID",
];

/// The edge journal.
#[durable_object]
pub struct JournalObject {
    state: State,
    created: Cell<bool>,
}

impl DurableObject for JournalObject {
    fn new(state: State, _env: Env) -> Self {
        Self { state, created: Cell::new(false) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let url = request.url()?;
        let parameter =
            |name| url.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value.into_owned()).unwrap_or_default();
        match (request.inner().method().as_str(), url.path()) {
            ("POST", "/append") => {
                let message = PurgeMessage::parse(&request.bytes().await?).map_err(|error| error.to_string())?;
                match self.append(parameter("nonce"), message).await? {
                    Some(appended) => Response::from_json(&appended),
                    None => Response::error("this nonce was used before", 409),
                }
            }
            ("GET", "/snapshot") => {
                let after = parameter("after").parse().unwrap_or_default();
                Response::ok(self.table()?.snapshot(after)?.render())
            }
            _ => Response::error("expected POST /append or GET /snapshot", 404),
        }
    }
}

impl JournalObject {
    fn table(&self) -> Result<Table> {
        let table = Table { sql: self.state.storage().sql() };
        if !self.created.get() {
            table.create(unix_ms(runtime::now()))?;
            self.created.set(true);
        }
        Ok(table)
    }

    /// Takes in all of a message or nothing of it; `None` if its nonce was used.
    async fn append(&self, nonce: String, message: PurgeMessage) -> Result<Option<Appended>> {
        let now_ms = unix_ms(runtime::now());
        let table = self.table()?;
        let outcome = Rc::new(Cell::new(None));
        let inside = Rc::clone(&outcome);
        self.state
            .storage()
            .transaction(move |_| async move {
                if table.remember(&nonce, now_ms)? {
                    let seq = table.append(&message)?;
                    table.compact()?;
                    inside.set(Some(Appended { accepted: message.records.len(), seq }));
                }
                Ok(())
            })
            .await?;
        Ok(outcome.get())
    }
}

struct Table {
    sql: SqlStorage,
}

#[derive(Deserialize)]
struct Counter {
    first: u64,
    seq: u64,
}

#[derive(Deserialize)]
struct Row {
    scope: String,
    mode: String,
    seq: u64,
    position: Option<String>,
}

#[derive(Deserialize)]
struct Mark {
    placed: u8,
    seq: u64,
    position: Option<String>,
}

#[derive(Deserialize)]
struct Number {
    value: u64,
}

impl Table {
    fn create(&self, now_ms: u64) -> Result<()> {
        for statement in SCHEMA {
            self.sql.exec(statement, None)?;
        }
        let first = integer(now_ms);
        self.sql.exec("INSERT OR IGNORE INTO counter (id, first, seq) VALUES (0, ?, ?)", vec![first.clone(), first])?;
        self.sql.exec("INSERT OR IGNORE INTO floors (placed, seq) SELECT 0, first FROM counter", None)?;
        Ok(())
    }

    fn counter(&self) -> Result<Counter> {
        self.sql.exec("SELECT first, seq FROM counter", None)?.one()
    }

    /// Remembers a nonce; `false` if it was there.
    fn remember(&self, nonce: &str, now_ms: u64) -> Result<bool> {
        self.sql.exec("DELETE FROM nonces WHERE expires_ms < ?", vec![integer(now_ms)])?;
        let expires_ms = integer(now_ms + NONCE_KEPT_MS);
        let inserted: Vec<Number> = self
            .sql
            .exec(
                "INSERT OR IGNORE INTO nonces (nonce, expires_ms) VALUES (?, ?) RETURNING 1 AS value",
                vec![nonce.into(), expires_ms],
            )?
            .to_array()?;
        Ok(!inserted.is_empty())
    }

    /// Gives each record the next number; the last one given comes back.
    fn append(&self, message: &PurgeMessage) -> Result<u64> {
        let mut seq = self.counter()?.seq;
        // Records of siblings share the rows of the prefixes above them, so of each only the last is written.
        let mut rows = BTreeMap::new();
        for record in &message.records {
            seq += 1;
            for scope in record.scope.edge_hashes() {
                let (last, position) =
                    rows.entry((scope, record.mode, record.position.is_some())).or_insert((seq, record.position));
                (*last, *position) = (seq, record.position.max(*position));
            }
        }
        for ((scope, mode, placed), (seq, position)) in rows {
            self.sql.exec(
                "INSERT INTO records (scope, mode, placed, seq, position) VALUES (?, ?, ?, ?, ?) \
                 ON CONFLICT (scope, mode, placed) DO UPDATE SET \
                 seq = max(seq, excluded.seq), position = max(position, excluded.position)",
                vec![
                    scope.to_string().into(),
                    mode.as_str().into(),
                    i32::from(placed).into(),
                    integer(seq),
                    position.map(padded).into(),
                ],
            )?;
        }
        self.sql.exec("UPDATE counter SET seq = ?", vec![integer(seq)])?;
        Ok(seq)
    }

    /// Drops the older quarter once there are too many, and lets the floor stand for it.
    fn compact(&self) -> Result<()> {
        let rows: Number = self.sql.exec("SELECT count(*) AS value FROM records", None)?.one()?;
        if rows.value <= MAX_RECORDS as u64 {
            return Ok(());
        }
        let dropped = integer(rows.value - (MAX_RECORDS - MAX_RECORDS / 4) as u64);
        let cut: Number =
            self.sql.exec("SELECT seq AS value FROM records ORDER BY seq LIMIT 1 OFFSET ?", vec![dropped])?.one()?;
        let cut = integer(cut.value);
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

    fn snapshot(&self, after: u64) -> Result<SnapshotText> {
        let Counter { first, seq } = self.counter()?;
        // A number that this object never gave is another's: the asker needs the whole.
        let after = if (first..=seq).contains(&after) { after } else { first };
        let floors: Vec<Mark> =
            self.sql.exec("SELECT placed, seq, position FROM floors ORDER BY placed DESC", None)?.to_array()?;
        let rows: Vec<Row> = self
            .sql
            .exec(
                "SELECT scope, mode, seq, position FROM records WHERE seq > ? ORDER BY seq DESC",
                vec![integer(after)],
            )?
            .to_array()?;
        Ok(SnapshotText {
            first: Seq(first),
            after: Seq(after),
            seq: Seq(seq),
            floors: floors
                .into_iter()
                .map(|floor| stamp(floor.seq, (floor.placed == 1).then_some(floor.position).flatten().as_deref()))
                .collect(),
            records: rows.iter().filter_map(record).collect(),
        })
    }
}

fn record(row: &Row) -> Option<Record> {
    Some(Record {
        scope: row.scope.parse().ok()?,
        mode: row.mode.parse().ok()?,
        stamp: stamp(row.seq, row.position.as_deref()),
    })
}

fn stamp(seq: u64, position: Option<&str>) -> Stamp {
    Stamp { edge: Some(Seq(seq)), origin: position.and_then(unpadded) }
}

/// The numbers that this object gives are milliseconds since 1970 and a few more: far inside what a JavaScript number holds.
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
