//! A TCP proxy whose connections a test can cut, hold up and refuse.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;

/// What the proxy does to what passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It passes.
    Open,
    /// Each piece of data is held up for so long.
    Slow(Duration),
    /// Nothing passes, and no connection is closed.
    Stuck,
    /// Connections are closed, and new ones as soon as they are made.
    Closed,
}

/// A proxy in front of a server on this machine. Ends with the runtime that it was started in.
#[derive(Debug, Clone)]
pub struct Proxy {
    port: u16,
    passage: Arc<watch::Sender<Passage>>,
}

impl Proxy {
    /// A proxy to the server that listens on `to`, which need not be up yet.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let passage = Arc::new(watch::Sender::new(Passage::Open));
        let doors = Arc::clone(&passage);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, to, doors.subscribe()));
            }
        });
        Self { port, passage }
    }

    /// The URL of an HTTP server behind it.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The URL of a Redis behind it.
    #[must_use]
    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on this happens to all that passes.
    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }
}

async fn connect(client: TcpStream, to: u16, mut passage: watch::Receiver<Passage>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let doors = (passage.clone(), passage.clone());
    // Whichever side ends first, both connections are closed.
    tokio::select! {
        // Looked at first: in a random order a quick server's answer could slip through.
        biased;
        _ = passage.wait_for(|passage| *passage == Passage::Closed) => {}
        _ = carry(from_client, to_server, doors.0) => {}
        _ = carry(from_server, to_client, doors.1) => {}
    }
}

async fn carry(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut passage: watch::Receiver<Passage>,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let open = passage.wait_for(|passage| *passage != Passage::Stuck).await.map(|passage| *passage);
        if let Ok(Passage::Slow(delay)) = open {
            tokio::time::sleep(delay).await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}
