//! `cargo xtask recipes`: installs the apps of `tests/recipes` and tests them behind the worker.

use std::path::{Path, PathBuf};

use strata_harness::error::{Context, Error, Result};
use tokio::process::Command;

use super::{setup, test};
use crate::command::{run_quietly, run_shown};
use crate::fingerprint::fingerprint;
use crate::paths;
use crate::stack::worker;

/// Tests the recipes of these names, or all of them.
///
/// # Errors
/// If there is no recipe of a name, something cannot be installed or built, or a test fails.
pub(crate) async fn run(names: &[String]) -> Result<()> {
    let recipes = selected(names)?;
    setup::node_tools().await?;
    setup::languages().await?;
    for recipe in &recipes {
        install(recipe).await?;
    }
    worker::prepare().await?;
    // Without a filter, the check of the documentation runs as well.
    let filters: Vec<String> = if names.is_empty() {
        vec![String::new()]
    } else {
        names.iter().map(|name| format!("{name}::")).collect()
    };
    for filter in filters {
        let mut tests = test::binary("recipes");
        tests.args(["--", &filter]).env("PATH", paths::path_with_node_tools());
        run_shown("the recipes", tests).await?;
    }
    Ok(())
}

/// Returns the folders of the recipes.
fn selected(names: &[String]) -> Result<Vec<PathBuf>> {
    let folder = paths::root().join("tests/recipes");
    let reading = || format!("reading {}", folder.display());
    let entries = std::fs::read_dir(&folder).context(reading)?;
    let mut all: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    all.sort();
    let known: Vec<String> = all.iter().map(|path| name(path)).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(Error::new(format!("there is no recipe \"{unknown}\""))
            .mend(format!("give one of {}", known.join(", "))));
    }
    Ok(all.into_iter().filter(|path| names.is_empty() || names.contains(&name(path))).collect())
}

fn name(recipe: &Path) -> String {
    recipe.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Installs what the recipe's lock file pins, and builds the app.
async fn install(recipe: &Path) -> Result<()> {
    let name = name(recipe);
    if recipe.join("package.json").is_file() {
        let npm = in_folder(recipe, "npm", &["ci", "--no-audit", "--no-fund"]);
        install_once(recipe, &["package-lock.json"], "node_modules", [("npm ci", npm)]).await?;
        let build = in_folder(recipe, "npm", &["run", "build", "--if-present"]);
        run_quietly(&format!("building {name}"), Some("10 to 30 s"), build).await?;
    }
    if recipe.join("requirements.txt").is_file() {
        let venv = in_folder(recipe, "python3", &["-m", "venv", ".venv"]);
        let options =
            ["install", "--disable-pip-version-check", "--require-hashes", "-r", "requirements.txt"];
        let pip = in_folder(recipe, recipe.join(".venv/bin/pip"), &options);
        let steps = [("python3 -m venv", venv), ("pip install", pip)];
        install_once(recipe, &["requirements.txt"], ".venv", steps).await?;
    }
    Ok(())
}

/// Runs the steps that fill `target`, unless that was done for the present lock file.
async fn install_once<const N: usize>(
    recipe: &Path,
    lock: &[&str],
    target: &str,
    steps: [(&str, Command); N],
) -> Result<()> {
    let lock = fingerprint(recipe, lock, &[])?;
    let target = recipe.join(target);
    let stamp = target.join(".strata-lock");
    if std::fs::read_to_string(&stamp).is_ok_and(|stamped| stamped == lock) {
        return Ok(());
    }
    for (step, command) in steps {
        run_quietly(&format!("{}: {step}", name(recipe)), Some("10 to 30 s"), command).await?;
    }
    std::fs::create_dir_all(&target)
        .and_then(|()| std::fs::write(&stamp, lock))
        .context(|| format!("writing {}", stamp.display()))
}

/// Returns a command that runs in the recipe's folder on the project's node, without telemetry.
fn in_folder(recipe: &Path, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(recipe)
        .env("PATH", paths::path_with_node_tools())
        .env("NEXT_TELEMETRY_DISABLED", "1")
        .env("ASTRO_TELEMETRY_DISABLED", "1");
    command
}
