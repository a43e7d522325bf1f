//! The background task that follows the journal.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Journal;
use crate::error::StoreError;

/// The longest wait for a record; a quarter of the maximum lag if that is shorter. After each wait
/// the process catches up, which confirms that it is current even if there is no record.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long to collect records before fetching them together. Without it, a thousand processes
/// would cost Redis a thousand replies for each record.
const BATCH: Duration = Duration::from_millis(2);
/// The pause between attempts while the store is unavailable.
const RETRY: Duration = Duration::from_millis(100);

/// Follows the journal and flushes the queue, until the cache that owns the journal is dropped.
pub(crate) async fn follow_forever(journal: Weak<Journal>) {
    let mut is_disconnected = false;
    while let Some(journal) = journal.upgrade() {
        match step(&journal).await {
            Ok(()) if is_disconnected => {
                tracing::info!("following the journal again");
                is_disconnected = false;
            }
            Ok(()) => {}
            Err(error) => {
                if !is_disconnected {
                    tracing::warn!(%error, "following the journal failed; retrying until the store is reachable");
                    is_disconnected = true;
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
