//! A chaos run: a fleet of real processes on one Redis, with faults at random. The recorded history
//! is checked against G1 to G5.
//!
//! Processes are killed and frozen. Connections are cut, delayed and stalled. Redis restarts empty,
//! is frozen, evicts keys and loses its feed. Processes sleep through bursts of invalidations,
//! invalidate up to 200,000 tags in one call, and end in order with invalidations in their queue.
//!
//! `STRATA_CHAOS_SECS` sets the duration (default 15 s). `STRATA_SEED` repeats a seed: the faults,
//! their order and the choices in every process are the same, the timing is not.

mod checker;
mod fleet;
mod trouble;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use strata_tests::history::{Answer, Event, Sent};

use checker::{History, Promises, check};
use fleet::{Fleet, Settings};
use trouble::Trouble;

const MAX_LAG: Duration = Duration::from_secs(1);
const PROMISES: Promises = Promises {
    max_lag: MAX_LAG,
    // A loader takes up to 60 ms, a Redis command up to 200 ms, and an orphaned lease 1 s. The rest
    // allows for a busy machine.
    answer_within: Duration::from_secs(5),
    // Longer than any lease outlives its owner, and than any waiter waits.
    recovery: Duration::from_secs(10),
    propagation: Duration::from_millis(500),
};

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_promises_hold_while_processes_and_redis_fail() {
    let seed = from_env("STRATA_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let time = Duration::from_secs(from_env("STRATA_CHAOS_SECS").unwrap_or(15));
    println!("to replay: cargo xtask chaos --seconds {} --seed {seed}", time.as_secs());
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut fleet = Fleet::start(Settings { seed, processes: 3, tasks: 4, items: 8, max_lag: MAX_LAG }).await;
    let start = Instant::now();
    for trouble in Trouble::first(&mut random) {
        fleet.disturb(trouble, &mut random).await;
    }
    while start.elapsed() < time {
        let trouble = Trouble::any(&mut random);
        fleet.disturb(trouble, &mut random).await;
    }
    let history = fleet.end().await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    summarise(&history);
    let violations = check(&history, &PROMISES);
    if !violations.is_empty() {
        let file = write_history(&history, seed);
        violations.iter().take(20).for_each(|violation| println!("{violation}"));
        panic!("seed {seed}: {} violations; the history is in {file}", violations.len());
    }
}

fn summarise(history: &History) {
    let count = |is: fn(&Event) -> bool| history.events.iter().filter(|(_, event)| is(event)).count();
    println!(
        "{} faults; {} reads ({} stale, {} failed), {} loads, {} invalidations ({} queued)",
        history.faults.len(),
        count(|event| matches!(event, Event::Read { .. })),
        count(|event| matches!(event, Event::Read { answer: Answer::Value { fresh: false, .. }, .. })),
        count(|event| matches!(event, Event::Read { answer: Answer::LoaderFailed | Answer::Error(_), .. })),
        count(|event| matches!(event, Event::Loaded { .. })),
        count(|event| matches!(event, Event::Invalidated { .. })),
        count(|event| matches!(event, Event::Invalidated { journal: Sent::Queued, .. })),
    );
    let mut troubles = BTreeMap::<Trouble, usize>::new();
    history.faults.iter().for_each(|fault| *troubles.entry(fault.trouble).or_default() += 1);
    println!("{troubles:?}");
    for trouble in Trouble::IN_EVERY_RUN {
        assert!(troubles.contains_key(&trouble), "the run must contain {trouble:?}");
    }
    let ended = |lost: fn(&[u64]) -> bool| {
        history
            .events
            .iter()
            .filter(|(_, event)| matches!(event, Event::Closed { unsent, .. } if lost(unsent)))
            .count()
    };
    println!(
        "{} orderly ends ({} with unsent invalidations)",
        ended(|_| true),
        ended(|unsent| !unsent.is_empty())
    );
}

/// Writes the history to the temporary directory and returns the name of the file.
fn write_history(history: &History, seed: u64) -> String {
    let name = std::env::temp_dir().join(format!("strata-chaos-{seed}.jsonl"));
    let lines = history.events.iter().map(|event| serde_json::to_string(event).unwrap_or_default() + "\n");
    let faults = history.faults.iter().map(|fault| format!("{fault:?}\n"));
    std::fs::write(&name, lines.chain(faults).collect::<String>()).unwrap();
    name.display().to_string()
}
