//! Processes of the example shop, and the database that they share.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Command;

use crate::command::run_quietly;
use crate::error::{Doing, Result};
use crate::fingerprint::fingerprint;
use crate::process::{Lines, Process};
use crate::{http, paths};

/// The environment variable that holds the secret of purges, so that no command line shows it.
pub(crate) const SECRET_VARIABLE: &str = "STRATA_PURGE_SECRET";

/// The shop's program and its generated data set.
pub(crate) struct Shop {
    program: PathBuf,
    pristine: PathBuf,
}

impl Shop {
    /// Takes a built shop and generates its data set unless an earlier run has kept it.
    pub(crate) async fn prepare(program: PathBuf) -> Result<Self> {
        let version = fingerprint(paths::root(), &["origin-sdk/examples/shop"], &[])?;
        let pristine = paths::kept()?.join(format!("shop-{version}.db"));
        if !pristine.exists() {
            remove_older_data()?;
            let mut command = Command::new(&program);
            command.arg("--prepare").arg("--database").arg(&pristine);
            run_quietly("generating the shop's data", Some("takes about 10 s"), command).await?;
        }
        Ok(Self { program, pristine })
    }

    /// A copy of the data set for one run, whose writes leave the kept one as it is.
    pub(crate) fn database(&self) -> Result<Database> {
        let copying = || format!("copying {}", self.pristine.display());
        let folder = paths::temporary()?;
        let path = folder.path().join("shop.db");
        std::fs::copy(&self.pristine, &path).doing(copying)?;
        Ok(Database { path, _folder: folder })
    }

    /// Starts a process and does not wait for it.
    pub(crate) fn start(&self, settings: &Settings<'_>, lines: Option<&Lines>) -> Result<ShopProcess> {
        let mut command = Command::new(&self.program);
        command
            .args(["--name", settings.name, "--port", &settings.port.to_string(), "--database"])
            .arg(&settings.database.path);
        if let Some(redis) = settings.redis {
            command.args(["--redis", redis]);
        }
        if let Some(edge) = &settings.edge {
            // In the environment, since a command line can be read by everyone on the machine.
            command
                .args(["--edge", edge.url, "--edge-secret-env", SECRET_VARIABLE])
                .env(SECRET_VARIABLE, edge.purge_secret);
        }
        if settings.bypass {
            command.arg("--bypass");
        }
        Ok(ShopProcess {
            process: Process::spawn(settings.name, command, lines)?,
            name: settings.name.to_owned(),
            url: format!("http://127.0.0.1:{}", settings.port),
        })
    }
}

fn remove_older_data() -> Result<()> {
    let folder = paths::kept()?;
    let looking = || format!("looking through {}", folder.display());
    for entry in std::fs::read_dir(&folder).doing(looking)? {
        let entry = entry.doing(looking)?;
        if entry.file_name().to_string_lossy().starts_with("shop-") {
            std::fs::remove_file(entry.path()).doing(looking)?;
        }
    }
    Ok(())
}

/// A data set that one run may write to; removed when dropped.
pub(crate) struct Database {
    path: PathBuf,
    _folder: TempDir,
}

/// What a process of the shop is started with.
pub(crate) struct Settings<'a> {
    pub(crate) name: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a Database,
    /// `None` for the in-process store.
    pub(crate) redis: Option<&'a str>,
    /// The worker to which invalidations are shipped.
    pub(crate) edge: Option<Edge<'a>>,
    /// Whether every read goes to its loader.
    pub(crate) bypass: bool,
}

/// A worker, seen from the shop.
#[derive(Clone, Copy)]
pub(crate) struct Edge<'a> {
    pub(crate) url: &'a str,
    pub(crate) purge_secret: &'a str,
}

/// A running process of the shop; stops when dropped.
pub(crate) struct ShopProcess {
    process: Process,
    name: String,
    url: String,
}

/// What `GET /debug/stats` says, as far as the commands use it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Stats {
    pub(crate) database_queries: u64,
}

impl ShopProcess {
    /// Comes back when the process answers.
    pub(crate) async fn wait_ready(&mut self, client: &reqwest::Client) -> Result<()> {
        let health = format!("{}/health", self.url);
        self.process.wait_ready(Duration::from_secs(30), async || http::answers(client, &health).await).await
    }

    /// Its counters since it started.
    pub(crate) async fn stats(&self, client: &reqwest::Client) -> Result<Stats> {
        let url = format!("{}/debug/stats", self.url);
        let answer = client.get(&url).send().await.doing(|| format!("asking {url}"))?;
        answer.json().await.doing(|| format!("reading {url}"))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
