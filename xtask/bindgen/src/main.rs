//! Turns a worker's compiled wasm into the module and JavaScript that workerd loads.
//!
//! `strata-bindgen WASM FOLDER` writes `NAME.js` and `NAME_bg.wasm` into the folder, as
//! `wasm-bindgen --target web` would. A crate of its own, so that only the builds of the workers
//! compile wasm-bindgen's generator.

use std::path::PathBuf;
use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [wasm, folder] = arguments.as_slice() else {
        eprintln!("error: expected two arguments: the compiled wasm and the folder to write to");
        return ExitCode::FAILURE;
    };
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm);
    // `reset_state_function` exports `__wbg_reset_state`, with which the edge worker's entry module
    // replaces an instance that panicked. The `worker` crate's abort handler schedules the same.
    bindgen.reset_state_function(true).force_enable_abort_handler(true);
    match bindgen.web(true).and_then(|bindgen| bindgen.generate(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error:#}", wasm.display());
            ExitCode::FAILURE
        }
    }
}
