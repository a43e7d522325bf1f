//! Long-running children (Redis, the shop, the worker): their lines forwarded, their start awaited, their end certain.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::group::Group;

const POLL: Duration = Duration::from_millis(50);
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(1);
// Enough for a stack trace; what came earlier is no longer why it ended.
const KEPT_LINES: usize = 20;

/// One line that a child printed.
pub(crate) struct Line {
    /// The child's name, such as "shop-a".
    pub(crate) who: Arc<str>,
    pub(crate) text: String,
}

/// Where the lines of all children go.
pub(crate) type Lines = UnboundedSender<Line>;

/// A running child. Dropping it stops it and everything that it started.
pub(crate) struct Process {
    name: Arc<str>,
    group: Group,
    readers: Vec<JoinHandle<()>>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts it; its lines go to `lines`, or nowhere if that is `None`.
    pub(crate) fn spawn(name: &str, mut command: Command, lines: Option<&Lines>) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::spawn(name, command)?;
        let name: Arc<str> = name.into();
        let last_lines = Arc::default();
        let reader = Reader { who: Arc::clone(&name), lines: lines.cloned(), last_lines: Arc::clone(&last_lines) };
        let out = group.child().stdout.take().map(|out| tokio::spawn(reader.clone().read(out)));
        let err = group.child().stderr.take().map(|err| tokio::spawn(reader.read(err)));
        Ok(Self { name, group, readers: out.into_iter().chain(err).collect(), last_lines })
    }

    /// Comes back when `ready` says so.
    ///
    /// # Errors
    /// If the child ends before, or `limit` passes; its last lines are then printed.
    pub(crate) async fn wait_ready(&mut self, limit: Duration, mut ready: impl AsyncFnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            self.check().await?;
            if ready().await {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.print_last_lines();
                let wrong = format!("{} was not ready after {} s", self.name, limit.as_secs());
                return Err(Error::new(wrong).mend("see what it said above"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Is an error if the child has ended.
    pub(crate) async fn check(&mut self) -> Result<()> {
        let Some(status) = self.group.ended() else { return Ok(()) };
        // What it said last may still be in the pipes, which a descendant can hold open.
        for reader in self.readers.drain(..) {
            let _ = tokio::time::timeout(LAST_WORDS_LIMIT, reader).await;
        }
        self.print_last_lines();
        let wrong = format!("{} ended by itself ({status})", self.name);
        Err(Error::new(wrong).mend("see what it said above"))
    }

    /// Asks it to stop and does not wait; dropping waits.
    pub(crate) fn ask_to_stop(&self) {
        self.group.ask_to_stop();
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
    who: Arc<str>,
    lines: Option<Lines>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

impl Reader {
    /// Reads to the end whether or not anyone listens: a full pipe would stop the child.
    async fn read(self, stream: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
            self.pass_on(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    }

    fn pass_on(&self, text: String) {
        // Lines about requests are many and never say why a child ended.
        if !text.starts_with('{') && !text.is_empty() {
            let mut last = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
            if last.len() == KEPT_LINES {
                last.pop_front();
            }
            last.push_back(text.clone());
        }
        if let Some(lines) = &self.lines {
            // Nobody listens any more when the command is on its way out.
            let _ = lines.send(Line { who: Arc::clone(&self.who), text });
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
    async fn lines_arrive_with_the_name_of_who_printed_them() {
        let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let _process = Process::spawn("talker", shell("echo one; echo two >&2; sleep 600"), Some(&send)).unwrap();
        let mut texts = Vec::new();
        while texts.len() < 2 {
            let line = lines.recv().await.unwrap();
            assert_eq!(&*line.who, "talker");
            texts.push(line.text);
        }
        texts.sort();
        assert_eq!(texts, ["one", "two"]);
    }

    #[tokio::test]
    async fn a_child_that_ends_before_it_is_ready_leaves_its_last_lines() {
        let mut process = Process::spawn("broken", shell("echo no such port >&2; exit 2"), None).unwrap();
        let error = process
            .wait_ready(Duration::from_secs(10), async || {
                tokio::time::sleep(POLL).await;
                false
            })
            .await
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("broken ended by itself"), "{error}");
        assert_eq!(process.last_lines(), ["no such port"]);
    }

    #[tokio::test]
    async fn a_child_that_is_never_ready_is_given_up_after_the_limit() {
        let mut process = Process::spawn("slow", shell("sleep 600"), None).unwrap();
        let error = process.wait_ready(Duration::ZERO, async || false).await.unwrap_err();
        assert!(error.to_string().starts_with("slow was not ready"), "{error}");
    }
}
