//! `cargo xtask package`: writes the worker as a package for npm, with a template of the project
//! that deploys it.

mod copy;
mod verify;

use std::path::{Path, PathBuf};

use serde_json::json;
use strata_harness::error::{Context, Error, Result};

use super::build_edge;
use crate::paths;

/// The name of the package.
const NAME: &str = "strata-edge-worker";
/// The files of the package that are copied as they are, and their names in it.
const FILES: [(&str, &str); 5] = [
    ("edge-worker/worker.js", "worker.js"),
    ("edge-worker/npm/README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
];
/// The folder of the module and its JavaScript, which worker.js imports.
const BUILD: &str = "build";
/// The configuration to begin with, for the project that deploys the worker.
const TEMPLATE: &str = "template/wrangler.toml";

/// Builds the worker and writes the package. With `verify`, builds it twice more.
///
/// # Errors
/// If something does not compile or cannot be written, or two builds differ.
pub(crate) async fn run(verify: bool) -> Result<()> {
    build_edge::run().await?;
    let folder = folder();
    write(&folder)?;
    println!("package: {}   (npm pack {0} makes the tarball)", folder.display());
    if verify {
        verify::run(&paths::root().join(build_edge::OUTPUT)).await?;
    }
    Ok(())
}

/// The folder of the package.
fn folder() -> PathBuf {
    paths::target().join("package").join(NAME)
}

/// Writes the package into an empty folder.
fn write(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).context(|| format!("removing {}", folder.display()))?;
    }
    for (from, to) in FILES {
        copy::file(&paths::root().join(from), &folder.join(to))?;
    }
    copy::folder(&paths::root().join(build_edge::OUTPUT), &folder.join(BUILD), &|name| {
        !name.starts_with('.')
    })?;
    let config = paths::root().join("wrangler.toml");
    let config = std::fs::read_to_string(&config).context(|| format!("reading {}", config.display()))?;
    for (name, text) in [(TEMPLATE, template(&config)?), ("package.json", manifest())] {
        let file = folder.join(name);
        let written = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        written
            .and_then(|()| std::fs::write(&file, text))
            .context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// Returns package.json.
fn manifest() -> String {
    let manifest = json!({
        "name": NAME,
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Strata's edge cache: a Cloudflare Worker that obeys a journal of invalidations",
        "license": env!("CARGO_PKG_LICENSE"),
        "type": "module",
        "main": "worker.js",
        "files": ["worker.js", "build/", "template/", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"],
        "keywords": ["cache", "cloudflare", "worker", "cdn"],
    });
    format!("{manifest:#}\n")
}

/// Returns the project's wrangler.toml for a project that has the package: `main` points into it,
/// and nothing is built.
fn template(config: &str) -> Result<String> {
    // The paragraphs before the name are about a checkout.
    let paragraphs = config.split("\n\n").skip_while(|paragraph| !paragraph.starts_with("name = "));
    let kept: Vec<&str> = paragraphs.filter(|paragraph| !paragraph.contains("\n[build]\n")).collect();
    let main = format!("main = \"node_modules/{NAME}/worker.js\"");
    let template = kept.join("\n\n").replace(PROJECT_MAIN, &main);
    if template.contains(&main) && !template.contains("[build]") {
        return Ok(format!("{HEADER}{template}"));
    }
    let problem =
        format!("wrangler.toml: expected the paragraphs \"name = …\" with {PROJECT_MAIN}, and [build]");
    Err(Error::new(problem).mend("change the template in xtask/src/commands/package together with it"))
}

/// The entry in the project's wrangler.toml.
const PROJECT_MAIN: &str = "main = \"edge-worker/worker.js\"";

/// The beginning of the template.
const HEADER: &str = "\
# Strata's edge worker, from the package for npm. `npx wrangler deploy` deploys it; Rust is not
# needed.
#
# Before the first deployment:
#   1. Set ORIGIN below (the worker refuses every request without it), and routes (or a custom
#      domain) for the site in front of which the worker runs.
#   2. Set the secret that purge messages are signed with, the same that the origin has:
#        npx wrangler secret put PURGE_SECRET
#      Without it the worker caches, but its purge endpoint answers 503.

";

#[cfg(test)]
mod tests {
    use super::*;

    fn project_config() -> String {
        std::fs::read_to_string(paths::root().join("wrangler.toml")).unwrap()
    }

    #[test]
    fn the_template_differs_from_the_projects_configuration_in_its_entry_and_build_alone() {
        let parse = |text: &str| text.parse::<toml::Table>().unwrap();
        let (project, text) = (project_config(), template(&project_config()).unwrap());
        let mut expected = parse(&project);
        expected.insert("main".to_owned(), "node_modules/strata-edge-worker/worker.js".into());
        assert!(expected.remove("build").is_some());
        assert_eq!(parse(&text), expected);
        assert!(parse(&text).contains_key("durable_objects") && parse(&text).contains_key("migrations"));
        assert!(!text.contains("cargo") && text.starts_with("# Strata's edge worker, from"), "{text}");
    }

    #[test]
    fn the_manifest_has_the_version_and_license_of_the_workspace() {
        let manifest: serde_json::Value = serde_json::from_str(&manifest()).unwrap();
        assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(manifest["license"], "MIT OR Apache-2.0");
    }
}
