//! The URL of a service behind sentinels: one for all of them, and for the servers.

use redis::{Client, ConnectionInfo, RedisConnectionInfo};

use crate::error::BuildError;
use crate::store::redis::url;

/// The port of a sentinel whose URL has none.
const PORT: &str = "26379";
/// The parameters of the query.
const OPTIONS: [&str; 3] = ["sentinel_username", "sentinel_password", "protocol"];

/// The parts of a URL.
pub(super) struct SentinelUrl {
    /// The sentinels.
    pub(super) sentinels: Vec<Client>,
    pub(super) service: String,
    /// How to connect to the servers, at the address of a sentinel.
    pub(super) servers: ConnectionInfo,
}

/// Returns whether a URL is one of sentinels.
pub(in crate::store::redis) fn is_sentinel_url(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.ends_with("+sentinel"))
}

/// Formats a URL without user name, password and query. Of a malformed URL it shows nothing.
pub(in crate::store::redis) fn shown(url: &str) -> String {
    let Ok(SentinelUrl { sentinels, service, servers }) = parse(url) else {
        return "a malformed URL".to_owned();
    };
    let hosts: Vec<_> =
        sentinels.iter().map(|client| client.get_connection_info().addr().to_string()).collect();
    let scheme = url.split(':').next().unwrap_or_default();
    match servers.redis_settings().db() {
        0 => format!("{scheme}://{}/{service}", hosts.join(",")),
        db => format!("{scheme}://{}/{service}/{db}", hosts.join(",")),
    }
}

/// Parses a URL.
///
/// # Errors
/// [`BuildError::SentinelUrl`], which names the wrong part and shows nothing of the URL.
pub(super) fn parse(url: &str) -> Result<SentinelUrl, BuildError> {
    parts(url).map_err(|problem| BuildError::SentinelUrl { problem })
}

fn parts(url: &str) -> Result<SentinelUrl, &'static str> {
    let (scheme, rest) = url.split_once("+sentinel://").unwrap_or((url, ""));
    if !matches!(scheme, "redis" | "rediss" | "valkey" | "valkeys") {
        return Err("the scheme is unknown: use `redis+sentinel://` or `rediss+sentinel://`");
    }
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = address.split_once('/').unwrap_or((address, ""));
    if path.contains('@') {
        return Err(
            "an `@` follows the hosts: write `/`, `?`, `#` and `@` in a password as %2F, %3F, %23 and %40",
        );
    }
    let (user, hosts) = authority
        .rsplit_once('@')
        .map_or(("", authority), |(_, hosts)| authority.split_at(authority.len() - hosts.len()));
    let (service, db) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() || !service.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) {
        return Err(
            "the service's name is missing or malformed: write `/mymaster` after the hosts, as `sentinel monitor` has it",
        );
    }
    let hosts: Vec<_> = hosts.split(',').map(with_port).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    // The first sentinel's host stands for the servers'.
    let servers = format!("{scheme}://{user}{}/{db}{query}", hosts[0]);
    let settings = url::parse(&servers)?.get_connection_info().clone();
    let sentinel_settings = sentinel_settings(&servers)?;
    let sentinel = |host: &String| {
        let client = url::parse(&format!("{scheme}://{host}"))?;
        let info = client.get_connection_info().clone().set_redis_settings(sentinel_settings.clone());
        Client::open(info).map_err(|_| "a part of it is not accepted by the client")
    };
    let sentinels = hosts.iter().map(sentinel).collect::<Result<_, _>>()?;
    Ok(SentinelUrl { sentinels, service: service.to_owned(), servers: settings })
}

/// Returns how to connect to the sentinels, by the query of a Redis URL.
fn sentinel_settings(url: &str) -> Result<RedisConnectionInfo, &'static str> {
    let mut settings = RedisConnectionInfo::default();
    let parsed = redis::parse_redis_url(url);
    for (name, value) in parsed.iter().flat_map(|url| url.query_pairs()) {
        match &*name {
            "sentinel_username" => settings = settings.set_username(&*value),
            "sentinel_password" => settings = settings.set_password(&*value),
            name if OPTIONS.contains(&name) => {}
            _ => return Err("an option is unknown: use sentinel_username, sentinel_password and protocol"),
        }
    }
    Ok(settings)
}

fn with_port(host: &str) -> String {
    // The colons of an IPv6 address are in brackets.
    let has_port = host.rsplit(']').next().unwrap_or_default().contains(':');
    if has_port { host.to_owned() } else { format!("{host}:{PORT}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_the_sentinels_the_service_and_the_credentials_of_both() {
        let url = "redis+sentinel://me:p%40ss@a,b:1,[::1],[::2]:3/my-main.1/7\
                   ?sentinel_username=you&sentinel_password=w%26rd&protocol=resp3";
        let SentinelUrl { sentinels, service, servers } = parse(url).unwrap();
        let infos: Vec<_> = sentinels.iter().map(Client::get_connection_info).collect();
        let addresses: Vec<_> = infos.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(addresses, ["a:26379", "b:1", "::1:26379", "::2:3"]);
        let settings = servers.redis_settings();
        assert_eq!(service, "my-main.1");
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("me"), Some("p@ss"), 7));
        assert_eq!(settings.protocol(), redis::ProtocolVersion::RESP3);
        for info in infos {
            let settings = info.redis_settings();
            assert_eq!(
                (settings.username(), settings.password(), settings.db()),
                (Some("you"), Some("w&rd"), 0)
            );
        }
    }

    #[test]
    fn a_sentinel_without_credentials_is_not_sent_those_of_the_servers() {
        let parsed = parse("redis+sentinel://me:hunter2@a/main").unwrap();
        assert_eq!(parsed.sentinels[0].get_connection_info().redis_settings().password(), None);
    }

    #[test]
    fn each_malformed_url_has_a_named_problem_without_a_part_of_it() {
        for (url, expected) in [
            ("http+sentinel://hunter2/main", "the scheme is unknown"),
            ("redis+sentinel://hunter2", "the service's name is missing"),
            ("redis+sentinel://hunter2/", "the service's name is missing"),
            ("redis+sentinel://hunter2/ma*n", "the service's name is missing"),
            ("redis+sentinel://:hunter/2@host/main", "an `@` follows the hosts"),
            ("redis+sentinel:///main", "its host or port is malformed"),
            ("redis+sentinel://a,,b/main", "its host or port is malformed"),
            ("redis+sentinel://a:hunter2/main", "its host or port is malformed"),
            ("redis+sentinel://a/main/hunter2", "the database is not a number"),
            ("redis+sentinel://a/main?hunter2=1", "an option is unknown"),
            ("redis+sentinel://a/main?protocol=9", "the protocol is unknown"),
        ] {
            let problem = parse(url).err().unwrap().to_string();
            assert!(problem.contains(expected) && !problem.contains("hunter2"), "{url}: {problem}");
        }
    }
}
