//! The worker run by `wrangler dev`, as Cloudflare's tools do it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tokio::process::Command;

use strata_harness::error::{Context, Result};

use super::worker::Settings;
use crate::commands::setup;
use crate::paths;

/// Returns the command that runs the worker of `config`, a wrangler.toml. `folder` holds the run's
/// files. wrangler builds the worker unless that was done.
///
/// # Errors
/// If wrangler cannot be installed, or the file of the secrets cannot be written.
pub(super) async fn dev(settings: &Settings<'_>, config: &Path, folder: &Path) -> Result<Command> {
    setup::node_tools().await?;
    let secrets = folder.join("secrets.env");
    write_private(&secrets, &format!("PURGE_SECRET={}\n", settings.purge_secret))?;
    let mut command = wrangler();
    command
        .args(["dev", "--ip", "127.0.0.1", "--port", &settings.port.to_string()])
        .args(["--inspector-port", "0", "--show-interactive-dev-session=false"])
        .args(["--log-level", if settings.log_requests { "log" } else { "warn" }])
        .arg("--config")
        .arg(config)
        .arg("--env-file")
        .arg(&secrets)
        .arg("--persist-to")
        .arg(folder.join("state"))
        // Several workers of this name can run at once. A registry of its own hides the others.
        .env("WRANGLER_REGISTRY_PATH", folder.join("registry"))
        .env("WRANGLER_LOG_PATH", folder.join("logs"));
    for var in settings.variables() {
        command.args(["--var", &var]);
    }
    Ok(command)
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
