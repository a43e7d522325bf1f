//! The location of the fleet's Redis: settings → a connection to the server that accepts writes.
//!
//! Only this file knows how to find that server. After a failure the connection is closed and made
//! again here, so a topology with failover only has to return the current primary.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_ok;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, RedisConnectionInfo, RedisError};
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpStream, lookup_host};

use super::progress::{Progress, Watched};
use super::url;
use crate::error::{BuildError, StoreError};
use crate::task::AbortOnDrop;

/// The servers of the shared tier and the journal. Checked by
/// [`CacheBuilder::build`](crate::CacheBuilder::build).
#[derive(Clone)]
#[non_exhaustive]
pub enum Topology {
    /// No server: values and journal are in this process and are lost when it ends.
    Embedded,
    /// One Redis, at `redis://[user:password@]host[:port][/db]`, or at the socket
    /// `unix:///path[?user=…&pass=…&db=…]`.
    Standalone {
        /// The server's URL. Characters of user name and password that have a meaning in URLs are
        /// percent-encoded (`@` as `%40`). Errors and `Debug` output never show it.
        url: String,
    },
}

impl Topology {
    /// Returns a connector to the server that accepts writes, or `None` if there is no server. Does
    /// not connect.
    ///
    /// # Errors
    /// [`BuildError::RedisUrl`] if a URL is malformed.
    pub(crate) fn primary(&self) -> Result<Option<Primary>, BuildError> {
        match self {
            Self::Embedded => Ok(None),
            #[cfg(not(feature = "tls"))]
            Self::Standalone { url } if url.starts_with("rediss:") => {
                Err(BuildError::TlsFeature { setting: "redis", scheme: "rediss" })
            }
            Self::Standalone { url } => Ok(Some(Primary(url::client(url)?))),
        }
    }
}

impl std::fmt::Debug for Topology {
    /// Formats the topology without user name and password, whatever the form of its URL.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded => f.write_str("Embedded"),
            Self::Standalone { url } => write!(f, "Standalone({})", url::shown(url)),
        }
    }
}

/// An open connection. Its last clone closes it.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    pub(super) progress: Progress,
    _driver: Option<Arc<AbortOnDrop>>,
}

impl Link {
    /// Sets a connection up over a stream whose progress is watched.
    async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        stream: S,
        progress: Progress,
        settings: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<Self, RedisError> {
        let stream = Watched { stream, progress: progress.clone() };
        let setup = MultiplexedConnection::new_with_config(settings, stream, config).await?;
        let (connection, driver) = setup;
        let driver = AbortOnDrop(tokio::spawn(driver));
        Ok(Self { connection, progress, _driver: Some(Arc::new(driver)) })
    }
}

/// The server that accepts writes at the moment.
#[derive(Clone)]
pub(crate) struct Primary(Client);

impl Primary {
    /// Opens a connection for subscriptions. Has no timeout.
    pub(super) async fn subscriber(&self) -> Result<PubSub, StoreError> {
        self.0.get_async_pubsub().await.map_err(|error| self.setup_error(error))
    }

    /// Opens a connection within `timeout`. Commands on it have no timeout of their own.
    pub(super) async fn connect(&self, timeout: Duration) -> Result<Link, StoreError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(None);
        self.open(config).await.map_err(|error| self.setup_error(error))
    }

    async fn open(&self, config: AsyncConnectionConfig) -> Result<Link, RedisError> {
        let (info, progress) = (self.0.get_connection_info(), Progress::start());
        match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let addresses = lookup_host((host.as_str(), *port)).await?;
                let connecting: Vec<_> =
                    addresses.map(|address| TcpStream::connect(address).boxed()).collect();
                if connecting.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address").into());
                }
                let (stream, _) = select_ok(connecting).await?;
                stream.set_nodelay(true)?;
                Link::over(stream, progress, info.redis_settings(), config).await
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => {
                Link::over(UnixStream::connect(path).await?, progress, info.redis_settings(), config).await
            }
            // The client has no way to watch the stream below TLS, so only whole replies are
            // progress.
            _ => {
                let connection = self.0.get_multiplexed_async_connection_with_config(&config).await?;
                Ok(Link { connection, progress, _driver: None })
            }
        }
    }

    /// Removes the credentials from an error. Some servers quote the arguments of a command that
    /// they do not know, and `HELLO` has the credentials as arguments.
    fn setup_error(&self, error: RedisError) -> StoreError {
        let settings = self.0.get_connection_info().redis_settings();
        let secrets =
            [settings.password(), settings.username()].into_iter().flatten().filter(|text| !text.is_empty());
        let text = error.to_string();
        let hidden = secrets.fold(text.clone(), |text, secret| text.replace(secret, "…"));
        if hidden == text { error.into() } else { StoreError::Setup(hidden) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_url_that_needs_tls_names_the_feature() {
        let refused = Topology::Standalone { url: "rediss://host".to_owned() }.primary().err().unwrap();
        assert!(refused.to_string().contains("feature `tls`"), "{refused}");
    }

    #[test]
    fn errors_and_debug_output_contain_no_password() {
        let at = |url: &str| Topology::Standalone { url: url.to_owned() };
        let refused = at("http://user:hunter2@host/").primary().err().unwrap();
        assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused:?}");
        assert_eq!(format!("{:?}", at("redis://user:hunter2@host/")), "Standalone(redis://host:6379/0)");
    }
}
