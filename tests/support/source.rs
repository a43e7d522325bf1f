//! The source of truth of several processes: numbered versions behind a socket. Every request is atomic.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A server of rows that hold a version each, 0 at first. Ends with the runtime that it was started in.
#[derive(Debug, Clone)]
pub struct Source {
    address: String,
    reads: Arc<AtomicUsize>,
}

impl Source {
    /// A server on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address").to_string();
        let (rows, reads) = (Arc::new(Mutex::new(HashMap::new())), Arc::<AtomicUsize>::default());
        let counter = Arc::clone(&reads);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // A client that goes away is no error: processes are killed.
                tokio::spawn(serve(socket, Arc::clone(&rows), Arc::clone(&counter)));
            }
        });
        Self { address, reads }
    }

    /// The server at an address that [`Source::address`] has given, maybe in another process.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self { address: address.to_owned(), reads: Arc::default() }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many reads there have been, from all processes; only the process that has started it knows.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// A row's version.
    ///
    /// # Errors
    /// If the server has gone.
    pub async fn read(&self, id: u64) -> io::Result<u64> {
        self.ask('r', id).await
    }

    /// Raises a row's version, and gives the new one.
    ///
    /// # Errors
    /// If the server has gone.
    pub async fn bump(&self, id: u64) -> io::Result<u64> {
        self.ask('w', id).await
    }

    async fn ask(&self, what: char, id: u64) -> io::Result<u64> {
        let mut socket = TcpStream::connect(&self.address).await?;
        socket.write_all(format!("{what}{id}\n").as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        answer.trim().parse().map_err(io::Error::other)
    }
}

async fn serve(socket: TcpStream, rows: Arc<Mutex<HashMap<u64, u64>>>, reads: Arc<AtomicUsize>) -> io::Result<()> {
    let mut socket = BufReader::new(socket);
    let mut request = String::new();
    socket.read_line(&mut request).await?;
    let (what, id) = request.trim().split_at_checked(1).unwrap_or_default();
    let id: u64 = id.parse().map_err(io::Error::other)?;
    reads.fetch_add(usize::from(what == "r"), Ordering::SeqCst);
    let version = {
        let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
        let version = rows.entry(id).or_default();
        *version += u64::from(what == "w");
        *version
    };
    socket.write_all(version.to_string().as_bytes()).await?;
    socket.shutdown().await
}
