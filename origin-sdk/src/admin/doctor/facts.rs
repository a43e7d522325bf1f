//! The facts that the checks judge.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shared_keys::Verdict;

use crate::admin::sweep;
use crate::clock;
use crate::error::AdminError;
use crate::store::{JournalSize, RedisStore, SampledKey, ShipStatus, ShipStore};

/// The keys that are sampled.
const SAMPLE: usize = 2_000;
/// The entries whose heads are read to judge them by the journal.
const JUDGED: usize = 500;

/// The state of a server, of an app's journal, and of a sample of its keys.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(super) info: Info,
    /// The name of the user, if it may be read.
    pub(super) user: Option<String>,
    /// The clock of this machine.
    pub(super) now: Duration,
    pub(super) sample: Vec<SampledKey>,
    /// `None` if the app has no journal here.
    pub(super) journal: Option<JournalSize>,
    /// The targets of shipping, or why they cannot be read.
    pub(super) targets: Readable<Vec<ShipStatus>>,
    pub(super) judged: Readable<Judged>,
}

/// A fact, or the error of its reading.
pub(super) type Readable<T> = Result<T, String>;

#[cfg(test)]
impl Default for Facts {
    fn default() -> Self {
        Self {
            info: Info::default(),
            user: None,
            now: Duration::ZERO,
            sample: Vec::new(),
            journal: None,
            targets: Ok(Vec::new()),
            judged: Ok(Judged::default()),
        }
    }
}

/// The sampled entries of the app, and how many of them a record has removed.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) entries: usize,
    pub(super) dead: usize,
}

/// The reply of `INFO`.
#[derive(Debug, Default)]
pub(super) struct Info(HashMap<String, String>);

impl Info {
    pub(super) fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns a number, or zero if the server does not have the field.
    pub(super) fn number(&self, name: &str) -> f64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(0.0)
    }

    /// Returns the fields that begin with `prefix`, without it, each with its members.
    pub(super) fn groups<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, Members<'a>)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, members(value))))
    }

    /// Returns how often a command was called since the start.
    pub(super) fn calls(&self, command: &str) -> f64 {
        self.text(&format!("cmdstat_{command}")).map_or(0.0, |stats| number_of(&members(stats), "calls"))
    }
}

/// The members of a field of the form `a=1,b=2`.
pub(super) type Members<'a> = HashMap<&'a str, &'a str>;

fn members(value: &str) -> Members<'_> {
    value.split(',').filter_map(|member| member.split_once('=')).collect()
}

/// Returns a member's number, or zero if it is missing.
pub(super) fn number_of(members: &Members<'_>, name: &str) -> f64 {
    members.get(name).and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

/// Reads the facts. Writes nothing, except that it repairs a damaged journal, as every process
/// does.
pub(crate) async fn read(store: &Arc<RedisStore>, app: &str) -> Result<Facts, AdminError> {
    let info = Info::parse(&store.server_info().await?);
    let now = Duration::from_millis(clock::unix_ms());
    let user = store.user().await.ok();
    let sample = store.sample(app, SAMPLE).await?;
    let journal = store.journal_size().await?;
    // Following a missing journal would create it. An error is a fact: a replica cannot run these
    // scripts.
    let (targets, judged) = if journal.is_some() {
        let targets = store.ship_status().await.map_err(|error| error.to_string());
        (targets, judge(store, &sample).await.map_err(|error| error.to_string()))
    } else {
        (Ok(Vec::new()), Ok(Judged::default()))
    };
    Ok(Facts { info, user, now, sample, journal, targets, judged })
}

async fn judge(store: &Arc<RedisStore>, sample: &[SampledKey]) -> Result<Judged, AdminError> {
    let entries = sample.iter().filter(|key| key.is_own && !key.is_journal() && key.bytes.is_some());
    let keys: Vec<_> = entries.map(|key| key.name.clone()).take(JUDGED).collect();
    let journal = sweep::journal(store).await?;
    let mut judged = Judged::default();
    for (key, head) in store.heads(keys).await? {
        if let Some(verdict) = sweep::verdict(&journal, &key, &head) {
            judged.entries += 1;
            judged.dead += usize::from(verdict == Verdict::Removed);
        }
    }
    Ok(judged)
}
