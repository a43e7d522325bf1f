//! Programs that run to their end: with their output shown, behind a progress line, or for what
//! they print.

use std::process::Stdio;

use strata_harness::error::{Context, Error, Result};
use strata_harness::{Group, Placement};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use crate::paths;
use crate::progress::Progress;

/// Returns a command that runs in the project's root.
pub(crate) fn command<const N: usize>(program: impl AsRef<std::ffi::OsStr>, args: [&str; N]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(paths::root()).args(args);
    command
}

/// Returns a command that runs cargo with the target folder of [`paths::target`].
pub(crate) fn cargo<const N: usize>(args: [&str; N]) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args);
    cargo.env("CARGO_TARGET_DIR", paths::target());
    cargo
}

/// Runs the command and shows its output. `step` reads like "building the shop".
///
/// # Errors
/// If it cannot be started or fails.
pub(crate) async fn run_shown(step: &str, command: Command) -> Result<()> {
    let mut group = Group::spawn(step, command, Placement::OwnGroup)?;
    let status = group.child().wait().await.context(|| step.to_owned())?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(format!("{step} failed ({status})")).mend("see its output above"))
}

/// Runs the command behind a progress line, and shows its output only if it fails.
///
/// # Errors
/// If it cannot be started or fails.
pub(crate) async fn run_quietly(step: &str, usual_time: Option<&str>, command: Command) -> Result<()> {
    run_for_lines(step, usual_time, command).await.map(drop)
}

/// As [`run_quietly`]; returns the lines that it printed, those of its standard output first.
///
/// # Errors
/// If it cannot be started or fails.
pub(crate) async fn run_for_lines(
    step: &str,
    usual_time: Option<&str>,
    mut command: Command,
) -> Result<Vec<String>> {
    let progress = Progress::start(step, usual_time);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(step, command, Placement::OwnGroup)?;
    let (out, err) = (group.child().stdout.take(), group.child().stderr.take());
    let (out, err, status) =
        tokio::join!(read_lines(out, &progress), read_lines(err, &progress), group.child().wait());
    let printed = out.into_iter().chain(err);
    if status.context(|| step.to_owned())?.success() {
        progress.done();
        return Ok(printed.collect());
    }
    drop(progress);
    for line in printed {
        eprintln!("  {line}");
    }
    Err(Error::new(format!("{step} failed")).mend("see its output above, then run the command again"))
}

async fn read_lines(stream: Option<impl AsyncRead + Unpin>, progress: &Progress) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(stream) = stream else { return lines };
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut bytes).await {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        progress.show_output(&line);
        lines.push(line);
        bytes.clear();
    }
    lines
}

/// Returns a program's standard output, or `None` if it is missing or fails.
pub(crate) fn output(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Option<String> {
    let output = std::process::Command::new(program)
        .args(args)
        .current_dir(paths::root())
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a program and returns its standard output.
///
/// # Errors
/// If it cannot be started or fails, with its error output.
pub(crate) async fn printed(step: &str, mut command: Command) -> Result<String> {
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let output = child.context(|| step.to_owned())?.wait_with_output().await.context(|| step.to_owned())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("{step} failed ({}): {said}", output.status)));
    }
    String::from_utf8(output.stdout).context(|| step.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_error_of_a_failed_step_names_it() {
        let error = run_quietly("trying", None, command("sh", ["-c", "echo why; exit 1"])).await.unwrap_err();
        assert!(error.to_string().starts_with("trying failed"), "{error}");
        assert!(run_quietly("trying", None, command("true", [])).await.is_ok());
    }

    #[test]
    fn a_missing_program_has_no_output() {
        assert_eq!(output("no-such-program-anywhere", &[]), None);
        assert_eq!(output("echo", &["0.8.7"]).as_deref(), Some("0.8.7"));
    }
}
