//! A sentinel that names the primary which a test says, and counts the queries.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The reply of a fake sentinel to a query for the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// The server on this port of this machine.
    Port(u16),
    /// It does not monitor the service.
    Nothing,
    /// It does not answer.
    Silent,
}

/// A sentinel that never emits news. Stops with the runtime that started it.
#[derive(Debug, Clone)]
pub struct FakeSentinel {
    port: u16,
    names: Arc<Mutex<Names>>,
    asked: Arc<AtomicUsize>,
}

impl FakeSentinel {
    /// Starts a sentinel.
    pub async fn start(names: Names) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let sentinel = Self { port, names: Arc::new(Mutex::new(names)), asked: Arc::default() };
        let server = sentinel.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(client).await });
            }
        });
        sentinel
    }

    /// Starts three that name the same server.
    pub async fn three(names: Names) -> [Self; 3] {
        [Self::start(names).await, Self::start(names).await, Self::start(names).await]
    }

    /// Returns the URL of a service `main` behind these sentinels.
    #[must_use]
    pub fn url(sentinels: &[Self]) -> String {
        url_of(sentinels.iter().map(|sentinel| sentinel.port))
    }

    /// Sets what it says from now on.
    pub fn set(&self, names: Names) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Returns the number of queries for the primary.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn serve(&self, client: TcpStream) -> Option<()> {
        let mut client = BufReader::new(client);
        loop {
            let command = read_command(&mut client).await?;
            let answer = match command[0].to_ascii_uppercase().as_str() {
                "SENTINEL" if command[1] == "REPLICAS" => "*0\r\n".to_owned(),
                "SENTINEL" => {
                    self.asked.fetch_add(1, Ordering::SeqCst);
                    match *self.names.lock().unwrap_or_else(PoisonError::into_inner) {
                        Names::Port(port) => {
                            let port = port.to_string();
                            format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len())
                        }
                        Names::Nothing => "*-1\r\n".to_owned(),
                        Names::Silent => continue,
                    }
                }
                "SUBSCRIBE" => {
                    format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{}\r\n:1\r\n", command[1].len(), command[1])
                }
                _ => "+OK\r\n".to_owned(),
            };
            client.get_mut().write_all(answer.as_bytes()).await.ok()?;
        }
    }
}

/// Returns the URL of a service `main` behind sentinels on these ports.
pub(crate) fn url_of(ports: impl Iterator<Item = u16>) -> String {
    let hosts: Vec<_> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redis+sentinel://{}/main", hosts.join(","))
}

/// Reads a command: an array of texts.
async fn read_command(client: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let count = read_number(client, '*').await?;
    let mut texts = Vec::new();
    for _ in 0..count {
        let length = read_number(client, '$').await?;
        let mut text = vec![0; length + 2];
        client.read_exact(&mut text).await.ok()?;
        texts.push(String::from_utf8_lossy(&text[..length]).into_owned());
    }
    Some(texts)
}

async fn read_number(client: &mut BufReader<TcpStream>, kind: char) -> Option<usize> {
    let mut line = String::new();
    client.read_line(&mut line).await.ok()?;
    line.trim_end().strip_prefix(kind)?.parse().ok()
}
