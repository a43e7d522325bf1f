//! Building what the commands run: the worker's wasm, and the example shop.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::command::{cargo, command, run_shown};
use crate::error::{Doing, Error, Result};
use crate::fingerprint::fingerprint;
use crate::{paths, setup};

/// Where worker-build puts the module that wrangler.toml's `main` names.
const OUTPUT: &str = "edge-worker/build";

/// A bare worker has 42,000; Cloudflare takes 3 MiB on the free plan, but an isolate's start grows with the size.
const MAX_ZIPPED_BYTES: usize = 250_000;

// Everything that the wasm is made from, besides the registry's crates, which the lock pins.
const INPUTS: [&str; 7] = [
    "Cargo.lock",
    "Cargo.toml",
    "edge-worker/Cargo.toml",
    "edge-worker/build.rs",
    "edge-worker/src",
    "shared-keys/Cargo.toml",
    "shared-keys/src",
];

/// Builds the worker for workerd unless nothing has changed since; prints its size if it was built.
///
/// wrangler runs this as its build command, also at every start of `wrangler dev`, hence the quick way out.
pub(crate) async fn edge() -> Result<()> {
    let inputs = fingerprint(paths::root(), &INPUTS, &[setup::WORKER_BUILD_VERSION])?;
    let output = paths::root().join(OUTPUT);
    let stamp = output.join(".fingerprint");
    if std::fs::read_to_string(&stamp).is_ok_and(|built| built == inputs) && is_complete(&output) {
        return Ok(());
    }
    setup::edge_build_tools().await?;
    let mut build = command(paths::tool("worker-build"), ["--profile", "release-edge"]);
    build
        .current_dir(paths::root().join("edge-worker"))
        .env("CARGO_TARGET_DIR", paths::target())
        // Without these three, worker-build downloads the tools from GitHub, which not every machine reaches.
        .env("WASM_BINDGEN_BIN", paths::tool("wasm-bindgen"))
        .env("WASM_OPT_BIN", paths::node_module(".bin/wasm-opt"))
        .env("ESBUILD_BIN", paths::node_module(".bin/esbuild"))
        // npm's wasm-opt is a script for `node`.
        .env("PATH", paths::path_with_node_tools());
    run_shown("building the edge worker", build).await?;
    let module = output.join("index_bg.wasm");
    // A run on its own result finds what the first laid open, 0.6 KB zipped; two passes in one run do not.
    let mut smaller = command(paths::node_module(".bin/wasm-opt"), ["-Os", "--low-memory-unused", "--strip-debug"]);
    smaller.arg(&module).arg("--output").arg(&module).env("PATH", paths::path_with_node_tools());
    run_shown("making it smaller", smaller).await?;
    hold_size(&module)?;
    std::fs::write(&stamp, inputs).doing(|| format!("writing {}", stamp.display()))
}

fn is_complete(output: &Path) -> bool {
    ["index.js", "index_bg.wasm"].iter().all(|file| output.join(file).is_file())
}

/// Prints the module's size as Cloudflare counts it.
///
/// # Errors
/// If it is above our own limit.
fn hold_size(wasm: &Path) -> Result<()> {
    let reading = || format!("reading {}", wasm.display());
    let bytes = std::fs::read(wasm).doing(reading)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zipped = gzip.write_all(&bytes).and_then(|()| gzip.finish()).doing(reading)?.len();
    println!("edge worker: {} bytes of wasm, {zipped} zipped, of at most {MAX_ZIPPED_BYTES}", bytes.len());
    if zipped > MAX_ZIPPED_BYTES {
        let wrong = format!("the edge worker's wasm has {zipped} bytes zipped, expected at most {MAX_ZIPPED_BYTES}");
        return Err(
            Error::new(wrong).mend("look for what grew: formatting, generic code and new dependencies weigh most")
        );
    }
    Ok(())
}

/// Builds the example shop with optimisations; its path comes back.
pub(crate) async fn shop() -> Result<PathBuf> {
    let build = cargo(["build", "--release", "--package", "strata-origin-sdk", "--example", "shop"]);
    run_shown("building the shop", build).await?;
    Ok(paths::target().join("release/examples/shop"))
}
