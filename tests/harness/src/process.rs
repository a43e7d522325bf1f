//! Long-running children (Redis, the shop, the worker): forwards their lines, waits until they are
//! ready, and stops them.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::group::{Group, Placement};

const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The time that readers get after the child's end: a descendant can hold the pipes open.
const READERS_GRACE: Duration = Duration::from_secs(1);
/// Long enough for a stack trace. Earlier lines rarely say why a child ended.
const MAX_LAST_LINES: usize = 20;

/// One line that a child printed.
pub struct Line {
    /// The child's name, such as "shop-a".
    pub process: Arc<str>,
    /// The line without its line break.
    pub text: String,
}

/// The channel that receives the lines of all children.
pub type Lines = UnboundedSender<Line>;

/// A running child. Dropping it stops it, and its descendants if it has a group of its own.
pub struct Process {
    name: Arc<str>,
    group: Group,
    readers: Vec<JoinHandle<()>>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts the command. Both outputs go to `lines` line by line, or nowhere if that is `None`.
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(
        name: &str,
        mut command: Command,
        placement: Placement,
        lines: Option<&Lines>,
    ) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::spawn(name, command, placement)?;
        let name: Arc<str> = name.into();
        let last_lines = Arc::default();
        let reader =
            Reader { process: Arc::clone(&name), lines: lines.cloned(), last_lines: Arc::clone(&last_lines) };
        let out = group.child().stdout.take().map(|out| tokio::spawn(reader.clone().read(out)));
        let err = group.child().stderr.take().map(|err| tokio::spawn(reader.read(err)));
        Ok(Self { name, group, readers: out.into_iter().chain(err).collect(), last_lines })
    }

    /// Waits until `is_ready` returns `true`, checking every 50 ms.
    ///
    /// # Errors
    /// If the child ends first, or `limit` passes. Its last lines are then printed.
    pub async fn wait_ready(
        &mut self,
        limit: Duration,
        mut is_ready: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            self.check().await?;
            if is_ready().await {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.print_last_lines();
                let problem = format!("{} was not ready after {} s", self.name, limit.as_secs());
                return Err(Error::new(problem).mend("see its output above"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Checks that the child still runs.
    ///
    /// # Errors
    /// If it has ended. Its last lines are then printed.
    pub async fn check(&mut self) -> Result<()> {
        let Some(status) = self.group.exit_status() else { return Ok(()) };
        for reader in self.readers.drain(..) {
            let _ = tokio::time::timeout(READERS_GRACE, reader).await;
        }
        self.print_last_lines();
        let problem = format!("{} ended by itself ({status})", self.name);
        Err(Error::new(problem).mend("see its output above"))
    }

    /// The processor time of the child and its group, as [`Group::processor_time`].
    pub fn processor_time(&self) -> Option<Duration> {
        self.group.processor_time()
    }

    /// Asks the child to stop, without waiting for it; dropping waits.
    pub fn request_stop(&self) {
        self.group.request_stop();
    }

    /// Suspends the child; connections to it stay open.
    pub fn freeze(&self) {
        self.group.freeze();
    }

    /// Resumes the child after [`Process::freeze`].
    pub fn thaw(&self) {
        self.group.thaw();
    }

    /// Kills the child as a crash would, and waits for its end.
    pub fn kill(&mut self) {
        self.group.kill();
    }

    fn print_last_lines(&self) {
        for line in self.last_lines() {
            eprintln!("  {}: {line}", self.name);
        }
    }

    fn last_lines(&self) -> Vec<String> {
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }
}

#[derive(Clone)]
struct Reader {
    process: Arc<str>,
    lines: Option<Lines>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

impl Reader {
    /// Reads to the end even if the channel is closed: a full pipe would block the child.
    async fn read(self, stream: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
            self.forward(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    }

    fn forward(&self, text: String) {
        // Request lines (JSON) would displace those that say why a child ended.
        if !text.starts_with('{') && !text.is_empty() {
            let mut last = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
            if last.len() == MAX_LAST_LINES {
                last.pop_front();
            }
            last.push_back(text.clone());
        }
        if let Some(lines) = &self.lines {
            // The channel is closed while the command ends.
            let _ = lines.send(Line { process: Arc::clone(&self.process), text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn lines_carry_the_name_of_the_process_that_printed_them() {
        let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let _process = Process::spawn(
            "talker",
            shell("echo one; echo two >&2; sleep 600"),
            Placement::OwnGroup,
            Some(&send),
        )
        .unwrap();
        let mut texts = Vec::new();
        while texts.len() < 2 {
            let line = lines.recv().await.unwrap();
            assert_eq!(&*line.process, "talker");
            texts.push(line.text);
        }
        texts.sort();
        assert_eq!(texts, ["one", "two"]);
    }

    #[tokio::test]
    async fn a_child_that_ends_before_it_is_ready_leaves_its_last_lines() {
        let mut process =
            Process::spawn("broken", shell("echo no such port >&2; exit 2"), Placement::OwnGroup, None)
                .unwrap();
        let error = process
            .wait_ready(Duration::from_secs(10), async || {
                tokio::time::sleep(POLL_INTERVAL).await;
                false
            })
            .await
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("broken ended by itself"), "{error}");
        assert_eq!(process.last_lines(), ["no such port"]);
    }

    #[tokio::test]
    async fn a_child_that_is_never_ready_fails_after_the_limit() {
        let mut process = Process::spawn("slow", shell("sleep 600"), Placement::OwnGroup, None).unwrap();
        let error = process.wait_ready(Duration::ZERO, async || false).await.unwrap_err();
        assert!(error.to_string().starts_with("slow was not ready"), "{error}");
    }
}
