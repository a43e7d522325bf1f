//! The edge worker in workerd, started by `wrangler dev`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use strata_harness::error::{Context, Result};
use strata_harness::{Lines, Placement, Process};

use crate::commands::setup;
use crate::{http, paths};

/// wrangler is ready after 2 to 12 s on an idle machine, and later on a busy one.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// A running worker; stops when dropped.
pub(crate) struct Worker {
    process: Process,
    url: String,
    _folder: TempDir,
}

/// The settings of a worker.
pub(crate) struct Settings<'a> {
    pub(crate) port: u16,
    /// Base URL that requests are forwarded to.
    pub(crate) origin: &'a str,
    /// The key of the signatures of purge messages, which the shop has too.
    pub(crate) purge_secret: &'a str,
    /// Whether the worker prints a line per request and its other messages, which costs time under
    /// load.
    pub(crate) log_requests: bool,
    /// More variables of wrangler.toml, as "NAME:value".
    pub(crate) vars: &'a [&'a str],
    /// Another wrangler.toml in place of the project's.
    pub(crate) config: Option<&'a Path>,
}

impl Worker {
    /// Starts the worker, without waiting until it answers. wrangler builds it unless that was
    /// done.
    ///
    /// # Errors
    /// If wrangler cannot be installed or started.
    pub(crate) async fn start(settings: &Settings<'_>, lines: Option<&Lines>) -> Result<Self> {
        setup::node_tools().await?;
        let folder = paths::temporary()?;
        let secrets = folder.path().join("secrets.env");
        write_private(&secrets, &format!("PURGE_SECRET={}\n", settings.purge_secret))?;
        let mut command = wrangler();
        command
            .args(["dev", "--ip", "127.0.0.1", "--port", &settings.port.to_string()])
            .args(["--inspector-port", "0", "--show-interactive-dev-session=false"])
            .args(["--log-level", if settings.log_requests { "log" } else { "warn" }])
            .args(["--var", &format!("ORIGIN:{}", settings.origin)])
            .args(["--var", &format!("LOG_REQUESTS:{}", u8::from(settings.log_requests))])
            .arg("--env-file")
            .arg(&secrets)
            .arg("--persist-to")
            .arg(folder.path().join("state"))
            // Several workers of this name can run at once. A registry of its own hides the others.
            .env("WRANGLER_REGISTRY_PATH", folder.path().join("registry"))
            .env("WRANGLER_LOG_PATH", folder.path().join("logs"));
        for var in settings.vars {
            command.args(["--var", var]);
        }
        if let Some(config) = settings.config {
            command.arg("--config").arg(config);
        }
        Ok(Self {
            process: Process::spawn("edge", command, Placement::OwnGroup, lines)?,
            url: format!("http://127.0.0.1:{}", settings.port),
            _folder: folder,
        })
    }

    /// Waits up to 90 s until the worker answers.
    ///
    /// # Errors
    /// If it ends or does not answer in time.
    pub(crate) async fn wait_ready(&mut self, client: &reqwest::Client) -> Result<()> {
        let health = format!("{}/__strata/health", self.url);
        self.process.wait_ready(READY_LIMIT, async || http::answers(client, &health).await).await
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Returns wrangler on the node that npm installed, without prompts, telemetry or calls to
/// Cloudflare.
fn wrangler() -> Command {
    let mut wrangler = Command::new(paths::node());
    wrangler
        .arg(paths::node_module("wrangler/bin/wrangler.js"))
        .current_dir(paths::root())
        .env("PATH", paths::path_with_node_tools())
        .env("CARGO_TARGET_DIR", paths::target())
        .env("CI", "1")
        .env("NO_COLOR", "1")
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_HIDE_BANNER", "true")
        // Without this it fetches an example of `Request.cf` from Cloudflare, and warns if it
        // cannot.
        .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
        .env("CLOUDFLARE_LOAD_DEV_VARS_FROM_DOT_ENV", "true");
    wrangler
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_can_read_the_secrets_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.env");
        write_private(&path, "PURGE_SECRET=x\n").unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
