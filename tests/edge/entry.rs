//! The built worker inside a module that breaks or replaces a part of its platform.

use strata_tests::Edge;

/// Starts a worker in front of `origin` whose entry module is `script`, which imports the built
/// worker as `./worker.js`. `vars` are variables, as "NAME:value".
pub(crate) async fn start(origin: &str, script: &str, vars: &[&str]) -> Edge {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("entry.mjs");
    std::fs::write(&file, script).expect("it is writable");
    let mut options: Vec<&str> = vars.iter().flat_map(|var| ["--var", var]).collect();
    options.extend(["--", "--entry", file.to_str().expect("a path of text")]);
    // The runner has copied the module once the worker answers.
    Edge::start_with(origin, &options).await
}
