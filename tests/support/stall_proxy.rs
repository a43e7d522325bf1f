//! A way to Redis on which nothing may come through for a while: what makes a process lag.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy in front of Redis that can be stalled. Connections live on meanwhile.
#[derive(Clone)]
pub struct StallProxy {
    url: String,
    stalled: Arc<watch::Sender<bool>>,
}

impl StallProxy {
    /// A proxy to the server on `port`, which lets everything through at first.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("redis://{}", listener.local_addr().expect("a bound listener has an address"));
        let stalled = Arc::new(watch::Sender::new(false));
        let proxy = Self { url, stalled: Arc::clone(&stalled) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass_on(from_client, to_server, stalled.subscribe()));
                tokio::spawn(pass_on(from_server, to_client, stalled.subscribe()));
            }
        });
        proxy
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether bytes wait from now on.
    pub fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }
}

async fn pass_on(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut stalled: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if stalled.wait_for(|stalled| !stalled).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
