//! A Redis server of our own: on a free port, in a temporary folder, forgetting everything when it stops.

use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::error::Result;
use crate::process::{Lines, Process};
use crate::{paths, port, setup};

/// A running Redis server; stops when dropped.
pub(crate) struct Redis {
    process: Process,
    port: u16,
    _folder: TempDir,
}

impl Redis {
    /// Starts one, installing the program first if it is missing, and waits until it answers.
    pub(crate) async fn start(lines: Option<&Lines>) -> Result<Self> {
        let program = setup::redis_server().await?;
        let port = port::free()?;
        let folder = paths::temporary()?;
        let mut command = Command::new(program);
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--loglevel", "warning", "--dir"])
            .arg(folder.path());
        let mut process = Process::spawn("redis", command, lines)?;
        process.wait_ready(Duration::from_secs(10), async || ping(port).await.is_ok()).await?;
        Ok(Self { process, port, _folder: folder })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Asks for a PONG in Redis's inline protocol.
async fn ping(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    if answer == *b"+PONG\r\n" { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

/// Comes back if a Redis server answers at the URL's host and port.
///
/// # Errors
/// If none does, with how to mend that.
pub(crate) async fn check(url: &str) -> Result<()> {
    let wrong = |why: String| {
        crate::error::Error::new(format!("no Redis at {url}: {why}"))
            .mend("start it, correct the URL (redis://HOST:PORT), or leave --redis out")
    };
    let parsed = reqwest::Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    let host = parsed.host_str().ok_or_else(|| wrong("the URL names no host".to_owned()))?;
    TcpStream::connect((host, parsed.port().unwrap_or(6379))).await.map_err(|error| wrong(error.to_string()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_where_nothing_listens_is_refused_with_a_way_out() {
        let url = format!("redis://127.0.0.1:{}", port::free().unwrap());
        let error = check(&url).await.unwrap_err().to_string();
        assert!(error.contains(&url) && error.contains("--redis"), "{error}");
    }
}
