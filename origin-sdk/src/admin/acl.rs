//! The rights in Redis that a service and the command line tool need, and no others.

use serde::Serialize;

use crate::cache::check_names;
use crate::error::AdminError;
use crate::store::prefix_of;

/// The commands of the journal's scripts and of waiting for a record.
const JOURNAL: &[&str] = &[
    "evalsha",
    "info",
    "script|load",
    "time",
    "xadd",
    "xrange",
    "xread",
    "xrevrange",
    "zadd",
    "zcard",
    "zcount",
    "zrange",
    "zrem",
    "zremrangebyscore",
    "zscore",
];

/// The further commands of a service that reads, writes and invalidates.
const SERVICE: &[&str] = &[
    "append",
    "del",
    "exec",
    "get",
    "getrange",
    "hget",
    "hkeys",
    "hset",
    "multi",
    "pexpire",
    "ping",
    "pttl",
    "publish",
    "rename",
    "set",
    "strlen",
    "subscribe",
    "unlink",
];

/// The further commands of a service that ships the journal to the edge.
const SHIPPING: &[&str] = &[
    "exists",
    "hgetall",
    "hincrby",
    "xack",
    "xgroup|create",
    "xinfo|groups",
    "xinfo|stream",
    "xlen",
    "xpending",
    "xreadgroup",
];

/// The further commands of `cachectl`.
const ADMINISTRATION: &[&str] = &[
    "acl|whoami",
    "del",
    "exec",
    "exists",
    "get",
    "getrange",
    "hdel",
    "hgetall",
    "multi",
    "pttl",
    "scan",
    "strlen",
    "unlink",
    "xgroup|destroy",
    "xinfo|groups",
    "xlen",
    "xpending",
];

/// The least rights of Redis users, each as the arguments of `ACL SETUSER` after the name. They
/// contain no password: a user without one cannot log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AclRules {
    /// The rights of a service that does not ship to the edge.
    pub service: String,
    /// The rights of a service that ships, and of one that calls
    /// [`Cache::ship_status`](crate::Cache::ship_status).
    pub shipping_service: String,
    /// The rights of `cachectl`, for each of its commands.
    pub cachectl: String,
}

/// Returns the least rights of the users of an app.
///
/// ```
/// let rules = origin_sdk::admin::acl_rules("shop").unwrap();
/// let begin = "on resetkeys resetchannels -@all ~shop:* &shop:wake:* +append ";
/// assert!(rules.service.starts_with(begin));
/// assert!(!rules.service.contains("flushall"));
/// ```
///
/// # Errors
/// If the name is not one that an app can have.
pub fn acl_rules(app: &str) -> Result<AclRules, AdminError> {
    acl_rules_in(None, app)
}

/// As [`acl_rules`], for an app of an environment
/// ([`CacheBuilder::environment`](crate::CacheBuilder::environment)). `None` is the one without a
/// name.
///
/// # Errors
/// If the name of the environment or the app is malformed.
pub fn acl_rules_in(environment: Option<&str>, app: &str) -> Result<AclRules, AdminError> {
    check_names(environment, Some(app))?;
    let app = prefix_of(environment) + app;
    let rule = |rights: &str, commands: &[&[&str]]| {
        let commands: String =
            commands.iter().copied().flatten().map(|command| format!(" +{command}")).collect();
        format!("on resetkeys resetchannels -@all ~{app}:*{rights}{commands}")
    };
    // Services wake up each other's waiters through channels.
    let channels = format!(" &{app}:wake:*");
    Ok(AclRules {
        service: rule(&channels, &[SERVICE, JOURNAL]),
        shipping_service: rule(&channels, &[SERVICE, JOURNAL, SHIPPING]),
        cachectl: rule("", &[ADMINISTRATION, JOURNAL]),
    })
}
