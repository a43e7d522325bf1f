//! A proxy in front of Redis that stops a process at a chosen step of its shipping.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A part of every command of the shipper: of the key of the lease and of the name of the group.
const MARK: &[u8] = b"ship:";

/// The point of a step at which the process is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopAt {
    /// Redis has not received the command.
    Before,
    /// Redis has run the command, and the process has no reply.
    After,
}

/// A proxy in front of Redis that counts the shipper's commands.
pub struct StepProxy {
    url: String,
    steps: Arc<AtomicUsize>,
    stopped: Arc<Notify>,
}

impl StepProxy {
    /// Starts a proxy to the server on `port`. It passes nothing from the shipper's `step`-th
    /// command on, counted from 1.
    pub async fn start(port: u16, step: usize, stop_at: StopAt) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("redis://{}", listener.local_addr().expect("a bound listener has an address"));
        let (steps, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let proxy = Self { url, steps: Arc::clone(&steps), stopped: Arc::clone(&stopped) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let gate = Gate { steps: Arc::clone(&steps), stopped: Arc::clone(&stopped), step, stop_at };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(commands(from_client, to_server, gate.clone()));
                tokio::spawn(replies(from_server, to_client, gate));
            }
        });
        proxy
    }

    /// Returns the URL of the proxy.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the number of commands that the shipper has sent.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps.load(Ordering::SeqCst)
    }

    /// Waits until the process has been stopped.
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }
}

#[derive(Clone)]
struct Gate {
    steps: Arc<AtomicUsize>,
    stopped: Arc<Notify>,
    step: usize,
    stop_at: StopAt,
}

impl Gate {
    fn is_shut(&self) -> bool {
        self.steps.load(Ordering::SeqCst) >= self.step
    }
}

async fn commands(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, gate: Gate) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let chunk = &buffer[..length];
        if !gate.is_shut() && chunk.windows(MARK.len()).any(|window| window == MARK) {
            gate.steps.fetch_add(1, Ordering::SeqCst);
            if gate.is_shut() && gate.stop_at == StopAt::After {
                let _ = to.write_all(chunk).await;
            }
        }
        if gate.is_shut() {
            // `notify_one` stores a permit for a later call of `stopped`.
            gate.stopped.notify_one();
            return std::future::pending().await;
        }
        if to.write_all(chunk).await.is_err() {
            return;
        }
    }
}

async fn replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, gate: Gate) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if gate.is_shut() {
            return std::future::pending().await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
