//! The example shop: its program, its data set, its processes.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use strata_harness::error::{Context, Result};
use strata_harness::{Lines, Placement, Process};
use tempfile::TempDir;
use tokio::process::Command;

use crate::command::{cargo, run_quietly};
use crate::fingerprint::fingerprint;
use crate::{http, paths};

/// The environment variable with the secret of purges. A command line would show it to every user
/// of the machine.
pub(crate) const SECRET_VARIABLE: &str = "STRATA_PURGE_SECRET";

/// The shop's program and its generated data set.
pub(crate) struct Shop {
    program: PathBuf,
    pristine: PathBuf,
}

impl Shop {
    /// Builds the shop and generates its data set unless an earlier run did.
    ///
    /// # Errors
    /// If it does not compile or the data set cannot be written.
    pub(crate) async fn prepare() -> Result<Self> {
        let build = cargo(["build", "--profile", "demo", "--package", "strata-shop"]);
        run_quietly("building the shop", Some("2 min the first time"), build).await?;
        let program = paths::target().join("demo/shop");
        let version = fingerprint(paths::root(), &["origin-sdk/examples/shop"], &[])?;
        let pristine = paths::data()?.join(format!("shop-{version}.db"));
        if !pristine.exists() {
            remove_older_data()?;
            let mut command = Command::new(&program);
            command.arg("--prepare").arg("--database").arg(&pristine);
            run_quietly("generating the shop's data", Some("10 s"), command).await?;
        }
        Ok(Self { program, pristine })
    }

    /// Copies the data set for one run, whose writes then leave the original unchanged.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub(crate) fn database(&self) -> Result<Database> {
        let copying = || format!("copying {}", self.pristine.display());
        let folder = paths::temporary()?;
        let path = folder.path().join("shop.db");
        std::fs::copy(&self.pristine, &path).context(copying)?;
        Ok(Database { path, _folder: folder })
    }

    /// Starts a process, without waiting until it answers.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(crate) fn start(&self, settings: &Settings<'_>, lines: Option<&Lines>) -> Result<ShopProcess> {
        let mut command = Command::new(&self.program);
        command
            .args(["--name", settings.name, "--port", &settings.port.to_string(), "--database"])
            .arg(&settings.database.path);
        if let Some(redis) = settings.redis {
            command.args(["--redis", redis]);
        }
        if let Some(edge) = &settings.edge {
            command
                .args(["--edge", edge.url, "--edge-secret-env", SECRET_VARIABLE])
                .env(SECRET_VARIABLE, edge.purge_secret);
        }
        if settings.bypass {
            command.arg("--bypass");
        }
        if settings.ignore_credentials {
            command.arg("--ignore-credentials");
        }
        Ok(ShopProcess {
            process: Process::spawn(settings.name, command, Placement::OwnGroup, lines)?,
            name: settings.name.to_owned(),
            url: format!("http://127.0.0.1:{}", settings.port),
        })
    }
}

fn remove_older_data() -> Result<()> {
    let folder = paths::data()?;
    let looking = || format!("removing older data from {}", folder.display());
    for entry in std::fs::read_dir(&folder).context(looking)? {
        let entry = entry.context(looking)?;
        if entry.file_name().to_string_lossy().starts_with("shop-") {
            std::fs::remove_file(entry.path()).context(looking)?;
        }
    }
    Ok(())
}

/// A copy of the data set for one run. Removed when dropped.
pub(crate) struct Database {
    path: PathBuf,
    _folder: TempDir,
}

/// The settings of a process of the shop.
pub(crate) struct Settings<'a> {
    pub(crate) name: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a Database,
    /// The URL of Redis, or `None` for the in-process store.
    pub(crate) redis: Option<&'a str>,
    /// The worker to which invalidations are shipped.
    pub(crate) edge: Option<Edge<'a>>,
    /// Whether every read runs its loader.
    pub(crate) bypass: bool,
    /// Whether responses to requests with a cookie are shared.
    pub(crate) ignore_credentials: bool,
}

/// The worker, as the shop needs to know it.
#[derive(Clone, Copy)]
pub(crate) struct Edge<'a> {
    pub(crate) url: &'a str,
    pub(crate) purge_secret: &'a str,
}

/// A running process of the shop. Stops when dropped.
pub(crate) struct ShopProcess {
    process: Process,
    name: String,
    url: String,
}

/// The part of `GET /debug/stats` that the commands use.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Stats {
    pub(crate) database_queries: u64,
}

impl ShopProcess {
    /// Waits up to 30 s until the process answers.
    ///
    /// # Errors
    /// If it ends or does not answer in time.
    pub(crate) async fn wait_ready(&mut self, client: &reqwest::Client) -> Result<()> {
        let health = format!("{}/health", self.url);
        self.process.wait_ready(Duration::from_secs(30), async || http::answers(client, &health).await).await
    }

    /// Returns its counters since it started.
    ///
    /// # Errors
    /// If it does not answer with them.
    pub(crate) async fn stats(&self, client: &reqwest::Client) -> Result<Stats> {
        let url = format!("{}/debug/stats", self.url);
        let answer = client.get(&url).send().await.context(|| format!("GET {url}"))?;
        answer.json().await.context(|| format!("reading {url}"))
    }

    /// Its name, such as "shop-a".
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
