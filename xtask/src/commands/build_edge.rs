//! `cargo xtask build-edge`: builds the worker's module into `edge-worker/build`.

use std::io::Write;
use std::path::Path;

use strata_harness::error::{Context, Error, Result};

use super::setup;
use crate::command::{command, run_quietly};
use crate::fingerprint::Stamp;
use crate::{paths, wasm};

/// The folder that `edge-worker/worker.js` imports from.
pub(crate) const OUTPUT: &str = "edge-worker/build";
/// The folder of the JavaScript that wasm-bindgen copies from crates.
const SNIPPETS: &str = "snippets";
const OUTPUT_FILES: [&str; 2] = ["edge_worker.js", "edge_worker_bg.wasm"];

/// Cloudflare accepts 3 MiB on the free plan, but the start of an isolate takes longer with each
/// byte. It should take at most twice as long as a bare worker's, which has 35,000 bytes: from the
/// start of workerd to the first response, medians of nine runs were 81 ms for the bare worker and
/// 108 ms for this at 256,000 bytes, of which 20 and 30 ms were processor time.
const MAX_ZIPPED_BYTES: usize = 330_000;

/// The inputs of the build, besides the crates that Cargo.lock pins.
const INPUTS: [&str; 10] = [
    "Cargo.lock",
    "Cargo.toml",
    ".cargo/config.toml",
    "edge-worker/Cargo.toml",
    "edge-worker/build.rs",
    "edge-worker/fields.js",
    "edge-worker/src",
    "shared-keys/Cargo.toml",
    "shared-keys/src",
    "xtask/bindgen",
];

/// wasm-opt's arguments. `--low-memory-unused`: the first kilobyte of memory is the end of a stack
/// that grows down to it, so no data lies there. The features are rustc's defaults for the target,
/// and the exception handling of wasm-bindgen's catch wrappers: `--all-features` would let a later
/// wasm-opt use what workerd does not know.
const OPTIMISATION: [&str; 10] = [
    "-Os",
    "--low-memory-unused",
    "--strip-debug",
    "--enable-mutable-globals",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-reference-types",
    "--enable-exception-handling",
];

/// Builds the module unless its inputs are unchanged, and prints its size if it was built.
///
/// wrangler runs this as its build command at every start of `wrangler dev`, hence the early
/// return.
///
/// # Errors
/// If something cannot be installed or does not compile, or the module is too large.
pub(crate) async fn run() -> Result<()> {
    let output = paths::root().join(OUTPUT);
    let files = OUTPUT_FILES.map(|file| output.join(file)).into();
    let stamp = Stamp::new(output.join(".fingerprint"), &INPUTS, &OPTIMISATION, files)?;
    if stamp.is_current() {
        return Ok(());
    }
    build_in(paths::root(), &paths::target(), &output).await?;
    check_size(&output.join("edge_worker_bg.wasm"))?;
    stamp.write()
}

/// Builds the module into `output`, from a copy of the project at `root` and with the target folder
/// `target`.
///
/// # Errors
/// If something cannot be installed or does not compile.
pub(crate) async fn build_in(root: &Path, target: &Path, output: &Path) -> Result<()> {
    // The names of the folders in it change with versions of crates.
    let _ = std::fs::remove_dir_all(output.join(SNIPPETS));
    let compile = wasm::build_in(root, target, "strata-edge-worker", "edge_worker", output);
    tokio::try_join!(setup::node_tools(), compile)?;
    let module = output.join("edge_worker_bg.wasm");
    // The second run finds what the first has uncovered: 0.6 KB zipped, which two passes in one run
    // do not.
    for run in ["optimising the edge worker", "optimising it again"] {
        run_quietly(run, Some("10 s"), wasm_opt(&module)).await?;
    }
    Ok(())
}

/// Returns the command that optimises a module in place.
pub(crate) fn wasm_opt(module: &Path) -> tokio::process::Command {
    let mut wasm_opt = command(paths::node_module(".bin/wasm-opt"), OPTIMISATION);
    wasm_opt.arg(module).arg("--output").arg(module);
    // npm's wasm-opt is a script that `node` runs.
    wasm_opt.env("PATH", paths::path_with_node_tools());
    wasm_opt
}

/// Prints the module's size as Cloudflare counts it.
///
/// # Errors
/// If it is above [`MAX_ZIPPED_BYTES`].
fn check_size(module: &Path) -> Result<()> {
    let zipped = zipped_bytes(module)?;
    println!("edge worker: {zipped} bytes of zipped wasm, of at most {MAX_ZIPPED_BYTES}");
    if zipped <= MAX_ZIPPED_BYTES {
        return Ok(());
    }
    let problem =
        format!("the edge worker's wasm has {zipped} bytes zipped, expected at most {MAX_ZIPPED_BYTES}");
    Err(Error::new(problem).mend("find what grew: formatting, generic code and new dependencies weigh most"))
}

/// Returns a module's size as Cloudflare counts it.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn zipped_bytes(module: &Path) -> Result<usize> {
    let reading = || format!("reading {}", module.display());
    let bytes = std::fs::read(module).context(reading)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    Ok(gzip.write_all(&bytes).and_then(|()| gzip.finish()).context(reading)?.len())
}
