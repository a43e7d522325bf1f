//! The Redis URL: its problems in words, and the parts of it that may be shown.
//!
//! A password can be anywhere in a malformed URL, so no error quotes a part of one.

use redis::{Client, ConnectionAddr, ConnectionInfo};

use crate::error::BuildError;

/// Parses the URL of a server.
///
/// # Errors
/// [`BuildError::RedisUrl`], which names the wrong part and shows nothing of the URL.
pub(super) fn client(url: &str) -> Result<Client, BuildError> {
    parse(url).map_err(|problem| BuildError::RedisUrl { problem })
}

/// Parses a Redis URL.
///
/// # Errors
/// Which part is wrong and how to correct it. Shows nothing of the URL.
pub(super) fn parse(url: &str) -> Result<Client, &'static str> {
    match (problem_of(url), Client::open(url)) {
        (None, Ok(client)) => Ok(client),
        (Some(problem), _) => Err(problem),
        (None, Err(_)) => Err("a part of it is not accepted by the client"),
    }
}

/// Formats a URL without user name, password and query. Of a malformed URL or a socket's path it
/// shows nothing.
pub(super) fn shown(url: &str) -> String {
    match client(url) {
        Ok(client) => shown_info(client.get_connection_info()),
        Err(_) => "a malformed URL".to_owned(),
    }
}

fn shown_info(info: &ConnectionInfo) -> String {
    let db = info.redis_settings().db();
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}/{db}"),
        ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{host}:{port}/{db}"),
        _ => "a Unix socket".to_owned(),
    }
}

/// Returns which part of a URL is wrong and how to correct it.
fn problem_of(url: &str) -> Option<&'static str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some(
            "the scheme is missing: begin with `redis://`, `rediss://`, `unix://` or `redis+sentinel://`",
        );
    };
    let is_socket = match scheme {
        "redis" | "rediss" | "valkey" | "valkeys" => false,
        "unix" | "redis+unix" | "valkey+unix" => true,
        _ => {
            return Some(
                "the scheme is unknown: use `redis://`, `rediss://`, `unix://` or `redis+sentinel://`",
            );
        }
    };
    if is_socket && !rest.starts_with('/') {
        return Some("the socket's path does not begin with `/`: write `unix:///run/redis.sock?pass=…`");
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if !is_socket && rest[end..].contains('@') {
        return Some(
            "an `@` follows the host: write `/`, `?`, `#` and `@` in a password as %2F, %3F, %23 and %40",
        );
    }
    let Some(parsed) = redis::parse_redis_url(url) else {
        return Some(
            "its host or port is malformed: write `host:port`, and `:`, `@` and `%` in a password as %3A, %40 and %25",
        );
    };
    if !is_socket && parsed.host_str().is_none_or(str::is_empty) {
        return Some("the host is missing: write `redis://user:password@host:port`");
    }
    let query =
        |name: &str| parsed.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if query("protocol").is_some_and(|protocol| !matches!(&*protocol, "2" | "resp2" | "3" | "resp3")) {
        return Some("the protocol is unknown: write `?protocol=resp2` or `?protocol=resp3`");
    }
    let db =
        if is_socket { query("db").unwrap_or_default() } else { parsed.path().trim_matches('/').to_owned() };
    if !db.is_empty() && db.parse::<i64>().is_err() {
        return Some(
            "the database is not a number: write `/0` after the host, or `?db=0` after a socket's path",
        );
    }
    if parsed.host_str().is_some_and(|host| matches!(host, "0.0.0.0" | "[::]")) {
        return Some("the host is a wildcard: write the address of the server");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_url_is_shown_without_credentials() {
        for (url, expected) in [
            ("redis://user:hunter2@host/", "redis://host:6379/0"),
            ("redis://:hunter%402@host:1234/3", "redis://host:1234/3"),
            ("redis://:p@ss@[::1]/?protocol=resp3", "redis://::1:6379/0"),
            ("redis+unix:///run/redis.sock?pass=hunter2", "a Unix socket"),
            ("redis//:hunter2@host", "a malformed URL"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    /// The named problems are those that make the client refuse a URL.
    #[test]
    fn each_url_that_the_client_refuses_has_a_named_problem() {
        for url in [
            "redis://h",
            "redis://h:x",
            "redis://",
            "redis://:1",
            "redis://h/x",
            "redis://h?protocol=9",
            "redis://0.0.0.0",
            "redis://[::]",
            "unix:///s?db=x",
            "unix://h/s",
            "unix:s",
            "valkey://h",
            "http://h",
            "",
        ] {
            assert_eq!(problem_of(url).is_some(), Client::open(url).is_err(), "{url}: {:?}", problem_of(url));
        }
    }
}
