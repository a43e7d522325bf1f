//! Walking through the keyspace: what a sweep needs.

use std::sync::LazyLock;

use redis::Script;

use super::RedisStore;
use crate::error::StoreError;

/// Bytes of an entry that are read to find its header. One whose tags need more is not recognised, and left to its time to live.
const HEAD_BYTES: isize = 16 << 10;

/// Takes a key out if it still begins with the same bytes. Its first line says which load made it.
static UNLINK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end \
         return 0",
    )
});

impl RedisStore {
    /// About `count` of the app's data keys, and the cursor to go on from; 0 begins, and comes back at the end.
    pub(crate) async fn scan(&self, app: &str, cursor: u64, count: u32) -> Result<(u64, Vec<String>), StoreError> {
        // An app's name holds nothing that means something in a pattern.
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(format!("{app}:v[0-9]*:{{*"))
            .arg("COUNT")
            .arg(count)
            .arg("TYPE")
            .arg("string");
        let (cursor, keys): (u64, Vec<Vec<u8>>) = self.commands.run(&scan).await?;
        // A key that is not text is not ours.
        Ok((cursor, keys.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect()))
    }

    /// Each key with the first bytes of what it holds; those that are gone are left out.
    pub(crate) async fn heads(&self, keys: Vec<String>) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = redis::pipe();
        for key in &keys {
            ask.getrange(key, 0, HEAD_BYTES - 1);
        }
        let heads: Vec<Vec<u8>> = self.commands.run_pipeline(&ask).await?;
        Ok(keys.into_iter().zip(heads).filter(|(_, head)| !head.is_empty()).collect())
    }

    /// Takes a key out if it still begins with `head`; whether it did.
    pub(crate) async fn unlink_unless_replaced(&self, key: &str, head: &[u8]) -> Result<bool, StoreError> {
        self.commands.run_script(UNLINK.key(key).arg(head)).await
    }
}
