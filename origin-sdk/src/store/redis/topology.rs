//! The location of the fleet's Redis, as settings.

use super::connection::Timeouts;
use super::primary::Primary;
use super::sentinels::{Sentinels, is_sentinel_url, shown};
use super::server::Server;
use super::url;
use crate::clock::Clock;
use crate::error::BuildError;

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
    /// The primary that Redis Sentinel chooses. More than half of the listed sentinels must name
    /// it, so list all of them. After a failover, processes follow the new primary.
    Sentinel {
        /// The sentinels' URL, such as `redis+sentinel://host1,host2,host3/mymaster`:
        /// `redis+sentinel://[user:password@]host[:26379][,host2…]/service[/db][?options]`, or
        /// `rediss+sentinel://…` for TLS to servers and sentinels.
        ///
        /// User, password and db are those of the servers. The options are `sentinel_username`,
        /// `sentinel_password` and `protocol` (`resp2` or `resp3`). Characters that have a meaning
        /// in URLs are percent-encoded. Errors and `Debug` output never show the credentials.
        url: String,
    },
}

impl Topology {
    /// Returns the topology of a URL, by its scheme: [`Topology::Sentinel`] for
    /// `redis+sentinel://`, and [`Topology::Standalone`] for every other.
    pub fn from_url(url: impl Into<String>) -> Self {
        let url = url.into();
        if is_sentinel_url(&url) { Self::Sentinel { url } } else { Self::Standalone { url } }
    }

    /// Returns a connector to the server that accepts writes, or `None` if there is no server. Does
    /// not connect.
    ///
    /// # Errors
    /// [`BuildError::RedisUrl`] or [`BuildError::SentinelUrl`] if a URL is malformed.
    pub(crate) fn primary(&self, timeouts: Timeouts, clock: &Clock) -> Result<Option<Primary>, BuildError> {
        match self {
            Self::Embedded => Ok(None),
            #[cfg(not(feature = "tls"))]
            Self::Standalone { url } | Self::Sentinel { url } if url.starts_with("rediss") => {
                let scheme = if is_sentinel_url(url) { "rediss+sentinel" } else { "rediss" };
                Err(BuildError::TlsFeature { setting: "redis", scheme })
            }
            Self::Standalone { url } => Ok(Some(Primary::Fixed(Box::new(Server(url::client(url)?))))),
            Self::Sentinel { url } => Ok(Some(Primary::Elected(Sentinels::new(url, timeouts, clock)?))),
        }
    }
}

impl std::fmt::Debug for Topology {
    /// Formats the topology without user names and passwords, whatever the form of its URL.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded => f.write_str("Embedded"),
            Self::Standalone { url } => write!(f, "Standalone({})", url::shown(url)),
            Self::Sentinel { url } => write!(f, "Sentinel({})", shown(url)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_url_that_needs_tls_names_the_feature() {
        for url in ["rediss://host", "rediss+sentinel://host/main"] {
            let refused = primary(&Topology::from_url(url)).err().unwrap();
            assert!(refused.to_string().contains("feature `tls`"), "{refused}");
        }
    }

    fn primary(topology: &Topology) -> Result<Option<Primary>, BuildError> {
        topology.primary(Timeouts::default(), &Clock::manual())
    }

    #[test]
    fn errors_and_debug_output_contain_no_password() {
        for url in ["http://user:hunter2@host/", "redis+sentinel://user:hunter2@host/"] {
            let refused = primary(&Topology::from_url(url)).err().unwrap();
            assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused:?}");
        }
        for (url, shown) in [
            ("redis://user:hunter2@host/", "Standalone(redis://host:6379/0)"),
            (
                "redis+sentinel://user:hunter2@a,b:1/main?sentinel_password=hunter2",
                "Sentinel(redis+sentinel://a:26379,b:1/main)",
            ),
        ] {
            assert_eq!(format!("{:?}", Topology::from_url(url)), shown);
        }
    }
}
