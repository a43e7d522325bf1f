//! Patterns that articles about caching with Redis recommend: a lock by SET NX that callers poll,
//! early expiration by chance (XFetch), and invalidation by SCAN and DEL.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::aio::MultiplexedConnection;
use redis::{RedisError, cmd};
use serde::{Deserialize, Serialize};

const TTL_SECONDS: u64 = 3600;
const LOCK_MS: u64 = 5_000;
const POLL: Duration = Duration::from_millis(50);
/// The keys of one step of a SCAN, and of one DEL.
const SCAN_COUNT: usize = 1_000;

/// How callers of one key share a load.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Pattern {
    Strata,
    /// The caller that sets a lock loads; the others poll every 50 ms.
    Lock,
    /// Each caller decides by chance whether to load before the value expires.
    XFetch,
}

/// Reads a key. On a miss, the caller that can set the lock loads, and the others read again after
/// 50 ms.
pub(crate) async fn get_with_lock<L: Future<Output = String>>(
    connection: &mut MultiplexedConnection,
    key: &str,
    load: impl FnOnce() -> L,
) -> Result<String, RedisError> {
    let lock = format!("{key}:lock");
    loop {
        let found: Option<String> = cmd("GET").arg(key).query_async(connection).await?;
        if let Some(value) = found {
            return Ok(value);
        }
        let mut set = cmd("SET");
        set.arg(&lock).arg("1").arg("NX").arg("PX").arg(LOCK_MS);
        if set.query_async::<Option<String>>(connection).await?.is_some() {
            let value = load().await;
            cmd("SET").arg(key).arg(&value).arg("EX").arg(TTL_SECONDS).query_async::<()>(connection).await?;
            cmd("DEL").arg(&lock).query_async::<()>(connection).await?;
            return Ok(value);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Reads a key, which is stored with its expiry and the duration of its load. Loads it if it is
/// missing, or by a chance that grows towards its expiry.
pub(crate) async fn get_with_xfetch<L: Future<Output = String>>(
    connection: &mut MultiplexedConnection,
    key: &str,
    load: impl FnOnce() -> L,
) -> Result<String, RedisError> {
    let found: Option<String> = cmd("GET").arg(key).query_async(connection).await?;
    if let Some(value) = found.as_deref().and_then(unexpired) {
        return Ok(value.to_owned());
    }
    let began = Instant::now();
    let value = load().await;
    let (delta, expiry) = (began.elapsed().as_secs_f64(), now() + TTL_SECONDS as f64);
    let stored = format!("{delta} {expiry} {value}");
    cmd("SET").arg(key).arg(stored).arg("EX").arg(TTL_SECONDS).query_async::<()>(connection).await?;
    Ok(value)
}

/// Returns the value of a stored text, unless this caller draws an early expiration.
fn unexpired(stored: &str) -> Option<&str> {
    let (delta, rest) = stored.split_once(' ')?;
    let (expiry, value) = rest.split_once(' ')?;
    let (delta, expiry): (f64, f64) = (delta.parse().ok()?, expiry.parse().ok()?);
    let draw = 1.0 - rand::random::<f64>();
    (now() - delta * draw.ln() < expiry).then_some(value)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Deletes all keys that match a pattern.
pub(crate) async fn scan_and_delete(
    connection: &mut MultiplexedConnection,
    pattern: &str,
) -> Result<(), RedisError> {
    let mut cursor = 0_u64;
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
        let (next, keys): (u64, Vec<String>) = scan.query_async(connection).await?;
        if !keys.is_empty() {
            cmd("DEL").arg(&keys).query_async::<()>(connection).await?;
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}
