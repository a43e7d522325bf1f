//! The source of truth of several processes: a table of versions behind a socket. Every request is
//! atomic.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A server of rows with a version each, 0 at first. Stops with the runtime that started it.
#[derive(Debug, Clone)]
pub struct Source {
    address: String,
    reads: Arc<AtomicUsize>,
}

impl Source {
    /// Starts a server on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address").to_string();
        let (rows, reads) = (Arc::new(Mutex::new(HashMap::new())), Arc::<AtomicUsize>::default());
        let counter = Arc::clone(&reads);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // A client that disconnects is no error, because tests kill processes.
                tokio::spawn(serve(socket, Arc::clone(&rows), Arc::clone(&counter)));
            }
        });
        Self { address, reads }
    }

    /// Returns a client of the server at an address from [`Source::address`], also of another
    /// process.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self { address: address.to_owned(), reads: Arc::default() }
    }

    /// Returns the address of the server.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the number of reads by all processes. Always 0 for a client made by [`Source::at`].
    #[must_use]
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Returns the version of a row.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn read(&self, id: u64) -> io::Result<u64> {
        self.send('r', id).await
    }

    /// Increments the version of a row and returns it.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn bump(&self, id: u64) -> io::Result<u64> {
        self.send('w', id).await
    }

    async fn send(&self, command: char, id: u64) -> io::Result<u64> {
        let mut socket = TcpStream::connect(&self.address).await?;
        socket.write_all(format!("{command}{id}\n").as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        answer.trim().parse().map_err(io::Error::other)
    }
}

async fn serve(
    socket: TcpStream,
    rows: Arc<Mutex<HashMap<u64, u64>>>,
    reads: Arc<AtomicUsize>,
) -> io::Result<()> {
    let mut socket = BufReader::new(socket);
    let mut request = String::new();
    socket.read_line(&mut request).await?;
    let (command, id) = request.trim().split_at_checked(1).unwrap_or_default();
    let id: u64 = id.parse().map_err(io::Error::other)?;
    reads.fetch_add(usize::from(command == "r"), Ordering::SeqCst);
    let version = {
        let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
        let version = rows.entry(id).or_default();
        *version += u64::from(command == "w");
        *version
    };
    socket.write_all(version.to_string().as_bytes()).await?;
    socket.shutdown().await
}
