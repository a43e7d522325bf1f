//! Programs that are run to their end: shown, behind a spinner, or for what they print.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use crate::error::{Doing, Error, Result};
use crate::group::Group;
use crate::paths;
use crate::progress::Progress;

/// A command that will run in the project's root.
pub(crate) fn command<const N: usize>(program: impl AsRef<std::ffi::OsStr>, args: [&str; N]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(paths::root()).args(args);
    command
}

/// Cargo itself, with the target folder that the commands look in.
pub(crate) fn cargo<const N: usize>(args: [&str; N]) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args);
    cargo.env("CARGO_TARGET_DIR", paths::target());
    cargo
}

/// Runs it with everything that it prints shown.
///
/// # Errors
/// If it cannot be started or does not succeed; `what` reads like "building the shop".
pub(crate) async fn run_shown(what: &str, command: Command) -> Result<()> {
    let mut group = Group::spawn(what, command)?;
    let status = group.child().wait().await.doing(|| what.to_owned())?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(format!("{what} failed ({status})")).mend("see what it printed above"))
}

/// Runs it behind a progress line; what it prints is shown only if it fails.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub(crate) async fn run_quietly(what: &str, hint: Option<&str>, command: Command) -> Result<()> {
    run_for_lines(what, hint, command).await.map(drop)
}

/// The same, and what it printed to either output.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub(crate) async fn run_for_lines(what: &str, hint: Option<&str>, mut command: Command) -> Result<Vec<String>> {
    let progress = Progress::start(what, hint);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(what, command)?;
    let (out, err) = (group.child().stdout.take(), group.child().stderr.take());
    let (out, err, status) = tokio::join!(lines(out), lines(err), group.child().wait());
    let printed = out.into_iter().chain(err);
    if status.doing(|| what.to_owned())?.success() {
        progress.done();
        return Ok(printed.collect());
    }
    drop(progress);
    for line in printed {
        eprintln!("  {line}");
    }
    Err(Error::new(format!("{what} failed")).mend("see what it printed above, then run the command again"))
}

async fn lines(stream: Option<impl AsyncRead + Unpin>) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(stream) = stream else { return lines };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
        lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
    lines
}

/// What a program prints to its standard output, or `None` if it is missing or fails.
pub(crate) fn output(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Option<String> {
    let output =
        std::process::Command::new(program).args(args).current_dir(paths::root()).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_step_is_an_error_that_names_it() {
        let error = run_quietly("trying", None, command("sh", ["-c", "echo why; exit 1"])).await.unwrap_err();
        assert!(error.to_string().starts_with("trying failed"), "{error}");
        assert!(run_quietly("trying", None, command("true", [])).await.is_ok());
    }

    #[test]
    fn a_missing_program_prints_nothing() {
        assert_eq!(output("no-such-program-anywhere", &[]), None);
        assert_eq!(output("echo", &["0.8.7"]).as_deref(), Some("0.8.7"));
    }
}
