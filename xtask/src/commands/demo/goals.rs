//! The goals of the demo, and whether this run has reached them.

use serde::Serialize;

use super::load::Pass;
use super::passes::Passes;

/// A goal, and the figure of this run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    what: &'static str,
    goal: &'static str,
    figure: String,
    is_reached: bool,
}

/// Judges the passes with a warm cache, far from the service.
pub(crate) fn of(passes: &Passes) -> Vec<Goal> {
    let [none, origin, all] = &passes.warm[..] else { return Vec::new() };
    let speed = |than: &Pass| all.per_second / than.per_second;
    let (latency, queries) = (none.p50_ms / all.p50_ms, all.queries_per_thousand / none.queries_per_thousand);
    vec![
        Goal {
            what: "median latency, all layers against no cache",
            goal: "at least 50 times better",
            figure: format!("{latency:.0} times"),
            is_reached: latency >= 50.0,
        },
        Goal {
            what: "database queries, all layers against no cache",
            goal: "at least 90% fewer",
            figure: format!("{:.1}%", 100.0 * (1.0 - queries)),
            is_reached: queries <= 0.1,
        },
        Goal {
            what: "requests per second, all layers against no cache",
            goal: "at least 10 times as many",
            figure: format!("{:.1} times", speed(none)),
            is_reached: speed(none) >= 10.0,
        },
        Goal {
            what: "requests per second, all layers against memory and Redis",
            goal: "more",
            figure: format!("{:.1} times", speed(origin)),
            is_reached: speed(origin) > 1.0,
        },
    ]
}

/// Renders a line per goal.
pub(crate) fn lines(goals: &[Goal]) -> String {
    let line = |goal: &Goal| {
        let mark = if goal.is_reached { "✓" } else { "–" };
        format!("  {mark} {:<58} goal: {:<26} {:>10}\n", goal.what, goal.goal, goal.figure)
    };
    goals.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::stats;
    use super::*;

    fn passes(p50_ms: f64, queries_per_thousand: f64, per_second: f64) -> Passes {
        let none =
            Pass { p50_ms: 50.0, queries_per_thousand: 2_000.0, per_second: 200.0, ..stats::tests::pass() };
        let origin = Pass { per_second: 2_100.0, ..none.clone() };
        let all = Pass { p50_ms, queries_per_thousand, per_second, ..none.clone() };
        Passes { warm: vec![none, origin, all], harder: Vec::new(), near: Vec::new() }
    }

    #[test]
    fn a_goal_is_reached_at_its_figure() {
        let reached = |passes: &Passes| of(passes).iter().map(|goal| goal.is_reached).collect::<Vec<_>>();
        assert_eq!(reached(&passes(1.0, 200.0, 2_200.0)), [true, true, true, true]);
        assert_eq!(reached(&passes(1.1, 210.0, 2_000.0)), [false, false, true, false]);
        assert_eq!(reached(&passes(1.1, 210.0, 1_900.0)), [false, false, false, false]);
    }

    #[test]
    fn a_goal_that_is_not_reached_is_not_ticked() {
        let lines = lines(&of(&passes(1.0, 300.0, 2_200.0)));
        assert_eq!(lines.lines().filter(|line| line.starts_with("  ✓")).count(), 3, "{lines}");
        assert!(lines.contains("  – database queries"), "{lines}");
    }
}
