//! The scripts that claim, fill, empty and release a key, and raise its version. A key's lease and
//! version are in the key's slot.

use std::time::Duration;

use redis::{Script, ScriptInvocation, Value};

use super::connection::Connection;
use super::to_millis;
use super::values::{ValueRow, Values};
use crate::error::StoreError;
use crate::store::{Claim, ClaimRequest, Holder, LeaseToken, MAX_WHOLE, Outcome};

/// Builds a script that stores values. Redis refuses to run it when its memory is full.
macro_rules! writes {
    ($($script:literal),+) => { Script::new(concat!("#!lua\n", $(include_str!(concat!("lua/", $script))),+)) };
}

/// Builds a script that frees memory. Redis runs it even when its memory is full.
macro_rules! frees {
    ($($script:literal),+) => { Script::new(concat!("#!lua flags=allow-oom\n", $(include_str!(concat!("lua/", $script))),+)) };
}

/// How long the version of a key's last write is remembered. Must exceed the delivery time of any
/// message about an older version.
const VERSION_TTL: Duration = Duration::from_secs(24 * 3600);

pub(super) struct LeaseScripts {
    claim: Script,
    put: Script,
    remove: Script,
    release: Script,
    renew: Script,
    raise_version: Script,
}

impl LeaseScripts {
    pub(super) fn new() -> Self {
        Self {
            claim: frees!("read_value.lua", "claim.lua"),
            put: writes!("end_lease.lua", "put.lua"),
            remove: frees!("end_lease.lua", "remove.lua"),
            release: frees!("end_lease.lua", "release.lua"),
            renew: Script::new(include_str!("lua/renew.lua")),
            raise_version: Script::new(include_str!("lua/raise_version.lua")),
        }
    }

    /// Claims a key. If another caller holds its lease, the end of that lease is published to
    /// `channel`.
    pub(super) async fn claim(
        &self,
        connection: &Connection,
        values: &Values,
        key: &str,
        request: &ClaimRequest<'_>,
        channel: Option<&str>,
    ) -> Result<Claim, StoreError> {
        let mut call = on_key(&self.claim, key);
        call.arg(request.token.as_str()).arg(request.position.to_string()).arg(to_millis(request.ttl));
        call.arg(request.replaces.map_or("", LeaseToken::as_str)).arg(channel.unwrap_or_default());
        call.arg(MAX_WHOLE);
        type Reply = (ValueRow, Option<String>, Option<String>, i64);
        let turn = values.turn().await?;
        let (value, token, position, lease_ms): Reply = connection.run_script(&call).await?;
        drop(turn);
        let holder = token.map(|token| {
            Ok::<_, StoreError>(Holder {
                token: LeaseToken::from(token),
                position: position.unwrap_or_default().parse()?,
                left: Duration::from_millis(u64::try_from(lease_ms).unwrap_or(0)),
            })
        });
        // Without the value, the claim still tells who loads it.
        let stored = values.whole(key, value).await.unwrap_or_else(|error| {
            tracing::debug!(%error, key, "a large value could not be read");
            None
        });
        Ok(Claim { stored, holder: holder.transpose()? })
    }

    /// Stores a value, and sends a large one in pieces first.
    pub(super) async fn put(
        &self,
        connection: &Connection,
        values: &Values,
        key: &str,
        bytes: &[u8],
        ttl: Duration,
        lease: Option<&LeaseToken>,
    ) -> Result<bool, StoreError> {
        let mut call = on_key(&self.put, key);
        let staged = (bytes.len() > MAX_WHOLE).then(|| staged_key(key));
        match &staged {
            Some(staged) => {
                values.stage(staged, bytes).await?;
                call.key(staged).arg(bytes.len());
            }
            None => {
                call.arg(bytes);
            }
        }
        call.arg(to_millis(ttl)).arg(lease.map_or("", LeaseToken::as_str));
        let _turn = values.turn().await?;
        let outcome = connection.run_script::<i64>(&call).await;
        if let (Some(staged), Ok(..1) | Err(_)) = (&staged, &outcome) {
            values.unstage(staged).await;
        }
        match outcome? {
            -1 => Err(StoreError::Incomplete),
            stored => Ok(stored == 1),
        }
    }

    pub(super) async fn remove(
        &self,
        connection: &Connection,
        key: &str,
        lease: Option<&LeaseToken>,
        outcome: Outcome,
    ) -> Result<bool, StoreError> {
        let mut call = on_key(&self.remove, key);
        call.arg(lease.map_or("", LeaseToken::as_str)).arg(outcome.as_str());
        connection.run_script(&call).await
    }

    pub(super) async fn release(
        &self,
        connection: &Connection,
        key: &str,
        token: &LeaseToken,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        let mut call = on_key(&self.release, key);
        call.arg(token.as_str()).arg(outcome.as_str());
        connection.run_script(&call).await.map(|_: Value| ())
    }

    pub(super) async fn renew(
        &self,
        connection: &Connection,
        key: &str,
        token: &LeaseToken,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let mut call = self.renew.prepare_invoke();
        call.key(lease_key(key)).arg(token.as_str()).arg(to_millis(ttl));
        connection.run_script(&call).await
    }

    pub(super) async fn raise_version(
        &self,
        connection: &Connection,
        key: &str,
        version: u64,
    ) -> Result<bool, StoreError> {
        let mut call = self.raise_version.prepare_invoke();
        call.key(beside(key, "version")).arg(format!("{version:020}")).arg(to_millis(VERSION_TTL));
        connection.run_script(&call).await
    }
}

fn on_key<'a>(script: &'a Script, key: &str) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    call.key(key).key(lease_key(key));
    call
}

fn lease_key(key: &str) -> String {
    beside(key, "lease")
}

/// Returns a key for a value that is being sent, which no other sender has.
fn staged_key(key: &str) -> String {
    format!("{}:{}", beside(key, "staged"), LeaseToken::random().as_str())
}

/// Returns `APP:what:vVERSION:{family}:rest`. It cannot equal a data key, whose second segment is a
/// version. It still begins with the app's name, by which access to Redis may be restricted.
fn beside(key: &str, what: &str) -> String {
    let (app, rest) = key.split_once(':').unwrap_or((key, ""));
    format!("{app}:{what}:{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_in_the_slot_of_its_key() {
        let key = "shop:v1:{user:42}:orders:3";
        assert_eq!(lease_key(key), "shop:lease:v1:{user:42}:orders:3");
        assert_eq!(shared_keys::slot(&lease_key(key)), shared_keys::slot(key));
    }
}
