//! The demo's report: one HTML file with its data and the chart library inside, so that it opens
//! without a network.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use strata_harness::error::{Context, Result};

use super::goals::Goal;
use super::machine::Machine;
use super::passes::Passes;
use super::tour::Step;
use crate::paths;

const TEMPLATE: &str = include_str!("report.html");
const CHART_MARK: &str = "/*CHART_LIBRARY*/";
const DATA_MARK: &str = "/*DATA*/";

/// The data of the page.
#[derive(Serialize)]
pub(crate) struct Report {
    unix_millis: u64,
    machine: Machine,
    load: String,
    steps: Vec<Step>,
    passes: Passes,
    goals: Vec<Goal>,
}

impl Report {
    /// Returns a report with the present time and this machine's facts.
    pub(crate) fn new(load: String, steps: Vec<Step>, passes: Passes, goals: Vec<Goal>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix_millis: now.as_millis() as u64, machine: Machine::this(), load, steps, passes, goals }
    }

    /// Returns what contradicts the demo's claims; empty if nothing does.
    pub(crate) fn failures(&self) -> Vec<String> {
        let steps = self.steps.iter().filter(|step| !step.ok);
        let steps = steps.map(|step| format!("{}: {} saw {}", step.claim, step.request, step.saw));
        steps.chain(self.passes.all().flat_map(|pass| pass.failures.iter().cloned())).collect()
    }

    /// Writes the page below Cargo's target folder and returns its path.
    ///
    /// # Errors
    /// If the chart library cannot be read or the page cannot be written.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let library = paths::node_module("chart.js/dist/chart.umd.min.js");
        let library =
            std::fs::read_to_string(&library).context(|| format!("reading {}", library.display()))?;
        let path = report_file();
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, page(self, &library)?))
            .context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

/// Returns the path of the report, whether there is one or not.
pub(crate) fn report_file() -> PathBuf {
    paths::target().join("demo/report.html")
}

fn page(report: &Report, library: &str) -> serde_json::Result<String> {
    // In a script element the HTML parser reacts only to "</script" and "<!--", which need a "<".
    let data = serde_json::to_string(report)?.replace('<', "\\u003c");
    let library = library.replace("</script", "<\\/script");
    // Split at the marks before anything is inserted, since insertions can contain the marks.
    let (head, rest) = TEMPLATE.split_once(CHART_MARK).unwrap_or((TEMPLATE, ""));
    let (middle, tail) = rest.split_once(DATA_MARK).unwrap_or((rest, ""));
    Ok([head, &library, middle, &data, tail].concat())
}

#[cfg(test)]
mod tests {
    use super::super::stats;
    use super::*;

    fn report(ok: bool) -> Report {
        let step = Step {
            claim: "a cold read runs the loader",
            request: "GET shop-a /api/products/1".to_owned(),
            saw: "</script><b>".to_owned(),
            millis: 1.5,
            ok,
        };
        let passes = Passes { warm: vec![stats::tests::pass()], harder: Vec::new(), near: Vec::new() };
        Report::new("load".to_owned(), vec![step], passes, Vec::new())
    }

    #[test]
    fn the_page_contains_its_data_and_the_library_and_fetches_nothing() {
        let page = page(&report(true), "library </script> /*DATA*/").unwrap();
        assert!(page.contains("library <\\/script> /*DATA*/"));
        assert!(page.contains(r#""title":"memory + Redis""#));
        assert!(page.contains(r"\u003c/script>\u003cb>"));
        assert!(!TEMPLATE.contains("http://") && !TEMPLATE.contains("https://"));
    }

    #[test]
    fn the_data_reads_back_as_json() {
        let page = page(&report(true), "").unwrap();
        let (_, data) = page.split_once(r#"type="application/json">"#).unwrap();
        let (data, _) = data.split_once("</script>").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["steps"][0]["saw"], "</script><b>");
        assert_eq!(data["passes"]["warm"][0]["layers"]["redis"], 100);
    }

    #[test]
    fn a_step_that_saw_something_else_is_a_failure() {
        assert!(report(true).failures().is_empty());
        assert_eq!(report(false).failures().len(), 1);
    }
}
