//! A child with all its descendants: its own process group, which ends together and ends when the value is dropped.
//!
//! wrangler starts workerd and esbuild, cargo starts rustc: killing only the child would leave those behind.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};

use crate::error::{Doing, Error, Result};

// Wrangler needs about a second to close workerd, Redis and the shop a few milliseconds.
const GRACE: Duration = Duration::from_secs(5);
// For descendants whose parent has ended. A dead one counts until process 1 reaps it, which in a container may be never.
const ORPHANS_GRACE: Duration = Duration::from_millis(500);

/// A running child and its descendants. Dropping asks the whole group to stop, waits for it, then kills what is left.
pub(crate) struct Group {
    child: Child,
    id: Pid,
}

impl Group {
    /// Starts the command as the leader of a new group, without an input.
    pub(crate) fn spawn(name: &str, mut command: Command) -> Result<Self> {
        let child = command
            .process_group(0)
            .stdin(std::process::Stdio::null())
            .spawn()
            .doing(|| format!("{name}: starting the program"))?;
        let id = child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .ok_or_else(|| Error::new(format!("{name} ended at once")))?;
        Ok(Self { child, id })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How the child ended, or `None` while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks the whole group to stop and does not wait for it.
    pub(crate) fn ask_to_stop(&self) {
        // The only error is that nobody is left, which is what was asked for.
        let _ = kill_process_group(self.id, Signal::TERM);
    }

    fn wait_until(limit: Duration, mut is_over: impl FnMut() -> bool) {
        let deadline = Instant::now() + limit;
        while !is_over() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.id;
        self.ask_to_stop();
        Self::wait_until(GRACE, || self.ended().is_some());
        Self::wait_until(ORPHANS_GRACE, || test_kill_process_group(id).is_err());
        let _ = kill_process_group(id, Signal::KILL);
        let _ = self.ended();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn shell(script: &str) -> Group {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(std::process::Stdio::piped());
        Group::spawn("sh", command).unwrap()
    }

    #[tokio::test]
    async fn dropping_ends_the_descendants_too() {
        let mut group = shell("(trap '' TERM; sleep 600) & sleep 600 & echo started; wait");
        let mut out = group.child().stdout.take().unwrap();
        let mut started = [0; 8];
        out.read_exact(&mut started).await.unwrap();
        drop(group);
        // All of them held the pipe's other end.
        let closed = tokio::time::timeout(Duration::from_secs(10), out.read(&mut started)).await;
        assert_eq!(closed.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_child_that_ended_says_how() {
        let mut group = shell("exit 3");
        let status = group.child().wait().await.unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(group.ended().and_then(|status| status.code()), Some(3));
    }
}
