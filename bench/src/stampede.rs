//! The cost of a stampede: all callers of a fleet read one key at once that nothing holds.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::fleet::{Answers, Error, Member, Order, run_all};
use crate::print;
use crate::server::Server;
use crate::subjects::article::Pattern;

const PROCESSES: usize = 8;
const CALLERS: usize = 10_000;

/// Over how many milliseconds the callers arrive, by name.
const ARRIVALS: [(&str, u64); 2] = [("at once", 0), ("over 50 ms", 50)];
const PATTERNS: [(&str, Pattern); 3] =
    [("strata", Pattern::Strata), ("set_nx", Pattern::Lock), ("xfetch", Pattern::XFetch)];

/// One stampede.
#[derive(Serialize)]
struct Stampede {
    loads: usize,
    p50_ms: f64,
    p99_ms: f64,
    /// The commands that Redis executed, also those within scripts.
    commands: u64,
}

/// Measures all patterns in turn. Prints the stampedes of each as JSON, by the callers' arrival.
pub(crate) fn run(redis: &str, rounds: u64) -> Result<(), Error> {
    let mut server = Server::connect(redis)?;
    let mut members = Member::start_all(PROCESSES, redis)?;
    // A key that no earlier run has used.
    let first_key = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() * 1_000_000;
    let mut measured: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
    // The first round opens connections and loads scripts.
    for round in 0..=rounds {
        for (arrival, over_ms) in ARRIVALS {
            for (name, pattern) in PATTERNS {
                let key = first_key + 1_000 * over_ms + round;
                let order = Order::Stampede { pattern, key, callers: CALLERS / PROCESSES, over_ms };
                let stampede = measure(&mut members, &mut server, &order)?;
                if round > 0 {
                    measured.entry(arrival).or_default().entry(name).or_default().push(stampede);
                }
            }
        }
    }
    print(&measured)
}

fn measure(members: &mut [Member], server: &mut Server, order: &Order) -> Result<Stampede, Error> {
    let before = server.commands()?;
    let answers: Vec<Answers> = run_all(members, order)?;
    let commands = server.commands()? - before;
    let loads = answers.iter().map(|answers| answers.loads).sum();
    let mut micros: Vec<_> = answers.into_iter().flat_map(|answers| answers.micros).collect();
    micros.sort_unstable();
    let percentile =
        |percent: usize| micros.get(micros.len() * percent / 100).map_or(0.0, |&us| us as f64 / 1e3);
    Ok(Stampede { loads, p50_ms: percentile(50), p99_ms: percentile(99), commands })
}
