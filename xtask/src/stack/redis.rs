//! The stack's Redis: a server of its own, or a running one.

use std::time::Duration;

use strata_harness::error::{Error, Result};
use strata_harness::{Lines, Placement, RedisServer};
use tokio::net::TcpStream;

use crate::commands::setup;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts a server, after installing the program if it is missing.
///
/// # Errors
/// If it cannot be installed or started.
pub(crate) async fn start(lines: Option<&Lines>) -> Result<RedisServer> {
    let program = setup::redis_server().await?;
    RedisServer::start(&program, &[], Placement::OwnGroup, lines).await
}

/// Checks that a server accepts connections at the URL's host and port.
///
/// # Errors
/// If the URL has no host or no server accepts a connection within 5 s.
pub(crate) async fn check(url: &str) -> Result<()> {
    let unusable = |why: String| {
        Error::new(format!("no Redis at {url}: {why}"))
            .mend("start it, correct the URL (redis://HOST:PORT), or leave --redis out")
    };
    let parsed = reqwest::Url::parse(url).map_err(|error| unusable(error.to_string()))?;
    let host = parsed.host_str().ok_or_else(|| unusable("the URL names no host".to_owned()))?;
    let connecting = TcpStream::connect((host, parsed.port().unwrap_or(6379)));
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected.map(drop).map_err(|error| unusable(error.to_string())),
        Err(_) => Err(unusable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use strata_harness::port;

    use super::*;

    #[tokio::test]
    async fn the_error_for_a_url_without_a_listener_says_how_to_mend_it() {
        let url = format!("redis://127.0.0.1:{}", port::free().unwrap());
        let error = check(&url).await.unwrap_err().to_string();
        assert!(error.contains(&url) && error.contains("--redis"), "{error}");
    }
}
