//! The server that accepts writes at the moment.
//!
//! After a failure the connection to it is closed and made again, so a topology with failover only
//! has to return the current one.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::PubSub;

use super::sentinels::Sentinels;
use super::server::{Link, Server};
use crate::error::StoreError;

/// The way to the server that accepts writes.
#[derive(Clone)]
pub(crate) enum Primary {
    /// It is always at the same address.
    Fixed(Box<Server>),
    /// The sentinels name it.
    Elected(Arc<Sentinels>),
}

/// The primary's confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Confirmed {
    /// The primary's number.
    pub(super) number: u64,
    /// The clock's reading at which it certainly had no successor; `None` if it never has one.
    pub(super) at: Option<Duration>,
}

impl Primary {
    /// Opens a connection. Asking the sentinels first has a timeout of its own, and the rest has
    /// this one. Commands on the connection have none.
    pub(super) async fn connect(&self, timeout: Duration) -> Result<Link, StoreError> {
        let (number, server) = self.locate().await?;
        let setup = async {
            let mut link = server.connect(timeout).await?;
            if let Self::Elected(_) = self {
                server.check_role(&mut link).await?;
            }
            link.primary = number;
            Ok(link)
        };
        tokio::time::timeout(timeout, setup).await.unwrap_or(Err(StoreError::Timeout(timeout)))
    }

    /// Opens a connection for subscriptions. Has no timeout. Returns the primary's number beside
    /// it.
    pub(super) async fn subscriber(&self) -> Result<(u64, PubSub), StoreError> {
        let (number, server) = self.locate().await?;
        Ok((number, server.subscriber().await?))
    }

    /// Returns the primary and its number.
    async fn locate(&self) -> Result<(u64, Server), StoreError> {
        match self {
            Self::Fixed(server) => Ok((0, Server::clone(server))),
            Self::Elected(sentinels) => sentinels.locate().await,
        }
    }

    /// Returns the number of the current primary. It grows whenever another server becomes the
    /// primary, and connections to the one before are then useless.
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Elected(sentinels) => sentinels.number(),
        }
    }

    /// Returns which server was the primary at most `max_age` ago. Asks the sentinels if this is
    /// not known.
    pub(super) async fn confirm(&self, max_age: Duration) -> Result<Confirmed, StoreError> {
        match self {
            Self::Fixed(_) => Ok(Confirmed { number: 0, at: None }),
            Self::Elected(sentinels) => sentinels.confirm(max_age).await,
        }
    }

    /// Returns once the primary is another than the one with this number.
    pub(super) async fn replaced(&self, number: u64) {
        match self {
            Self::Fixed(_) => pending().await,
            Self::Elected(sentinels) => sentinels.replaced(number).await,
        }
    }
}
