//! The origin of all peers: `/10` has 10 KB.

use strata_harness::error::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running origin. Stops when dropped.
pub(super) struct Origin {
    pub(super) url: String,
    task: JoinHandle<()>,
}

impl Origin {
    /// Starts the origin on a free port.
    ///
    /// # Errors
    /// If no process can listen there.
    pub(super) async fn start() -> Result<Self> {
        let starting = || "starting the origin".to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.context(starting)?;
        let url = format!("http://{}", listener.local_addr().context(starting)?);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
        Ok(Self { url, task })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers the requests of a connection until it ends.
async fn answer(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut first, mut line) = (String::new(), String::new());
        if !matches!(stream.read_line(&mut first).await, Ok(1..)) {
            return;
        }
        while line != "\r\n" {
            line.clear();
            if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
                return;
            }
        }
        if stream.write_all(&response(&first)).await.is_err() {
            return;
        }
    }
}

/// Returns the response to a request with this first line.
fn response(request_line: &str) -> Vec<u8> {
    let kilobytes = request_line.split_once(" /").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let body = vec![b'x'; kilobytes.unwrap_or(0_usize) * 1024];
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: max-age=600\r\nETag: \"v1\"\r\n\
         Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_kilobytes_of_the_body() {
        let length = |line: &str| {
            let response = response(line);
            let text = String::from_utf8(response).unwrap();
            text.split_once("\r\n\r\n").unwrap().1.len()
        };
        assert_eq!(length("GET /10 HTTP/1.1\r\n"), 10 * 1024);
        assert_eq!(length("GET / HTTP/1.1\r\n"), 0);
    }
}
