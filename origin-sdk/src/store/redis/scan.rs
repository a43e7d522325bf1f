//! The scan of the keyspace by a sweep.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::RedisStore;
use crate::error::StoreError;

/// The bytes read of an entry to find its header. An entry with a longer header is not recognised
/// and stays until its TTL ends.
const HEAD_BYTES: isize = 16 << 10;

/// The most heads in one reply: 256 KiB.
const HEADS_AT_ONCE: usize = 16;

/// Unlinks a key if its value still begins with the same bytes. The header identifies the load that
/// stored the value, so a replacement is never unlinked.
static UNLINK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end \
         return 0",
    )
});

/// The first bytes of a value.
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
    /// The size of the whole value.
    pub(crate) size: usize,
    pub(crate) ttl_left: Duration,
}

impl RedisStore {
    /// Visits about `count` keys. Returns the next cursor, and those of the keys that are the app's
    /// data keys. The cursor is 0 at the start, and 0 again after the last step.
    pub(crate) async fn scan(
        &self,
        app: &str,
        cursor: u64,
        count: u32,
    ) -> Result<(u64, Vec<String>), StoreError> {
        // Names of apps and environments contain no character that is special in a pattern.
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(format!("{}{app}:v[0-9]*:{{*", self.prefix))
            .arg("COUNT")
            .arg(count)
            .arg("TYPE")
            .arg("string");
        let (cursor, keys): (u64, Vec<Vec<u8>>) = self.commands.run(&scan).await?;
        // Data keys are UTF-8, so any other key was written by another program.
        let names = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
        Ok((cursor, names.filter_map(|name| name.strip_prefix(&self.prefix).map(str::to_owned)).collect()))
    }

    /// Returns each key with the first bytes of its value. Omits keys that no longer exist.
    pub(crate) async fn heads(&self, keys: Vec<String>) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut heads: Vec<Vec<u8>> = Vec::with_capacity(keys.len());
        for keys in keys.chunks(HEADS_AT_ONCE) {
            let mut reads = redis::pipe();
            for key in keys {
                reads.getrange(self.name_of(key), 0, HEAD_BYTES - 1);
            }
            heads.extend(self.commands.run_pipeline::<Vec<Vec<u8>>>(&reads).await?);
        }
        Ok(keys.into_iter().zip(heads).filter(|(_, head)| !head.is_empty()).collect())
    }

    /// Returns the head of a key's value, or `None` if nothing is stored.
    pub(crate) async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
        let mut reads = redis::pipe();
        let name = &self.name_of(key);
        reads.atomic().getrange(name, 0, HEAD_BYTES - 1).strlen(name).cmd("PTTL").arg(name);
        let (bytes, size, ttl_ms): (Vec<u8>, usize, i64) = self.commands.run_pipeline(&reads).await?;
        let ttl_left = Duration::from_millis(u64::try_from(ttl_ms).unwrap_or(0));
        Ok((size > 0).then_some(Head { bytes, size, ttl_left }))
    }

    /// Unlinks a key if its value still begins with `head`. Returns whether it did.
    pub(crate) async fn unlink_unless_replaced(&self, key: &str, head: &[u8]) -> Result<bool, StoreError> {
        self.commands.run_script(UNLINK.key(self.name_of(key)).arg(head)).await
    }
}
