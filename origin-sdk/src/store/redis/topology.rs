//! The location of the fleet's Redis: settings → a connection to the server that accepts writes.
//!
//! Only this file knows how to find that server. After a failure the connection is closed and made
//! again here, so a topology with failover only has to return the current primary.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, RedisError};

use crate::error::BuildError;

/// The servers of the shared tier and the journal. Checked by
/// [`CacheBuilder::build`](crate::CacheBuilder::build).
#[derive(Clone)]
#[non_exhaustive]
pub enum Topology {
    /// No server: values and journal are in this process and are lost when it ends.
    Embedded,
    /// One Redis, at `redis://[user:password@]host[:port][/db]`.
    Standalone {
        /// The server's URL.
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
            Self::Standalone { url } if url.starts_with("rediss:") => Err(BuildError::TlsFeature),
            Self::Standalone { url } => match Client::open(url.as_str()) {
                Ok(client) => Ok(Some(Primary(client))),
                Err(source) => Err(BuildError::RedisUrl { url: without_credentials(url), source }),
            },
        }
    }
}

impl std::fmt::Debug for Topology {
    /// Formats the topology without user name and password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded => f.write_str("Embedded"),
            Self::Standalone { url } => write!(f, "Standalone({})", without_credentials(url)),
        }
    }
}

/// The server that accepts writes at the moment.
#[derive(Clone)]
pub(crate) struct Primary(Client);

impl Primary {
    /// Opens a connection for subscriptions. Has no timeout.
    pub(super) async fn subscriber(&self) -> Result<PubSub, RedisError> {
        self.0.get_async_pubsub().await
    }

    /// Opens a connection within `timeout`. Commands on it have no timeout of their own.
    pub(super) async fn connect(&self, timeout: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(None);
        self.0.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// Returns the URL with user name and password replaced by `…`, for errors and debug output.
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
    fn errors_and_debug_output_contain_no_password() {
        let at = |url: &str| Topology::Standalone { url: url.to_owned() };
        let refused = at("http://user:hunter2@host/").primary().err().unwrap();
        assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused:?}");
        assert_eq!(format!("{:?}", at("redis://user:hunter2@host/")), "Standalone(redis://…@host/)");
    }
}
