//! The programs that are compared, each on a port of its own in front of the same origin.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strata_harness::error::{Context, Error, Result};
use strata_harness::{Placement, Process, port};
use tempfile::TempDir;
use tokio::process::Command;

use crate::command::{command, run_quietly};
use crate::commands::{build_edge, setup};
use crate::stack::edge_server::script_folder;
use crate::stack::worker::{self, Runner, Settings, Worker};
use crate::{http, paths, stack, wasm};

const HELLO: &str = include_str!("peers/hello.mjs");
const CACHE: &str = include_str!("peers/cache.mjs");
const HONO: &str = include_str!("peers/hono.mjs");
/// The version of Hono's package.
const HONO_PACKAGE: &str = "hono@4.13.19";
/// The folder of the bare worker's `worker.js`; `build` below it gets its module.
const BARE: &str = "xtask/bare-worker";
const READY_LIMIT: Duration = Duration::from_secs(20);

/// The compared servers, the edge worker first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Strata,
    BareRust,
    BareJavaScript,
    CacheApi,
    Hono,
    Nginx,
    Varnish,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Strata,
        Self::BareRust,
        Self::BareJavaScript,
        Self::CacheApi,
        Self::Hono,
        Self::Nginx,
        Self::Varnish,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Strata => "Strata",
            Self::BareRust => "a bare worker in Rust",
            Self::BareJavaScript => "a bare worker in JavaScript",
            Self::CacheApi => "a JavaScript worker on `caches.default`",
            Self::Hono => "Hono's cache middleware",
            Self::Nginx => "nginx, `proxy_cache`",
            Self::Varnish => "Varnish",
        }
    }
}

/// A running peer. Stops when dropped.
pub(super) struct Peer {
    pub(super) kind: Kind,
    pub(super) url: String,
    /// From the start of its first process to its first answer.
    pub(super) start_up: Duration,
    running: Running,
    _folder: Option<TempDir>,
}

/// The process of a peer, which its drop stops.
enum Running {
    Worker(Worker),
    Server(Process),
}

/// Installs and builds all peers.
///
/// # Errors
/// If something cannot be installed or does not compile.
pub(super) async fn prepare() -> Result<()> {
    setup::node_tools().await?;
    setup::bench_programs().await?;
    worker::prepare().await?;
    let build = paths::root().join(BARE).join("build");
    std::fs::create_dir_all(&build).context(|| format!("creating {}", build.display()))?;
    wasm::build("strata-bare-worker", "bare_worker", &build).await?;
    // The names under which strata-edge looks for a worker's module.
    for (from, to) in [("bare_worker.js", "edge_worker.js"), ("bare_worker_bg.wasm", "edge_worker_bg.wasm")] {
        std::fs::rename(build.join(from), build.join(to)).context(|| format!("renaming {from}"))?;
    }
    run_quietly("optimising the bare worker", None, build_edge::wasm_opt(&module(Kind::BareRust))).await
}

/// Returns the wasm of a worker in Rust.
pub(super) fn module(kind: Kind) -> PathBuf {
    let folder = if kind == Kind::BareRust { BARE } else { "edge-worker" };
    paths::root().join(folder).join("build/edge_worker_bg.wasm")
}

impl Peer {
    /// Starts a peer and waits until it answers.
    ///
    /// # Errors
    /// If it cannot be started or does not answer.
    pub(super) async fn start(kind: Kind, origin: &str) -> Result<Self> {
        let port = port::free()?;
        let url = format!("http://127.0.0.1:{port}");
        let mut folder = match kind {
            Kind::BareJavaScript => Some(script_folder(HELLO)?),
            Kind::CacheApi => Some(script_folder(CACHE)?),
            Kind::Hono => Some(script_folder(&bundled(HONO).await?)?),
            _ => None,
        };
        let since = Instant::now();
        let running = match kind {
            Kind::Nginx => nginx(port, origin, folder.insert(paths::temporary()?).path())?,
            Kind::Varnish => varnish(port, origin, folder.insert(paths::temporary()?).path())?,
            _ => {
                let runner = match (kind, &folder) {
                    (Kind::BareRust, _) => Runner::StrataEdge { worker: Path::new(BARE), options: &[] },
                    (_, Some(folder)) => Runner::StrataEdge { worker: folder.path(), options: &[] },
                    (_, None) => Runner::of_the_project(&[]),
                };
                let settings = Settings {
                    port,
                    origin,
                    purge_secret: &stack::purge_secret()?,
                    log_requests: false,
                    vars: &[],
                    runner,
                };
                Running::Worker(Worker::start(&settings, None).await?)
            }
        };
        let client = http::client()?;
        let first = format!("{url}/1");
        while !http::answers(&client, &first).await {
            if since.elapsed() > READY_LIMIT {
                return Err(Error::new(format!("{} does not answer", kind.title())));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Self { kind, url, start_up: since.elapsed(), running, _folder: folder })
    }

    /// The processor time that the peer's processes have used; `None` where it is unknown.
    pub(super) fn processor_time(&mut self) -> Option<Duration> {
        match &mut self.running {
            Running::Worker(worker) => worker.process().processor_time(),
            Running::Server(process) => process.processor_time(),
        }
    }
}

fn nginx(port: u16, origin: &str, folder: &Path) -> Result<Running> {
    let file = folder.join("nginx.conf");
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let folder = folder.display();
    let configuration = format!(
        "{user} daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
         events {{ worker_connections 512; }}
         http {{
           access_log off; keepalive_requests 100000000;
           proxy_temp_path {folder}/temp; client_body_temp_path {folder}/body;
           proxy_cache_path {folder}/cache keys_zone=bench:10m;
           server {{
             listen 127.0.0.1:{port};
             location / {{ proxy_cache bench; proxy_pass {origin}; add_header X-Cache $upstream_cache_status; }}
           }}
         }}"
    );
    std::fs::write(&file, configuration).context(|| format!("writing {}", file.display()))?;
    let mut nginx = command("nginx", ["-c"]);
    nginx.arg(&file).arg("-e").arg("stderr");
    Ok(Running::Server(Process::spawn("nginx", nginx, Placement::OwnGroup, None)?))
}

fn varnish(port: u16, origin: &str, folder: &Path) -> Result<Running> {
    let mut varnish = Command::new("varnishd");
    varnish
        .args(["-F", "-a", &format!("127.0.0.1:{port}"), "-b", origin.trim_start_matches("http://")])
        .args(["-s", "malloc,64m", "-n"])
        .arg(folder);
    Ok(Running::Server(Process::spawn("varnish", varnish, Placement::OwnGroup, None)?))
}

/// Returns the module with Hono in it, after installing Hono if it is missing.
async fn bundled(module: &str) -> Result<String> {
    let folder = paths::data()?.join("bench");
    if !folder.join("node_modules/hono").is_dir() {
        let mut npm =
            command("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts", HONO_PACKAGE]);
        npm.arg("--prefix").arg(&folder);
        run_quietly("installing Hono", Some("3 s"), npm).await?;
    }
    let (from, to) = (folder.join("hono.mjs"), folder.join("bundle.mjs"));
    std::fs::write(&from, module).context(|| format!("writing {}", from.display()))?;
    let mut esbuild = command(paths::node_module(".bin/esbuild"), ["--bundle", "--format=esm", "--minify"]);
    esbuild.arg(&from).arg(format!("--outfile={}", to.display()));
    run_quietly("bundling Hono", None, esbuild).await?;
    std::fs::read_to_string(&to).context(|| format!("reading {}", to.display()))
}
