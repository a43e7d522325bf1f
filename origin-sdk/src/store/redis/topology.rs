//! Where the fleet's Redis is: settings → a connection to the server that takes writes.
//!
//! The only place that knows how that server is found. Whatever fails a connection gives it up and asks here again, so a
//! topology in which the primary moves needs to answer only one question: who is it now?

use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, RedisError};

use crate::error::BuildError;

/// Which servers hold the shared tier and the journal. Checked by [`CacheBuilder::build`](crate::CacheBuilder::build).
#[derive(Clone)]
#[non_exhaustive]
pub enum Topology {
    /// No server: values and journal live and end with this process.
    Embedded,
    /// One Redis, at `redis://[user:password@]host[:port][/db]`.
    Standalone {
        /// Its URL.
        url: String,
    },
}

impl Topology {
    /// What connects to the server that takes writes; `None` if there is no server. Nothing is connected yet.
    ///
    /// # Errors
    /// [`BuildError::RedisUrl`] if a URL is malformed.
    pub(crate) fn primary(&self) -> Result<Option<Primary>, BuildError> {
        match self {
            Self::Embedded => Ok(None),
            #[cfg(not(feature = "tls"))]
            Self::Standalone { url } if url.starts_with("rediss:") => Err(BuildError::TlsFeature),
            Self::Standalone { url } => match Client::open(url.as_str()) {
                Ok(client) => Ok(Some(Primary(client))),
                Err(source) => Err(BuildError::RedisUrl { url: without_credentials(url), source }),
            },
        }
    }
}

impl std::fmt::Debug for Topology {
    /// Without user name and password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded => f.write_str("Embedded"),
            Self::Standalone { url } => write!(f, "Standalone({})", without_credentials(url)),
        }
    }
}

/// The server that takes writes, wherever it is at the moment.
#[derive(Clone)]
pub(crate) struct Primary(Client);

impl Primary {
    /// A new connection that can only listen to channels. It has no deadline.
    pub(super) async fn subscriber(&self) -> Result<PubSub, RedisError> {
        self.0.get_async_pubsub().await
    }

    /// A new connection, made within `timeout` or not at all. Its commands have no deadline of their own.
    pub(super) async fn connect(&self, timeout: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(None);
        self.0.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// The URL as it may stand in an error.
fn without_credentials(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
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
    fn no_password_shows_in_an_error_or_in_debug() {
        let at = |url: &str| Topology::Standalone { url: url.to_owned() };
        let refused = at("http://user:hunter2@host/").primary().err().unwrap();
        assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused:?}");
        assert_eq!(format!("{:?}", at("redis://user:hunter2@host/")), "Standalone(redis://…@host/)");
    }
}
