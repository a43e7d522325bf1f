//! A child process together with its descendants, all of which end when the value is dropped.
//!
//! wrangler starts workerd and esbuild, and cargo starts rustc. Killing only the child would leave
//! those behind.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};

use crate::error::{Context, Error, Result};

/// The process group that a child belongs to, and so which processes its signals reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// A new group that the child leads. Signals reach its descendants too, and Ctrl-C reaches only
    /// the caller: for callers that handle it by dropping the value, such as xtask.
    OwnGroup,
    /// The caller's group. Ctrl-C ends the child directly, which a test relies on since it has no
    /// signal handler. Stopping signals only the child, which must stop its descendants itself.
    CallersGroup,
}

impl Placement {
    /// The time that a child gets to stop before it is killed.
    const fn grace(self) -> Duration {
        match self {
            // wrangler needs about a second to close workerd; Redis and the shop need milliseconds.
            Self::OwnGroup => Duration::from_secs(5),
            // The child can be an xtask, which in turn gives its own children 5 s.
            Self::CallersGroup => Duration::from_secs(15),
        }
    }
}

/// The time that orphaned descendants get. In a container a dead orphan may never be reaped, so it
/// would count as running for ever.
const ORPHANS_GRACE: Duration = Duration::from_millis(500);

/// The unit of processor time in `/proc` (`USER_HZ` of Linux).
const TICK_MS: u64 = 10;

/// A running child and its descendants. Dropping it asks all of them to stop, waits, and kills
/// those that remain.
pub struct Group {
    child: Child,
    id: Pid,
    placement: Placement,
}

impl Group {
    /// Starts the command without an input. `name` stands in the error message.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(name: &str, mut command: Command, placement: Placement) -> Result<Self> {
        if placement == Placement::OwnGroup {
            command.process_group(0);
        }
        let child = command
            .stdin(std::process::Stdio::null())
            .spawn()
            .context(|| format!("{name}: starting {}", command.as_std().get_program().display()))?;
        let id = child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .ok_or_else(|| Error::new(format!("{name} ended at once")))?;
        Ok(Self { child, id, placement })
    }

    /// The child itself, for its output streams.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The child's exit status, or `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The processor time that the living processes of the child's group have used. `None` if
    /// the system does not state it, as only Linux does.
    pub fn processor_time(&self) -> Option<Duration> {
        let group = self.id.as_raw_nonzero().get();
        let entries = std::fs::read_dir("/proc").ok()?;
        let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
        let ticks: u64 = stats.filter_map(|stat| ticks_of(&stat, group)).sum();
        (ticks > 0).then(|| Duration::from_millis(ticks * TICK_MS))
    }

    /// Asks the child (and its group) to stop, without waiting for it.
    pub fn request_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Suspends the child (and its group); connections to it stay open.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes the child (and its group) after [`Group::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the child (and its group) as a crash would, and waits for the child's end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        wait_until(Placement::OwnGroup.grace(), || self.exit_status().is_some());
    }

    fn signal(&self, signal: Signal) {
        // The only possible error is that no process is left, which is no failure.
        let _ = match self.placement {
            Placement::OwnGroup => kill_process_group(self.id, signal),
            // The id of a child that was waited for may belong to another process by now.
            Placement::CallersGroup if self.child.id().is_some() => kill_process(self.id, signal),
            Placement::CallersGroup => Ok(()),
        };
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.request_stop();
        wait_until(self.placement.grace(), || self.exit_status().is_some());
        if self.placement == Placement::OwnGroup {
            wait_until(ORPHANS_GRACE, || test_kill_process_group(self.id).is_err());
        }
        self.signal(Signal::KILL);
        let _ = self.exit_status();
    }
}

/// Returns the ticks that a process has used, by its `/proc/PID/stat` (proc(5)); `None` if it is
/// not of this group.
fn ticks_of(stat: &str, group: i32) -> Option<u64> {
    // The second field is the program's name in parentheses, which may contain spaces.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let is_member = fields.get(2)?.parse() == Ok(group);
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    is_member.then(|| Some(number(11)? + number(12)?)).flatten()
}

/// Polls until the condition holds or the limit has passed.
fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn shell(script: &str, placement: Placement) -> Group {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(std::process::Stdio::piped());
        Group::spawn("sh", command, placement).unwrap()
    }

    #[tokio::test]
    async fn dropping_ends_the_descendants_too() {
        let script = "(trap '' TERM; sleep 600) & sleep 600 & echo started; wait";
        let mut group = shell(script, Placement::OwnGroup);
        let mut out = group.child().stdout.take().unwrap();
        let mut started = [0; 8];
        out.read_exact(&mut started).await.unwrap();
        drop(group);
        // Every process held the pipe's other end.
        let closed = tokio::time::timeout(Duration::from_secs(10), out.read(&mut started)).await;
        assert_eq!(closed.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_child_in_the_callers_group_ends_alone() {
        let mut group = shell("echo started; exec sleep 600", Placement::CallersGroup);
        let mut out = group.child().stdout.take().unwrap();
        let mut started = [0; 8];
        out.read_exact(&mut started).await.unwrap();
        drop(group);
        let closed = tokio::time::timeout(Duration::from_secs(10), out.read(&mut started)).await;
        assert_eq!(closed.unwrap().unwrap(), 0);
    }

    #[test]
    fn the_ticks_of_a_process_count_for_its_group() {
        let stat = "12 (a) b) S 1 34 34 0 -1 4194304 1 0 0 0 70 8 0 0 20 0 1 0 5 6 7";
        assert_eq!((ticks_of(stat, 34), ticks_of(stat, 12)), (Some(78), None));
    }

    #[tokio::test]
    async fn the_exit_status_of_an_ended_child_is_known() {
        let mut group = shell("exit 3", Placement::OwnGroup);
        let status = group.child().wait().await.unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(group.exit_status().and_then(|status| status.code()), Some(3));
    }
}
