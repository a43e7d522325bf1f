//! A fleet of real processes on one Redis, whose history is checked against G1 to G5, while processes are killed and frozen,
//! connections cut, delayed and stuck, and Redis restarted empty, frozen and made to evict.
//!
//! `STRATA_SEED` replays a seed: the same faults in the same order, and the same choices in every process; what the machine
//! makes of it differs from run to run. `STRATA_CHAOS_SECS` is how long it runs.

mod checker;
mod fleet;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use strata_tests::history::{Answer, Event};

use checker::{History, Promises, check};
use fleet::{Fleet, Settings};

const MAX_LAG: Duration = Duration::from_secs(1);
const PROMISES: Promises = Promises {
    max_lag: MAX_LAG,
    // A loader takes 60 ms here, a Redis command 200 ms at most, and a lease in vain 1 s. The rest is for a machine that does
    // other things as well.
    answer_within: Duration::from_secs(5),
    // The longest time that a lease lasts without its owner, and that a waiter waits.
    recovery: Duration::from_secs(10),
    hearsay: Duration::from_millis(500),
};

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_promises_are_kept_whatever_happens_to_processes_and_redis() {
    let seed = from_env("STRATA_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let time = Duration::from_secs(from_env("STRATA_CHAOS_SECS").unwrap_or(15));
    println!("to replay: cargo xtask chaos --seconds {} --seed {seed}", time.as_secs());
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut fleet = Fleet::start(Settings { seed, processes: 3, tasks: 4, items: 6, max_lag: MAX_LAG }).await;
    let start = Instant::now();
    while start.elapsed() < time {
        fleet.disturb(&mut random).await;
    }
    let history = fleet.end().await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    summarise(&history);
    let violations = check(&history, &PROMISES);
    if !violations.is_empty() {
        let kept = keep(&history, seed);
        violations.iter().take(20).for_each(|violation| println!("{violation}"));
        panic!("seed {seed}: {} violations; the history is in {kept}", violations.len());
    }
}

fn summarise(history: &History) {
    let count = |is: fn(&Event) -> bool| history.events.iter().filter(|(_, event)| is(event)).count();
    println!(
        "{} troubles; {} reads ({} stale, {} failed), {} loads, {} invalidations ({} queued)",
        history.troubles.len(),
        count(|event| matches!(event, Event::Read { .. })),
        count(|event| matches!(event, Event::Read { answer: Answer::Value { fresh: false, .. }, .. })),
        count(|event| matches!(event, Event::Read { answer: Answer::LoaderFailed | Answer::Error(_), .. })),
        count(|event| matches!(event, Event::Loaded { .. })),
        count(|event| matches!(event, Event::Invalidated { .. })),
        count(|event| matches!(event, Event::Invalidated { done: false, .. })),
    );
}

/// Writes the history where it can be looked into, and gives the file's name.
fn keep(history: &History, seed: u64) -> String {
    let name = std::env::temp_dir().join(format!("strata-chaos-{seed}.jsonl"));
    let lines = history.events.iter().map(|event| serde_json::to_string(event).unwrap_or_default() + "\n");
    let troubles = history.troubles.iter().map(|trouble| format!("{trouble:?}\n"));
    std::fs::write(&name, lines.chain(troubles).collect::<String>()).unwrap();
    name.display().to_string()
}
