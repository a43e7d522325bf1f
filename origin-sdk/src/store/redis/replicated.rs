//! Appending records that no failover loses, for a writer that ends at once.
//!
//! A process that goes on remembers what it has appended, and finds it missing after a failover.

use std::sync::Arc;
use std::time::Duration;

use shared_keys::{Mode, Position, Scope};
use tokio::time::{Instant, sleep};

use super::RedisStore;
use super::primary::Primary;
use super::sentinels::Sentinels;
use crate::error::StoreError;
use crate::journal::records;
use crate::store::JournalStore;

/// How long to wait for the replicas. Each reports once per second what it has.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two looks at the replicas.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

impl RedisStore {
    /// Appends the records of an invalidation, and returns the position of the last one. With
    /// sentinels, waits until each replica that they could promote has all of them, and appends
    /// them again to another primary.
    ///
    /// # Errors
    /// If a server or the sentinels fail, or a replica does not have the records in time. They are
    /// then in effect all the same.
    pub(crate) async fn append_replicated(
        &self,
        mode: Mode,
        scopes: &[Scope],
    ) -> Result<Position, StoreError> {
        loop {
            let number = self.primary.confirm(Duration::MAX).await?.number;
            let mut position = Position::ZERO;
            for record in records(scopes) {
                position = self.append(position, mode, record, None).await?.position;
            }
            let is_safe = match &self.primary {
                Primary::Fixed(_) => true,
                Primary::Elected(sentinels) => self.replicate(sentinels, number).await?,
            };
            if is_safe {
                return Ok(position);
            }
        }
    }

    /// Waits until each replica that the sentinels could promote has what the primary with this
    /// number has taken so far. Returns `false` if another one has become the primary.
    async fn replicate(&self, sentinels: &Arc<Sentinels>, number: u64) -> Result<bool, StoreError> {
        let deadline = Instant::now() + TIMEOUT;
        let taken = Replication::parse(&self.replication_info().await?).offset;
        loop {
            let expected = sentinels.promotable().await?;
            let got = Replication::parse(&self.replication_info().await?).replicas_at(taken);
            // Checked last, so that both replies are the primary's.
            if sentinels.confirm(Duration::ZERO).await?.number != number {
                return Ok(false);
            }
            if got >= expected {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Err(StoreError::NotReplicated { expected, got, timeout: TIMEOUT });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn replication_info(&self) -> Result<String, StoreError> {
        self.commands.run(redis::cmd("INFO").arg("replication")).await
    }
}

/// The replication offsets of a primary: its own, and the one that each online replica has
/// confirmed. In bytes since the beginning.
#[derive(Debug, PartialEq, Eq)]
struct Replication {
    offset: u64,
    replicas: Vec<u64>,
}

impl Replication {
    fn parse(info: &str) -> Self {
        let lines = info.lines().filter_map(|line| line.trim_end().split_once(':'));
        let (mut offset, mut replicas) = (0, Vec::new());
        for (name, value) in lines {
            if name == "master_repl_offset" {
                offset = value.parse().unwrap_or(0);
            } else if name.starts_with("slave") && value.contains("state=online") {
                let confirmed = value.split(',').find_map(|field| field.strip_prefix("offset="));
                replicas.extend(confirmed.and_then(|offset| offset.parse::<u64>().ok()));
            }
        }
        Self { offset, replicas }
    }

    /// Returns how many replicas have confirmed this offset.
    fn replicas_at(&self, offset: u64) -> usize {
        self.replicas.iter().filter(|confirmed| **confirmed >= offset).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replicas_that_have_confirmed_an_offset_are_counted() {
        let info = "role:master\r\nconnected_slaves:3\r\n\
            slave0:ip=a,port=1,state=online,offset=70,lag=1\r\n\
            slave1:ip=a,port=2,state=online,offset=69,lag=0\r\n\
            slave2:ip=a,port=3,state=wait_bgsave,offset=90,lag=0\r\n\
            master_repl_offset:70\r\n";
        let replication = Replication::parse(info);
        assert_eq!(replication, Replication { offset: 70, replicas: vec![70, 69] });
        assert_eq!((replication.replicas_at(70), replication.replicas_at(69)), (1, 2));
    }
}
