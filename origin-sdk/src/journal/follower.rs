//! The background task that keeps a process up with the journal.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Journal;

/// The longest wait for a record. Each end of it is a heartbeat: the process learns that there is nothing new.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Records that come within so long are fetched together, so that a thousand processes do not cost Redis a thousand
/// replies a record.
const BATCH: Duration = Duration::from_millis(2);
/// Between attempts while the store cannot be reached.
const RETRY: Duration = Duration::from_millis(100);

/// Follows the journal until the cache that owns it is dropped.
pub(crate) async fn follow_forever(journal: Weak<Journal>) {
    while let Some(journal) = journal.upgrade() {
        if let Err(error) = step(&journal).await {
            tracing::debug!(%error, "the journal cannot be followed");
            drop(journal);
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn step(journal: &Arc<Journal>) -> Result<(), crate::error::StoreError> {
    journal.catch_up().await?;
    journal.flush_queue().await?;
    let position = journal.position();
    let store = Arc::clone(&journal.store);
    store.wait(position, HEARTBEAT).await?;
    tokio::time::sleep(BATCH).await;
    Ok(())
}
