//! The listening sockets of the isolates, which workerd inherits.
//!
//! They outlive a workerd: while it starts again, connections wait instead of being refused. While
//! it finishes its requests, it accepts no connections but leaves its sockets open, so that clients
//! would wait for an answer in vain. This process then accepts their connections and closes them.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::io::{FdFlags, fcntl_setfd};
use tokio::time::sleep;

/// The pause after a connection could not be accepted, such as for want of file descriptors.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The sockets, in the order of the isolates.
pub(crate) struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Listens on each address: a host and a port, or `*` and a port for all interfaces.
    pub(crate) fn bind(addresses: &[String]) -> Result<Self, String> {
        let bind = |address: &String| {
            let all = address.strip_prefix("*:").map(|port| format!("[::]:{port}"));
            let listener = TcpListener::bind(all.as_deref().unwrap_or(address));
            let listener = listener.and_then(|listener| {
                // Without the flag to close it, a child inherits it.
                fcntl_setfd(&listener, FdFlags::empty())?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            listener.map_err(|error| {
                format!(
                    "listening on {address}: {error}; expected --listen ADDRESS:PORT, such as 127.0.0.1:8787"
                )
            })
        };
        addresses.iter().map(bind).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the file descriptor of each.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = i32> {
        self.0.iter().map(AsRawFd::as_raw_fd)
    }

    /// Closes all new connections, until it is dropped.
    pub(crate) async fn refuse(&self) {
        join_all(self.0.iter().map(refuse)).await;
    }
}

async fn refuse(listener: &TcpListener) {
    // Without a second handle, the connections wait until workerd has ended.
    let Ok(Ok(listener)) = listener.try_clone().map(tokio::net::TcpListener::from_std) else {
        return std::future::pending().await;
    };
    loop {
        if listener.accept().await.is_err() {
            sleep(RETRY_INTERVAL).await;
        }
    }
}
