//! `cargo xtask picture`: writes the picture of the demo's report that README shows.

use strata_harness::error::{Context, Error, Result};

use super::{demo, setup};
use crate::command::{command, run_quietly};
use crate::paths;

/// The picture, below the project's root.
const PICTURE: &str = "docs/images/report.png";
/// The part of the report that the picture shows, in pixels: the headline and the charts.
const WINDOW: &str = "--window-size=1100,1390";

/// Renders the report of the last demo in headless Chromium.
///
/// # Errors
/// If there is no report, or Chromium cannot be installed or fails.
pub(crate) async fn run() -> Result<()> {
    let report = demo::report_file();
    if !report.is_file() {
        return Err(Error::new("there is no report of a demo").mend("run `cargo xtask demo` first"));
    }
    let picture = paths::root().join(PICTURE);
    let folder = picture.parent().unwrap_or(paths::root());
    std::fs::create_dir_all(folder).context(|| format!("creating {}", folder.display()))?;
    let profile = paths::temporary()?;
    let mut chromium = command(setup::chromium().await?, ["--headless", "--hide-scrollbars", WINDOW]);
    chromium
        .args(["--disable-gpu", "--disable-sync", "--disable-component-update"])
        .arg("--disable-background-networking")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", report.display()));
    if rustix::process::geteuid().is_root() {
        // Chromium's sandbox does not work for root.
        chromium.arg("--no-sandbox");
    }
    run_quietly("rendering the report", Some("5 s"), chromium).await?;
    println!("{}", picture.display());
    Ok(())
}
