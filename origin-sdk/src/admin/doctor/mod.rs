//! The diagnosis of a Redis server and of an app's journal in it.
//!
//! [`facts`] reads the server's state with a few commands that do not block it. Each check is a
//! pure function from these facts to a [`Diagnosis`], in the file of its topic.

mod facts;
mod journal;
mod keys;
mod memory;
mod server;
mod traffic;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use self::facts::Facts;
use crate::error::AdminError;
use crate::store::RedisStore;

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The name of the check, such as `eviction policy`.
    pub check: &'static str,
    /// Whether the server or the journal is in order.
    pub health: Health,
    /// The figure that decided, such as `maxmemory 1.0 GiB, used 200.0 MiB`.
    pub figure: String,
    /// The consequence of a fault, or the reason why nothing is known. Empty for [`Health::Ok`].
    pub reason: String,
    /// The way to mend a fault. Empty for [`Health::Ok`].
    pub remedy: String,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Health {
    /// Nothing is wrong.
    Ok,
    /// The check needs a right or a figure that is missing.
    Unknown,
    /// It costs speed or will become a fault.
    Warn,
    /// It costs answers, correctness or availability.
    Fail,
}

impl Health {
    /// Returns `ok`, `unknown`, `warn` or `fail`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Diagnosis {
    fn ok(check: &'static str, figure: impl Into<String>) -> Self {
        Self {
            check,
            health: Health::Ok,
            figure: figure.into(),
            reason: String::new(),
            remedy: String::new(),
        }
    }

    fn fault(
        check: &'static str,
        health: Health,
        figure: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check, health, figure: figure.into(), reason: reason.into(), remedy: remedy.into() }
    }

    fn unknown(check: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::fault(check, Health::Unknown, "not known", reason, remedy)
    }

    /// The journal cannot be read, for a reason that another check names.
    fn unreadable(check: &'static str, error: &str) -> Self {
        Self::unknown(
            check,
            format!("the journal could not be read: {error}"),
            "mend the faults that other checks name",
        )
    }
}

/// All checks, in the order of the report.
const CHECKS: &[fn(&Facts) -> Diagnosis] = &[
    server::version,
    server::clock,
    server::user,
    server::clients,
    server::replication,
    server::persistence,
    memory::limit,
    memory::policy,
    memory::evictions,
    memory::fragmentation,
    keys::lifetimes,
    keys::sizes,
    keys::dead_entries,
    traffic::hit_rate,
    traffic::keys_command,
    traffic::slow_commands,
    journal::size,
    journal::shipping,
];

/// Reads the facts and runs all checks.
pub(super) async fn diagnose(store: &Arc<RedisStore>, app: &str) -> Result<Vec<Diagnosis>, AdminError> {
    let facts = facts::read(store, app).await?;
    Ok(CHECKS.iter().map(|check| check(&facts)).collect())
}

/// Formats a number of bytes in the unit that fits.
fn human_bytes(bytes: f64) -> String {
    let mut bytes = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if bytes < 1024.0 {
            return if unit == "B" { format!("{bytes:.0} B") } else { format!("{bytes:.1} {unit}") };
        }
        bytes /= 1024.0;
    }
    format!("{bytes:.1} TiB")
}

/// Formats a part of a whole in percent.
fn percent(part: f64, whole: f64) -> String {
    format!("{:.0}%", 100.0 * part / whole)
}
