//! The demo as one HTML file that opens without a network: its data and the chart library are inside.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::load::Pass;
use super::machine::Machine;
use super::tour::Step;
use crate::error::{Doing, Result};
use crate::paths;

const TEMPLATE: &str = include_str!("report.html");
const CHART_MARK: &str = "/*CHART_LIBRARY*/";
const DATA_MARK: &str = "/*DATA*/";

/// What the page shows.
#[derive(Serialize)]
pub(crate) struct Report {
    unix_millis: u64,
    machine: Machine,
    load: String,
    steps: Vec<Step>,
    passes: Vec<Pass>,
}

impl Report {
    /// A report of now, on this machine.
    pub(crate) fn new(load: String, steps: Vec<Step>, passes: Vec<Pass>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix_millis: now.as_millis() as u64, machine: Machine::this(), load, steps, passes }
    }

    /// What the demo saw that should not be; empty if all is well.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let steps = self.steps.iter().filter(|step| !step.ok);
        let steps = steps.map(|step| format!("{}: {} saw {}", step.claim, step.asked, step.saw));
        steps.chain(self.passes.iter().flat_map(|pass| pass.wrong.iter().cloned())).collect()
    }

    /// Writes the page below Cargo's target folder; its path comes back.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let library = paths::node_module("chart.js/dist/chart.umd.min.js");
        let library = std::fs::read_to_string(&library).doing(|| format!("reading {}", library.display()))?;
        let folder = paths::target().join("demo");
        let path = folder.join("report.html");
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&path, page(self, &library)?))
            .doing(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

fn page(report: &Report, library: &str) -> serde_json::Result<String> {
    // In a script element only "</script" and "<!--" mean something to the HTML parser, and both need a "<".
    let data = serde_json::to_string(report)?.replace('<', "\\u003c");
    let library = library.replace("</script", "<\\/script");
    // Cut at the marks before anything is put in: what is put in may contain them.
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
            asked: "GET shop-a /api/products/1".to_owned(),
            saw: "</script><b>".to_owned(),
            millis: 1.5,
            ok,
        };
        Report::new("load".to_owned(), vec![step], vec![stats::tests::pass()])
    }

    #[test]
    fn the_page_carries_its_data_and_the_library_and_nothing_else_is_fetched() {
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
        assert_eq!(data["passes"][0]["layers"]["redis"], 100);
    }

    #[test]
    fn a_step_that_saw_something_else_is_what_was_wrong() {
        assert!(report(true).wrong().is_empty());
        assert_eq!(report(false).wrong().len(), 1);
    }
}
