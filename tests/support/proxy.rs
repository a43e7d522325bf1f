//! A TCP proxy whose connections a test can cut, delay and stall.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;

/// The treatment of the data that passes through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// The data passes.
    Open,
    /// Each chunk of data is delayed by this time.
    Slow(Duration),
    /// At most this many bytes pass per second in each direction, over all connections together: a
    /// slow link.
    Throttled(u32),
    /// No data passes, and connections stay open.
    Stuck,
    /// Connections are closed, new ones at once.
    Closed,
}

/// A proxy in front of a server on this machine. Stops with the runtime that started it.
#[derive(Debug, Clone)]
pub struct Proxy {
    port: u16,
    passage: Arc<watch::Sender<Passage>>,
}

impl Proxy {
    /// Starts a proxy to the server on port `to`, which need not run yet.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let passage = Arc::new(watch::Sender::new(Passage::Open));
        let passages = Arc::clone(&passage);
        let links = [Link::default(), Link::default()];
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, to, passages.subscribe(), links.clone()));
            }
        });
        Self { port, passage }
    }

    /// Returns the URL of the proxy for an HTTP server behind it.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the URL of the proxy for a Redis behind it.
    #[must_use]
    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sets the treatment of all data from now on.
    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }
}

/// One direction of a slow link, which sends one piece of data after the other.
#[derive(Debug, Clone, Default)]
struct Link(Arc<Mutex<Option<Instant>>>);

impl Link {
    /// Returns when the link will have sent this many bytes.
    fn send(&self, bytes: usize, per_second: u32) -> Instant {
        let (mut busy_until, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        let begins = busy_until.map_or(now, |until| until.max(now));
        let ends = begins + Duration::from_secs_f64(bytes as f64 / f64::from(per_second));
        *busy_until = Some(ends);
        ends
    }
}

async fn connect(client: TcpStream, to: u16, mut passage: watch::Receiver<Passage>, [up, down]: [Link; 2]) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let passages = (passage.clone(), passage.clone());
    // Both connections are closed when one side ends.
    tokio::select! {
        // Polled first. In random order the answer of a quick server could pass after the change.
        biased;
        _ = passage.wait_for(|passage| *passage == Passage::Closed) => {}
        _ = carry(from_client, to_server, passages.0, &up) => {}
        _ = carry(from_server, to_client, passages.1, &down) => {}
    }
}

async fn carry(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut passage: watch::Receiver<Passage>,
    link: &Link,
) -> io::Result<()> {
    // As small as a few packets, so that the connections of a slow link share it.
    let mut buffer = vec![0; 1 << 14];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let open = passage.wait_for(|passage| *passage != Passage::Stuck).await.map(|passage| *passage);
        match open {
            Ok(Passage::Slow(delay)) => tokio::time::sleep(delay).await,
            Ok(Passage::Throttled(rate)) => tokio::time::sleep_until(link.send(length, rate).into()).await,
            _ => {}
        }
        to.write_all(&buffer[..length]).await?;
    }
}
