//! The suite's package: its origin, its client, its rules of judgement.

use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_harness::error::{Context, Error, Result};
use strata_harness::{Placement, Process, port};
use tempfile::TempDir;
use tokio::process::Command;

use super::FOLDER;
use super::report::Report;
use crate::command::printed;
use crate::paths;

const READY_LIMIT: Duration = Duration::from_secs(30);
/// A run takes about a minute on an idle machine: each case waits seconds for responses to become
/// stale.
const RUN_LIMIT: Duration = Duration::from_secs(15 * 60);

/// A copy of the suite.
pub(crate) struct Suite {
    folder: PathBuf,
    scripts: serde_json::Value,
}

/// The running origin of the suite. Stops when dropped.
pub(crate) struct Origin {
    url: String,
    _process: Process,
    _folder: TempDir,
}

impl Origin {
    /// Its base URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Suite {
    /// Opens the suite in `folder`, or the pinned one.
    ///
    /// # Errors
    /// If the folder contains no suite.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self> {
        let folder = folder.map_or_else(|| paths::node_module("http-cache-tests"), Path::to_path_buf);
        let expected = || format!("{}: expected a copy of http-cache-tests", folder.display());
        let package = std::fs::read_to_string(folder.join("package.json")).context(expected)?;
        let mut package: serde_json::Value = serde_json::from_str(&package).context(expected)?;
        let folder = folder.canonicalize().context(expected)?;
        Ok(Self { folder, scripts: package["scripts"].take() })
    }

    /// Starts the origin, whose answers the client configures per case.
    ///
    /// # Errors
    /// If it cannot be started or does not answer within 30 s.
    pub(crate) async fn start_origin(&self, client: &reqwest::Client) -> Result<Origin> {
        let folder = paths::temporary()?;
        let port = port::free()?.to_string();
        let mut command = self.script("server")?;
        command
            .env("npm_config_protocol", "http")
            .env("npm_config_port", &port)
            .env("npm_config_pidfile", folder.path().join("server.pid"));
        let mut process = Process::spawn("the suite's origin", command, Placement::OwnGroup, None)?;
        let url = format!("http://127.0.0.1:{port}");
        process.wait_ready(READY_LIMIT, async || client.get(&url).send().await.is_ok()).await?;
        Ok(Origin { url, _process: process, _folder: folder })
    }

    /// Runs all cases through the cache at `base` and returns the suite's JSON.
    ///
    /// # Errors
    /// If the client fails or takes longer than 15 min.
    pub(crate) async fn run(&self, base: &str) -> Result<String> {
        let mut command = self.script("cli")?;
        command.env("npm_config_base", base);
        let run = printed("the suite's client", command);
        tokio::time::timeout(RUN_LIMIT, run)
            .await
            .map_err(|_| Error::new(format!("the suite did not end within {} s", RUN_LIMIT.as_secs())))?
    }

    /// Judges the results by the suite's own rules.
    ///
    /// # Errors
    /// If the rules cannot be run.
    pub(crate) async fn judge(&self, results: &str) -> Result<Report> {
        let folder = paths::temporary()?;
        let file = folder.path().join("results.json");
        std::fs::write(&file, results).context(|| format!("writing {}", file.display()))?;
        let mut command = Command::new(paths::node());
        command.arg(paths::root().join(FOLDER).join("describe.mjs")).arg(&self.folder).arg(&file);
        let described = printed("judging the results", command).await?;
        serde_json::from_str(&described).context(|| "reading what describe.mjs printed".to_owned())
    }

    /// Returns one of the package's scripts, without the `&` at the end of some, on the project's
    /// node.
    fn script(&self, name: &str) -> Result<Command> {
        let script = self.scripts[name].as_str().ok_or_else(|| {
            Error::new(format!("{}: expected a script \"{name}\" in package.json", self.folder.display()))
        })?;
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec {}", script.trim_end_matches(['&', ' ']))])
            .current_dir(&self.folder)
            .env("PATH", paths::path_with_node_tools())
            // The scripts take the id of a single case from npm's variables. If they are unset,
            // they look for a case named "undefined".
            .env("npm_config_id", "")
            .env("npm_package_config_id", "");
        Ok(command)
    }
}
