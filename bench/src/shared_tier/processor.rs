//! The processor time that this process and Redis have used.

use std::fs;
use std::time::Duration;

use redis::Client;

use super::Result;
use crate::server::processor_time;

/// Processor time since the start of each process.
#[derive(Clone, Copy)]
pub(super) struct Used {
    /// This process; zero where the kernel is not Linux.
    pub(super) client: Duration,
    pub(super) server: Duration,
}

impl Used {
    pub(super) async fn now(url: &str) -> Result<Self> {
        let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
        let info: String = redis::cmd("INFO").arg("cpu").query_async(&mut connection).await?;
        Ok(Self { client: of_this_process(), server: processor_time(&info)? })
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        Self { client: self.client - earlier.client, server: self.server - earlier.server }
    }
}

/// Sums the times of all threads, which Linux counts in nanoseconds.
fn of_this_process() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        times.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}
