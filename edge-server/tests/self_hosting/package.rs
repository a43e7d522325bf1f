//! The worker as a package for npm: it runs and deploys without Rust and without this repository.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use strata_tests::{eventually, free_port, xtask};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::origin_of_large_pages;
use crate::server::{ROOT, Server};

/// Runs a program in a folder and returns its standard output.
async fn run(folder: &Path, path: Option<OsString>, program: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env("WRANGLER_SEND_METRICS", "false").env("CI", "1");
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let output = command.output().await.expect("the program starts");
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} {arguments:?}: {printed}{errors}", program.display());
    printed.into_owned()
}

/// The tarball of the package, and the folder that it is in.
static TARBALL: OnceCell<(tempfile::TempDir, PathBuf)> = OnceCell::const_new();

/// Makes the package and packs it.
async fn pack() -> (tempfile::TempDir, PathBuf) {
    let printed = xtask().arg("package").output().await.expect("cargo xtask starts");
    let printed = String::from_utf8(printed.stdout).expect("UTF-8");
    let package = printed.lines().find_map(|line| line.strip_prefix("package: ")?.split("   ").next());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pack = ["pack", "--silent", package.expect("the folder is printed")];
    let tarball = folder.path().join(run(folder.path(), None, Path::new("npm"), &pack).await.trim());
    (folder, tarball)
}

/// Returns a project that has installed the package.
pub(crate) async fn project() -> tempfile::TempDir {
    let (_, tarball) = TARBALL.get_or_init(pack).await;
    let project = tempfile::tempdir().expect("a temporary folder");
    let tarball = tarball.display().to_string();
    let install = ["install", "--offline", "--no-audit", "--no-fund", &tarball];
    run(project.path(), None, Path::new("npm"), &install).await;
    let template = project.path().join("node_modules/strata-edge-worker/template/wrangler.toml");
    std::fs::copy(template, project.path().join("wrangler.toml")).expect("the template");
    project
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_deploys_the_package_without_rust_and_without_this_repository() {
    let project = project().await;
    let tools = Path::new(ROOT).canonicalize().expect("the project").join("node_modules");
    // The programs that a machine without Rust has.
    let path = std::env::join_paths([tools.join(".bin"), "/usr/bin".into(), "/bin".into()]).expect("a PATH");
    let wrangler = tools.join("wrangler/bin/wrangler.js").display().to_string();
    let dry_run = [&*wrangler, "deploy", "--dry-run", "--outdir", "bundle"];
    let printed = run(project.path(), Some(path), &tools.join(".bin/node"), &dry_run).await;
    assert!(printed.contains("JOURNAL") && printed.contains("JournalObject"), "{printed}");
    let bundled = std::fs::read_dir(project.path().join("bundle")).expect("the bundle").flatten();
    let wasm = bundled.map(|entry| entry.path()).find(|path| path.extension() == Some("wasm".as_ref()));
    let built = Path::new(ROOT).join("edge-worker/build/edge_worker_bg.wasm");
    assert_eq!(std::fs::read(wasm.expect("a module")).ok(), std::fs::read(built).ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn strata_edge_runs_the_package() {
    let project = project().await;
    let origin = origin_of_large_pages().await;
    let below = |name: &str| project.path().join(name).display().to_string();
    let (config, worker) = (below("wrangler.toml"), below("node_modules/strata-edge-worker"));
    let options = ["--config", &config, "--worker", &worker];
    let server = Server::start_on(free_port(), origin.url(), &options).await;
    eventually("it is stored", async || server.is_hit("/page").await).await;
}
