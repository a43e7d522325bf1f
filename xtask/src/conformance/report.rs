//! What a run came to, case by case, beside the published results of other caches.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Result};

/// The README's heading above what the runtime is the reason for.
const RUNTIMES_HEADING: &str = "workerd cannot carry them\n";

/// What a case asks for, in the suite's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// What the RFCs demand.
    Required,
    /// What a good cache does.
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
    /// Whether it is among those that the suite's tables count.
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
    /// Outcome and message per case.
    ours: BTreeMap<String, (String, String)>,
    caches: Vec<Published>,
}

/// How many cases of each kind were passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    required: usize,
    optimal: usize,
    check: usize,
}

impl Counts {
    /// Whether no kind is below the floor's.
    pub(crate) fn reach(self, floor: Self) -> bool {
        Kind::ALL.iter().all(|kind| self.of(*kind) >= floor.of(*kind))
    }

    /// Whether more is passed of what has a right answer than the floor says.
    pub(crate) fn exceed(self, floor: Self) -> bool {
        self.required > floor.required || self.optimal > floor.optimal
    }

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
    /// How many of the cases that the suite's tables count were passed.
    pub(crate) fn counts(&self) -> Counts {
        self.passed(true, |id| self.outcome(id))
    }

    /// Prints the counts side by side, then what was not passed, and whether `bare`, the run through a worker that only forwards, came
    /// to the same.
    pub(crate) fn print(&self, bare: &Self) {
        let of = Counts::count(self.cases.iter().filter(|case| case.counted));
        println!("\n{:<24}{:>16}{:>16}{:>16}", "", "required", "optimal", "check");
        print_row("strata-edge", self.counts(), of);
        print_row("pass-through", bare.counts(), of);
        for cache in &self.caches {
            print_row(&cache.name, self.passed(true, |id| cache.outcomes.get(id).map_or("", String::as_str)), of);
        }
        let of = Counts::count(self.cases.iter().filter(|case| !case.counted));
        if of != Counts::default() {
            let passed = self.passed(false, |id| self.outcome(id));
            println!("\nbesides, what the suite runs and does not count:");
            print_row("strata-edge", passed, of);
        }
        for kind in Kind::ALL {
            let cases: Vec<&Case> =
                self.cases.iter().filter(|case| case.kind == kind && !self.is_passed(case)).collect();
            println!("\n{}, not passed: {}", kind.as_str(), cases.len());
            for case in cases {
                let (outcome, message) = self.ours.get(&case.id).cloned().unwrap_or_default();
                let alike = if self.is_alike(bare, &case.id) { " (pass-through: the same)" } else { "" };
                println!("  {:<58} {outcome}: {message}{alike}", case.id);
            }
        }
    }

    /// Writes all of it as JSON.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let writing = || format!("writing {}", file.display());
        std::fs::write(file, serde_json::to_string_pretty(self).doing(writing)?).doing(writing)
    }

    /// How the cases that a README names in the first column of its tables differ from those not passed; checks are not told. What it
    /// lays to the runtime must have come to the same in `bare`.
    pub(crate) fn differs_from_readme(&self, readme: &str, bare: &Self) -> Vec<String> {
        let told: BTreeSet<&str> = cases_in(readme).collect();
        let failed: BTreeSet<&str> = self
            .cases
            .iter()
            .filter(|case| case.counted && case.kind != Kind::Check && !self.is_passed(case))
            .map(|case| case.id.as_str())
            .collect();
        let missing = failed.difference(&told).map(|id| format!("{id} is not passed and not told of"));
        let extra = told.difference(&failed).map(|id| format!("{id} is told of and passed, or no case"));
        let carried = runtimes_part(readme).filter(|id| !self.is_alike(bare, id));
        let carried = carried.map(|id| {
            let (outcome, message) = bare.ours.get(id).cloned().unwrap_or_default();
            format!("the runtime is not shown to be the reason for {id}: through the pass-through worker, {outcome}: {message}")
        });
        missing.chain(extra).chain(carried).collect()
    }

    /// Whether a case came to the same words in `bare`; its outcome there may be another, where a case that it depends on failed.
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

/// The cases in the first column of tables.
fn cases_in(readme: &str) -> impl Iterator<Item = &str> {
    readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next())
}

/// The cases that a README lays to the runtime.
fn runtimes_part(readme: &str) -> impl Iterator<Item = &str> {
    let section = readme.split("\n### ").find(|section| section.starts_with(RUNTIMES_HEADING));
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
    fn only_what_the_suite_counts_is_counted() {
        assert_eq!(report().counts(), Counts { required: 1, optimal: 0, check: 0 });
    }

    #[test]
    fn the_floor_holds_for_each_kind_alone() {
        let counts = Counts { required: 5, optimal: 5, check: 5 };
        assert!(counts.reach(Counts { required: 5, optimal: 4, check: 0 }));
        assert!(!counts.reach(Counts { required: 0, optimal: 0, check: 6 }));
        assert!(counts.exceed(Counts { required: 5, optimal: 4, check: 0 }));
        assert!(!counts.exceed(Counts { required: 5, optimal: 5, check: 0 }));
    }

    #[test]
    fn the_readme_names_what_is_not_passed_and_nothing_else() {
        let told = "Text with `x`.\n\n| case | why |\n|---|---|\n| `b` | because |\n| `c` | because |\n";
        assert!(report().differs_from_readme(told, &report()).is_empty());
        let wrong = told.replace("`c`", "`a`");
        assert_eq!(report().differs_from_readme(&wrong, &report()).len(), 2);
    }

    #[test]
    fn what_is_laid_to_the_runtime_fails_in_the_same_words_without_us() {
        let told = "# T\n\n### workerd cannot carry them\n\n| `b` | x |\n\n### Others\n\n| `c` | y |\n";
        let mut bare = report();
        bare.ours.insert("c".to_owned(), ("fail".to_owned(), "for another reason".to_owned()));
        bare.ours.insert("b".to_owned(), ("fail".to_owned(), "what".to_owned()));
        assert!(report().differs_from_readme(told, &bare).is_empty());
        bare.ours.insert("b".to_owned(), ("fail".to_owned(), "for another reason".to_owned()));
        assert_eq!(report().differs_from_readme(told, &bare).len(), 1);
    }
}
