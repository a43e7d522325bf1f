//! The processor time that this process and Redis have used.

use std::fs;
use std::time::Duration;

use redis::Client;

use super::Result;

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
        Ok(Self { client: of_this_process(), server: of_server(&info) })
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

/// Reads the time from the section `cpu` of Redis's `INFO`.
fn of_server(info: &str) -> Duration {
    let seconds = info.lines().filter_map(|line| {
        let (name, seconds) = line.split_once(':')?;
        matches!(name, "used_cpu_sys" | "used_cpu_user").then_some(seconds.trim().parse::<f64>().ok()?)
    });
    Duration::from_secs_f64(seconds.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_server_is_that_of_user_and_kernel() {
        let info = "# CPU\r\nused_cpu_sys:0.25\r\nused_cpu_user:1.5\r\nused_cpu_sys_children:9.0\r\n";
        assert_eq!(of_server(info), Duration::from_millis(1_750));
    }
}
