//! The suite as its package ships it: its origin, its client, its rules.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use super::FOLDER;
use super::report::Report;
use crate::error::{Doing, Error, Result};
use crate::process::Process;
use crate::{paths, port};

const READY_LIMIT: Duration = Duration::from_secs(30);
// About a minute on an idle machine; each case waits seconds for responses to become stale.
const RUN_LIMIT: Duration = Duration::from_secs(15 * 60);

/// A folder with the suite.
pub(crate) struct Suite {
    folder: PathBuf,
    scripts: serde_json::Value,
}

/// The suite's origin; stops when dropped.
pub(crate) struct Origin {
    url: String,
    _process: Process,
    _folder: TempDir,
}

impl Origin {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Suite {
    /// The suite in `folder`, or the pinned one.
    ///
    /// # Errors
    /// If there is no such suite in it.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self> {
        let folder = folder.map_or_else(|| paths::node_module("http-cache-tests"), Path::to_path_buf);
        let expected = || format!("{}: expected a copy of http-cache-tests", folder.display());
        let package = std::fs::read_to_string(folder.join("package.json")).doing(expected)?;
        let mut package: serde_json::Value = serde_json::from_str(&package).doing(expected)?;
        let folder = folder.canonicalize().doing(expected)?;
        Ok(Self { folder, scripts: package["scripts"].take() })
    }

    /// Starts the origin that answers as the cases ask.
    pub(crate) async fn start_origin(&self, client: &reqwest::Client) -> Result<Origin> {
        let folder = paths::temporary()?;
        let port = port::free()?.to_string();
        let mut command = self.script("server")?;
        command
            .env("npm_config_protocol", "http")
            .env("npm_config_port", &port)
            .env("npm_config_pidfile", folder.path().join("server.pid"));
        let mut process = Process::spawn("the suite's origin", command, None)?;
        let url = format!("http://127.0.0.1:{port}");
        process.wait_ready(READY_LIMIT, async || client.get(&url).send().await.is_ok()).await?;
        Ok(Origin { url, _process: process, _folder: folder })
    }

    /// Runs all cases through the cache at `base`; what comes back is the suite's JSON.
    pub(crate) async fn run(&self, base: &str) -> Result<String> {
        let mut command = self.script("cli")?;
        command.env("npm_config_base", base);
        let run = printed("the suite's client", command);
        tokio::time::timeout(RUN_LIMIT, run)
            .await
            .map_err(|_| Error::new(format!("the suite did not end within {} s", RUN_LIMIT.as_secs())))?
    }

    /// What the suite's own rules say of its results.
    pub(crate) async fn judge(&self, results: &str) -> Result<Report> {
        let folder = paths::temporary()?;
        let file = folder.path().join("results.json");
        std::fs::write(&file, results).doing(|| format!("writing {}", file.display()))?;
        let mut command = Command::new(paths::node());
        command.arg(paths::root().join(FOLDER).join("describe.mjs")).arg(&self.folder).arg(&file);
        let described = printed("judging the results", command).await?;
        serde_json::from_str(&described).doing(|| "reading what describe.mjs printed".to_owned())
    }

    /// One of the package's scripts, without the `&` that some put at the end, on the project's node.
    fn script(&self, name: &str) -> Result<Command> {
        let script = self.scripts[name].as_str().ok_or_else(|| {
            Error::new(format!("{}: expected a script \"{name}\" in package.json", self.folder.display()))
        })?;
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec {}", script.trim_end_matches(['&', ' ']))])
            .current_dir(&self.folder)
            .env("PATH", paths::path_with_node_tools())
            // The scripts read npm's variables, and take the absence of this one for a case's name.
            .env("npm_config_id", "")
            .env("npm_package_config_id", "");
        Ok(command)
    }
}

/// What a program printed, once it has ended well.
async fn printed(what: &str, mut command: Command) -> Result<String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let output = child.doing(|| what.to_owned())?.wait_with_output().await.doing(|| what.to_owned())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("{what} failed ({}): {said}", output.status)));
    }
    String::from_utf8(output.stdout).doing(|| what.to_owned())
}
