//! The scripts by which a key is claimed, filled and released, and its version raised. What belongs to a key lies in its slot.

use std::time::Duration;

use redis::{Script, ScriptInvocation, Value};

use super::connection::Connection;
use super::{stored, to_millis};
use crate::error::StoreError;
use crate::store::{Claim, ClaimRequest, Holder, LeaseToken, Outcome};

/// What a script begins with that writes values: a full memory refuses it.
macro_rules! writes {
    ($($script:literal),+) => { Script::new(concat!("#!lua\n", $(include_str!(concat!("lua/", $script))),+)) };
}

/// What a script begins with that gives memory back.
macro_rules! frees {
    ($($script:literal),+) => { Script::new(concat!("#!lua flags=allow-oom\n", $(include_str!(concat!("lua/", $script))),+)) };
}

/// How long the version of a key's last write is remembered: longer than a message about an older one can be on its way.
const VERSION_KEPT: Duration = Duration::from_secs(24 * 3600);

pub(super) struct LeaseScripts {
    claim: Script,
    put: Script,
    release: Script,
    renew: Script,
    raise_version: Script,
}

impl LeaseScripts {
    pub(super) fn new() -> Self {
        Self {
            claim: Script::new(include_str!("lua/claim.lua")),
            put: writes!("end_lease.lua", "put.lua"),
            release: frees!("end_lease.lua", "release.lua"),
            renew: Script::new(include_str!("lua/renew.lua")),
            raise_version: Script::new(include_str!("lua/raise_version.lua")),
        }
    }

    /// Claims a key; if another process holds its lease, that one's end rings on `channel`.
    pub(super) async fn claim(
        &self,
        connection: &Connection,
        key: &str,
        request: &ClaimRequest<'_>,
        channel: Option<&str>,
    ) -> Result<Claim, StoreError> {
        let mut call = on_key(&self.claim, key);
        call.arg(request.token.as_str()).arg(request.position.to_string()).arg(to_millis(request.ttl));
        call.arg(request.replaces.map_or("", LeaseToken::as_str)).arg(channel.unwrap_or_default());
        type Reply = (Option<Vec<u8>>, i64, Option<String>, Option<String>, i64);
        let (value, ttl_ms, token, position, lease_ms): Reply = connection.run_script(&call).await?;
        let holder = token.map(|token| {
            Ok::<_, StoreError>(Holder {
                token: LeaseToken::from(token),
                position: position.unwrap_or_default().parse()?,
                left: Duration::from_millis(u64::try_from(lease_ms).unwrap_or(0)),
            })
        });
        Ok(Claim { stored: stored(value, ttl_ms), holder: holder.transpose()? })
    }

    pub(super) async fn put(
        &self,
        connection: &Connection,
        key: &str,
        bytes: &[u8],
        ttl: Duration,
        lease: Option<&LeaseToken>,
    ) -> Result<bool, StoreError> {
        let mut call = on_key(&self.put, key);
        call.arg(bytes).arg(to_millis(ttl)).arg(lease.map_or("", LeaseToken::as_str));
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
        call.key(beside(key, "version")).arg(format!("{version:020}")).arg(to_millis(VERSION_KEPT));
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

/// `APP:what:vVERSION:{family}:rest`. No data key has that text, since its second segment is a version; and it stays under the
/// app's name, by which access to Redis may be limited.
fn beside(key: &str, what: &str) -> String {
    let (app, rest) = key.split_once(':').unwrap_or((key, ""));
    format!("{app}:{what}:{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lies_in_its_keys_slot() {
        let key = "shop:v1:{user:42}:orders:3";
        assert_eq!(lease_key(key), "shop:lease:v1:{user:42}:orders:3");
        assert_eq!(shared_keys::slot(&lease_key(key)), shared_keys::slot(key));
    }
}
