//! The background task that keeps a process up with the journal.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Journal;
use crate::error::StoreError;

/// The longest wait for a record, though not longer than a quarter of the lag that is allowed. Each end of it is a
/// heartbeat: the process learns that there is nothing new.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Records that come within so long are fetched together, so that a thousand processes do not cost Redis a thousand
/// replies a record.
const BATCH: Duration = Duration::from_millis(2);
/// Between attempts while the store cannot be reached.
const RETRY: Duration = Duration::from_millis(100);

/// Follows the journal until the cache that owns it is dropped.
pub(crate) async fn follow_forever(journal: Weak<Journal>) {
    let mut is_lost = false;
    while let Some(journal) = journal.upgrade() {
        match step(&journal).await {
            Ok(()) if is_lost => {
                tracing::info!("the journal is followed again");
                is_lost = false;
            }
            Ok(()) => {}
            Err(error) => {
                if !is_lost {
                    tracing::warn!(%error, "the journal cannot be followed; retrying");
                    is_lost = true;
                }
                drop(journal);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn step(journal: &Arc<Journal>) -> Result<(), StoreError> {
    journal.catch_up().await?;
    journal.flush_queue().await?;
    journal.store.wait(journal.position(), HEARTBEAT.min(journal.max_lag / 4)).await?;
    tokio::time::sleep(BATCH).await;
    Ok(())
}
