//! The outcome of each case of a run, beside the published results of other caches.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use strata_harness::error::{Context, Result};

/// The README's heading above the cases that it attributes to the runtime.
const RUNTIME_HEADING: &str = "Impossible in workerd\n";

/// The README's heading above the cases that pass or fail by the time that the machine takes.
const TIME_HEADING: &str = "Dependent on time\n";

/// The kind of a case, in the suite's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// A requirement of the RFCs.
    Required,
    /// The behaviour of a good cache.
    Optimal,
    /// A question without a right answer.
    Check,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Required, Self::Optimal, Self::Check];

    fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optimal => "optimal",
            Self::Check => "check",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Case {
    id: String,
    group: String,
    kind: Kind,
    /// Whether the suite's tables count it.
    counted: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Published {
    name: String,
    outcomes: BTreeMap<String, String>,
}

/// The outcomes of one run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    cases: Vec<Case>,
    /// Outcome and message by case.
    ours: BTreeMap<String, (String, String)>,
    caches: Vec<Published>,
}

/// The number of passed cases of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    required: usize,
    optimal: usize,
    check: usize,
}

impl Counts {
    fn of(self, kind: Kind) -> usize {
        match kind {
            Kind::Required => self.required,
            Kind::Optimal => self.optimal,
            Kind::Check => self.check,
        }
    }

    fn count<'a>(cases: impl Iterator<Item = &'a Case>) -> Self {
        cases.fold(Self::default(), |mut counts, case| {
            match case.kind {
                Kind::Required => counts.required += 1,
                Kind::Optimal => counts.optimal += 1,
                Kind::Check => counts.check += 1,
            }
            counts
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} required, {} optimal, {} check", self.required, self.optimal, self.check)
    }
}

impl Report {
    /// Counts the passed ones of the cases that the suite's tables count.
    fn counts(&self) -> Counts {
        self.passed(true, |id| self.outcome(id))
    }

    /// Prints the counts side by side, then the failed cases, and for each whether it also failed
    /// in `bare`, the run through the worker that only forwards.
    pub(crate) fn print(&self, bare: &Self) {
        let of = Counts::count(self.cases.iter().filter(|case| case.counted));
        println!("\n{:<24}{:>16}{:>16}{:>16}", "", "required", "optimal", "check");
        print_row("strata-edge", self.counts(), of);
        print_row("pass-through", bare.counts(), of);
        for cache in &self.caches {
            print_row(
                &cache.name,
                self.passed(true, |id| cache.outcomes.get(id).map_or("", String::as_str)),
                of,
            );
        }
        let of = Counts::count(self.cases.iter().filter(|case| !case.counted));
        if of != Counts::default() {
            let passed = self.passed(false, |id| self.outcome(id));
            println!("\ncases that the suite runs and does not count:");
            print_row("strata-edge", passed, of);
        }
        for kind in Kind::ALL {
            let cases: Vec<&Case> =
                self.cases.iter().filter(|case| case.kind == kind && !self.is_passed(case)).collect();
            println!("\n{}, failed: {}", kind.as_str(), cases.len());
            for case in cases {
                let alike = if self.is_alike(bare, &case.id) { " (pass-through: the same)" } else { "" };
                println!("  {:<58} {}{alike}", case.id, self.explained(&case.id));
            }
        }
    }

    /// Writes the whole report as JSON.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let writing = || format!("writing {}", file.display());
        std::fs::write(file, serde_json::to_string_pretty(self).context(writing)?).context(writing)
    }

    /// Returns the cases of `passes`, one a line, that do not pass, each with its outcome.
    pub(crate) fn regressions(&self, passes: &str) -> Vec<String> {
        let failed = passes.lines().filter(|id| !is_pass(self.outcome(id)));
        failed.map(|id| format!("{id}: {}", self.explained(id))).collect()
    }

    /// Returns how the results differ from `passes`, one passed case a line, and from the first
    /// column of the README's tables, which has all other required and optimal cases. A case that
    /// the README attributes to the runtime must have failed with the same message in `bare`.
    pub(crate) fn differs_from_lists(&self, passes: &str, readme: &str, bare: &Self) -> Vec<String> {
        let failures: BTreeSet<&str> = cases_in(readme).collect();
        let timed: BTreeSet<&str> = cases_below(readme, TIME_HEADING).collect();
        let passes: BTreeSet<&str> = passes.lines().collect();
        let known: BTreeSet<&str> = self.cases.iter().map(|case| case.id.as_str()).collect();
        let of_time = |id: &&str| timed.contains(id);
        // A check has no right answer, so its answer is held only where it is listed.
        let must_be_listed =
            |case: &&Case| case.counted && case.kind != Kind::Check && !of_time(&case.id.as_str());
        let unlisted = self.cases.iter().filter(must_be_listed).filter_map(|case| {
            let id = case.id.as_str();
            match self.is_passed(case) {
                true if !passes.contains(id) => {
                    Some(format!("{id} passes, and is not among the passed cases"))
                }
                false if !failures.contains(id) => {
                    Some(format!("{id} fails, and the README lacks the reason"))
                }
                _ => None,
            }
        });
        let outdated = failures.iter().filter(|id| !of_time(id) && is_pass(self.outcome(id)));
        let outdated = outdated.map(|id| format!("{id} passes, and the README has a reason why it fails"));
        let unknown = failures.iter().chain(&passes).filter(|id| !known.contains(*id));
        let unknown = unknown.map(|id| format!("{id} is not a case of the suite"));
        let unconfirmed = cases_below(readme, RUNTIME_HEADING).filter(|id| !self.is_alike(bare, id));
        let unconfirmed = unconfirmed.map(|id| {
            format!("{id} is listed under the runtime, and without the cache: {}", bare.explained(id))
        });
        unlisted.chain(outdated).chain(unknown).chain(unconfirmed).collect()
    }

    /// Returns the outcome of a case and the suite's message.
    fn explained(&self, id: &str) -> String {
        let (outcome, message) = self.ours.get(id).cloned().unwrap_or_default();
        format!("{outcome}: {message}")
    }

    /// Returns whether a case has the same message in `bare`. The outcomes can differ if a case
    /// failed on which this one depends.
    fn is_alike(&self, bare: &Self, id: &str) -> bool {
        match (self.ours.get(id), bare.ours.get(id)) {
            (Some((_, ours)), Some((_, theirs))) => !ours.is_empty() && ours == theirs,
            _ => false,
        }
    }

    fn is_passed(&self, case: &Case) -> bool {
        is_pass(self.outcome(&case.id))
    }

    fn outcome(&self, id: &str) -> &str {
        self.ours.get(id).map_or("", |(outcome, _)| outcome)
    }

    fn passed<'a>(&'a self, counted: bool, outcome: impl Fn(&str) -> &'a str) -> Counts {
        Counts::count(self.cases.iter().filter(|case| case.counted == counted && is_pass(outcome(&case.id))))
    }
}

/// Returns the cases in the first column of the tables.
fn cases_in(readme: &str) -> impl Iterator<Item = &str> {
    readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next())
}

/// Returns the cases in the tables below a heading of the third level.
fn cases_below<'a>(readme: &'a str, heading: &str) -> impl Iterator<Item = &'a str> {
    let section = readme.split("\n### ").find(|section| section.starts_with(heading));
    cases_in(section.unwrap_or_default())
}

fn is_pass(outcome: &str) -> bool {
    matches!(outcome, "pass" | "yes")
}

fn print_row(name: &str, passed: Counts, of: Counts) {
    let cell = |kind| format!("{} of {}", passed.of(kind), of.of(kind));
    println!("{name:<24}{:>16}{:>16}{:>16}", cell(Kind::Required), cell(Kind::Optimal), cell(Kind::Check));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let described = r#"{
            "cases": [
                { "id": "a", "group": "g", "kind": "required", "counted": true },
                { "id": "b", "group": "g", "kind": "required", "counted": true },
                { "id": "c", "group": "g", "kind": "optimal", "counted": true },
                { "id": "d", "group": "g", "kind": "check", "counted": true },
                { "id": "e", "group": "h", "kind": "required", "counted": false }
            ],
            "ours": { "a": ["pass", ""], "b": ["dependency failed", "what"], "c": ["fail", "why"], "d": ["no", ""], "e": ["pass", ""] },
            "caches": [{ "name": "x", "outcomes": { "a": "pass", "c": "pass" } }]
        }"#;
        serde_json::from_str(described).unwrap()
    }

    #[test]
    fn only_cases_of_the_suites_tables_are_counted() {
        assert_eq!(report().counts(), Counts { required: 1, optimal: 0, check: 0 });
    }

    #[test]
    fn a_listed_case_that_does_not_pass_is_named_with_its_message() {
        assert!(report().regressions("a\ne\n").is_empty());
        assert_eq!(report().regressions("a\nc\n"), ["c: fail: why"]);
    }

    const README: &str =
        "Text with `x`.\n\n| case | why |\n|---|---|\n| `b` | because |\n| `c` | because |\n";

    #[test]
    fn each_required_and_optimal_case_is_listed_as_passed_or_failed() {
        let differences = |passes: &str, readme: &str| report().differs_from_lists(passes, readme, &report());
        assert!(differences("a\n", README).is_empty());
        assert_eq!(differences("", README), ["a passes, and is not among the passed cases"]);
        assert_eq!(differences("a", &README.replace("`c`", "`x`")).len(), 2, "`c` lacks, and `x` is unknown");
        assert_eq!(differences("a", &format!("{README}| `e` | because |")).len(), 1);
    }

    #[test]
    fn a_case_that_depends_on_time_may_pass_or_fail() {
        let readme =
            format!("{}\n### Dependent on time\n\n| `c` | x |\n", README.replace("| `c` | because |\n", ""));
        for outcome in ["pass", "fail"] {
            let mut report = report();
            report.ours.insert("c".to_owned(), (outcome.to_owned(), String::new()));
            assert!(report.differs_from_lists("a", &readme, &report).is_empty(), "{outcome}");
        }
    }

    #[test]
    fn a_case_of_the_runtime_fails_with_the_same_message_without_the_cache() {
        let readme = "# T\n\n### Impossible in workerd\n\n| `b` | x |\n\n### Others\n\n| `c` | y |\n";
        let mut bare = report();
        bare.ours.insert("c".to_owned(), ("fail".to_owned(), "for another reason".to_owned()));
        bare.ours.insert("b".to_owned(), ("fail".to_owned(), "what".to_owned()));
        assert!(report().differs_from_lists("a", readme, &bare).is_empty());
        bare.ours.insert("b".to_owned(), ("fail".to_owned(), "for another reason".to_owned()));
        assert_eq!(report().differs_from_lists("a", readme, &bare).len(), 1);
    }
}
