//! The listening sockets of the isolates, which workerd inherits.
//!
//! They outlive a workerd: while it starts again, connections wait instead of being refused. While
//! it finishes its requests, it accepts no connections but leaves its sockets open, so that clients
//! would wait for an answer in vain. This process then accepts their connections and closes them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
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
            bind(address).map_err(|error| {
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

fn bind(address: &str) -> std::io::Result<TcpListener> {
    let listener = match address.strip_prefix("*:").and_then(|port| port.parse::<u16>().ok()) {
        // The first is for both versions of IP, but may be turned off.
        Some(port) => {
            let all = [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()];
            TcpListener::bind::<&[SocketAddr]>(&all)
        }
        None => TcpListener::bind(address),
    }?;
    // Without the flag to close it, a child inherits it.
    fcntl_setfd(&listener, FdFlags::empty())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_all_interfaces() {
        let listener = bind("*:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    #[test]
    fn an_address_without_a_port_is_an_error_that_says_what_is_expected() {
        for address in ["127.0.0.1", "*", "*:port"] {
            let error = Listeners::bind(&[address.to_owned()]).err().unwrap();
            assert!(error.contains(address) && error.contains("expected --listen"), "{error}");
        }
    }
}
