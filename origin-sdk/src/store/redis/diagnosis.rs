//! The reading of a server's state for a diagnosis: few commands, none of which blocks the server.

use redis::{RedisResult, Value};

use super::RedisStore;
use crate::error::StoreError;

/// The keys visited by one step of the sampling.
const SCAN_COUNT: usize = 500;
/// The longest family of keys that is shown, in bytes.
const MAX_FAMILY: usize = 80;

/// One key of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SampledKey {
    /// The key without its environment, or the whole name if it is not of this environment.
    pub(crate) name: String,
    /// Whether the key is the app's.
    pub(crate) is_own: bool,
    /// Whether the key expires; `None` if the user may not read it, or if it has expired meanwhile.
    pub(crate) expires: Option<bool>,
    /// The size in bytes of a text; `None` for other types.
    pub(crate) bytes: Option<usize>,
}

/// The number of records in the feed, and of scopes in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalSize {
    pub(crate) feed: u64,
    pub(crate) ledger: u64,
}

impl SampledKey {
    /// Returns the key with a `*` in place of each part that looks like an id: the part has a
    /// digit, and is not a version (`v1`).
    pub(crate) fn family(&self) -> String {
        let mut family = String::new();
        for (index, part) in self.name.split(':').enumerate() {
            if index > 0 {
                family.push(':');
            }
            let is_version = part.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
            let is_id = part.contains(|character: char| character.is_ascii_digit()) && !is_version;
            family.push_str(if is_id { "*" } else { part });
        }
        family.truncate(family.floor_char_boundary(MAX_FAMILY));
        family
    }

    /// Returns whether the key is part of an app's journal, whose keys have no TTL.
    pub(crate) fn is_journal(&self) -> bool {
        self.name.contains(":{journal}:")
    }
}

impl RedisStore {
    /// Returns the text of `INFO everything`.
    pub(crate) async fn server_info(&self) -> Result<String, StoreError> {
        self.commands.run(redis::cmd("INFO").arg("everything")).await
    }

    /// Returns the name of the connection's user.
    pub(crate) async fn user(&self) -> Result<String, StoreError> {
        self.commands.run(redis::cmd("ACL").arg("WHOAMI")).await
    }

    /// Returns the sizes of the journal's parts, or `None` if the app has no journal.
    pub(crate) async fn journal_size(&self) -> Result<Option<JournalSize>, StoreError> {
        let mut sizes = redis::pipe();
        sizes.xlen(self.scripts.feed_key()).zcard(self.scripts.ledger_key());
        let (feed, ledger): (u64, u64) = self.commands.run_pipeline(&sizes).await?;
        Ok((feed > 0 || ledger > 0).then_some(JournalSize { feed, ledger }))
    }

    /// Returns about `count` keys of the server, or all if there are fewer. Which keys it returns
    /// is as good as random, since the server's table is in the order of their hashes.
    pub(crate) async fn sample(&self, app: &str, count: usize) -> Result<Vec<SampledKey>, StoreError> {
        let own = format!("{}{app}:", self.prefix);
        let (mut cursor, mut sample) = (0_u64, Vec::new());
        loop {
            let names: Vec<Vec<u8>>;
            let mut scan = redis::cmd("SCAN");
            (cursor, names) = self.commands.run(scan.arg(cursor).arg("COUNT").arg(SCAN_COUNT)).await?;
            let mut reads = redis::pipe();
            for name in &names {
                reads.pttl(name).strlen(name);
            }
            let replies: Vec<RedisResult<Value>> = if names.is_empty() {
                Vec::new()
            } else {
                self.commands.run_pipeline(reads.ignore_errors()).await?
            };
            for (name, reply) in names.iter().zip(replies.chunks(2)) {
                let name = String::from_utf8_lossy(name).into_owned();
                let is_own = name.starts_with(&own);
                let name = if is_own { name[self.prefix.len()..].to_owned() } else { name };
                sample.push(SampledKey {
                    name,
                    is_own,
                    expires: expires(&reply[0]),
                    bytes: bytes(&reply[1]),
                });
            }
            if cursor == 0 || sample.len() >= count {
                return Ok(sample);
            }
        }
    }
}

fn expires(ttl: &RedisResult<Value>) -> Option<bool> {
    match ttl {
        Ok(Value::Int(-1)) => Some(false),
        Ok(Value::Int(0..)) => Some(true),
        _ => None,
    }
}

fn bytes(reply: &RedisResult<Value>) -> Option<usize> {
    match reply {
        Ok(Value::Int(bytes)) => usize::try_from(*bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_a_star_for_each_id() {
        for (name, family) in [
            ("shop:v1:{item:17}", "shop:v1:{item:*"),
            ("shop:v12:{item:17:part:3}", "shop:v12:{item:*:part:*"),
            ("session:8f1c", "session:*"),
            ("config", "config"),
        ] {
            let key = SampledKey { name: name.to_owned(), is_own: true, expires: None, bytes: None };
            assert_eq!(key.family(), family);
        }
    }
}
