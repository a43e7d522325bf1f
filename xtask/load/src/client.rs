//! One connection to a server: a blocking HTTP/1.1 client for the servers of this project.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The longest wait for the next part of an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection, opened at the first request and again after the server has closed it.
pub(crate) struct Client {
    target: String,
    stream: Option<BufReader<TcpStream>>,
    body: Vec<u8>,
}

/// The parts of an answer that the load uses. Its body was read to the end.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// All lines of `Cache-Status`, joined by commas.
    pub(crate) cache_status: String,
}

/// How the end of an answer's body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy)]
enum Framing {
    Length(u64),
    Chunks,
    Close,
}

impl Client {
    /// Creates a client of the target, a host and a port.
    pub(crate) fn new(target: &str) -> Self {
        Self { target: target.to_owned(), stream: None, body: Vec::new() }
    }

    /// Sends a `GET`.
    ///
    /// # Errors
    /// If there is no complete answer.
    pub(crate) fn get(&mut self, path: &str) -> Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.target);
        let reused = self.stream.is_some();
        match self.exchange(request.as_bytes()) {
            // The server may have closed the idle connection while the request was on its way.
            Err(error) if reused && error.kind() != ErrorKind::WouldBlock => {
                self.exchange(request.as_bytes())
            }
            result => result,
        }
    }

    /// Sends a `PUT` with a JSON body, once.
    ///
    /// # Errors
    /// If there is no complete answer.
    pub(crate) fn put(&mut self, path: &str, body: &str) -> Result<Answer> {
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.target,
            body.len()
        );
        self.exchange(request.as_bytes())
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        // Put back only after a complete answer.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.target)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all(request)?;
        let (answer, framing, stays_open) = read_head(&mut stream)?;
        self.body.clear();
        read_body(&mut stream, framing, &mut self.body)?;
        if stays_open && !matches!(framing, Framing::Close) {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

/// Reads the status line and the fields. Also returns whether the connection stays open.
fn read_head(stream: &mut impl BufRead) -> Result<(Answer, Framing, bool)> {
    let malformed = || Error::new(ErrorKind::InvalidData, "expected the head of an HTTP/1.1 answer");
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let status =
        line.split(' ').nth(1).and_then(|status| status.trim().parse().ok()).ok_or_else(malformed)?;
    let mut answer = Answer { status, cache_status: String::new() };
    let (mut framing, mut stays_open) = (Framing::Close, true);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let field = line.trim_end();
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':').ok_or_else(malformed)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            framing = Framing::Length(value.parse().map_err(|_| malformed())?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunks;
        } else if name.eq_ignore_ascii_case("connection") {
            stays_open = !value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("cache-status") {
            if !answer.cache_status.is_empty() {
                answer.cache_status.push_str(", ");
            }
            answer.cache_status.push_str(value);
        }
    }
    if matches!(status, 204 | 304) {
        framing = Framing::Length(0);
    }
    Ok((answer, framing, stays_open))
}

fn read_body(stream: &mut impl BufRead, framing: Framing, body: &mut Vec<u8>) -> Result<()> {
    let ended = |complete: bool| if complete { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) };
    match framing {
        Framing::Close => stream.read_to_end(body).map(drop),
        Framing::Length(length) => ended(stream.by_ref().take(length).read_to_end(body)? as u64 == length),
        Framing::Chunks => loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim_end(), 16)
                .map_err(|_| Error::new(ErrorKind::InvalidData, "expected the size of a chunk"))?;
            // Each chunk ends with a line break, the last one too.
            ended(stream.by_ref().take(size + 2).read_to_end(body)? as u64 == size + 2)?;
            if size == 0 {
                return Ok(());
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> Result<(Answer, Vec<u8>)> {
        let mut stream = answer.as_bytes();
        let (head, framing, _) = read_head(&mut stream)?;
        let mut body = Vec::new();
        read_body(&mut stream, framing, &mut body)?;
        Ok((head, body))
    }

    #[test]
    fn all_lines_of_cache_status_are_read() {
        let text =
            "HTTP/1.1 200 OK\r\nCache-Status: a; hit\r\ncache-status: b\r\nContent-Length: 2\r\n\r\nxyz";
        let (answer, body) = read(text).unwrap();
        assert_eq!(answer, Answer { status: 200, cache_status: "a; hit, b".to_owned() });
        assert_eq!(body, b"xy");
    }

    #[test]
    fn a_body_in_chunks_ends_with_the_empty_chunk() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\nHTTP";
        assert_eq!(read(text).unwrap().1, b"abc\r\nd\r\n\r\n");
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_answer_without_a_body_needs_no_length() {
        let (answer, body) = read("HTTP/1.1 304 Not Modified\r\n\r\nHTTP").unwrap();
        assert_eq!((answer.status, body.len()), (304, 0));
    }
}
