//! The edge worker in workerd, run by `wrangler dev`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::error::{Doing, Result};
use crate::process::{Lines, Process};
use crate::{http, paths, setup};

// Wrangler is ready in 2 to 12 s here; a loaded machine takes its time.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// A running worker; stops when dropped.
pub(crate) struct Worker {
    process: Process,
    url: String,
    _folder: TempDir,
}

/// What the worker is started with.
pub(crate) struct Settings<'a> {
    pub(crate) port: u16,
    /// Base URL that requests are forwarded to.
    pub(crate) origin: &'a str,
    /// Shared with the shop, which signs its purge calls with it.
    pub(crate) purge_secret: &'a str,
    /// Whether the worker's own lines are wanted, a line per request among them; costs time under load.
    pub(crate) log_requests: bool,
    /// More variables, as "NAME:value".
    pub(crate) vars: &'a [&'a str],
    /// Another worker's wrangler.toml in place of ours.
    pub(crate) config: Option<&'a Path>,
}

impl Worker {
    /// Starts the worker, which must have been built, and does not wait until it answers.
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
            // Several workers of this name may run at once, and none of them should find another.
            .env("WRANGLER_REGISTRY_PATH", folder.path().join("registry"))
            .env("WRANGLER_LOG_PATH", folder.path().join("logs"));
        for var in settings.vars {
            command.args(["--var", var]);
        }
        if let Some(config) = settings.config {
            command.arg("--config").arg(config);
        }
        Ok(Self {
            process: Process::spawn("edge", command, lines)?,
            url: format!("http://127.0.0.1:{}", settings.port),
            _folder: folder,
        })
    }

    /// Comes back when the worker answers.
    pub(crate) async fn wait_ready(&mut self, client: &reqwest::Client) -> Result<()> {
        let health = format!("{}/__strata/health", self.url);
        self.process.wait_ready(READY_LIMIT, async || http::answers(client, &health).await).await
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Wrangler on the node that npm installed, without questions, telemetry or calls home.
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
        // Otherwise it asks Cloudflare for an example of `Request.cf` and warns where that cannot be reached.
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
        .doing(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_secrets_file_is_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.env");
        write_private(&path, "PURGE_SECRET=x\n").unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
