//! One server at a known address, and a connection to it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_ok;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, RedisConnectionInfo, RedisError, Value};
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpStream, lookup_host};

use super::progress::{Progress, Watched};
use crate::error::StoreError;
use crate::task::AbortOnDrop;

/// An open connection. Its last clone closes it.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    pub(super) progress: Progress,
    /// The number of the primary that it is connected to, as of
    /// [`Primary::number`](super::primary::Primary::number).
    pub(super) primary: u64,
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
        Ok(Self { connection, progress, primary: 0, _driver: Some(Arc::new(driver)) })
    }
}

/// A server at a fixed address.
#[derive(Clone)]
pub(crate) struct Server(pub(super) Client);

impl Server {
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

    /// Checks that the server is a primary. Sentinels name a server that was demoted for some time.
    pub(super) async fn check_role(&self, link: &mut Link) -> Result<(), StoreError> {
        // HELLO needs no rights, unlike ROLE.
        let hello = redis::cmd("HELLO").query_async(&mut link.connection).await;
        let hello: HashMap<String, Value> = hello.map_err(|error| self.setup_error(error))?;
        let role = hello.get("role").cloned().map(redis::from_redis_value::<String>);
        match role {
            Some(Ok(role)) if role == "master" => Ok(()),
            _ => Err(StoreError::NoPrimary { address: self.0.get_connection_info().addr().to_string() }),
        }
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
                Ok(Link { connection, progress, primary: 0, _driver: None })
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
