//! How long an invalidation takes: until the call returns, until other processes have applied it,
//! and by how many entries it covers.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::fleet::{Error, Member, Order, Seen, Sender, Sent, run_all};
use crate::print;
use crate::server::Server;

/// The processes that follow, beside the one that sends.
const PROCESSES: usize = 3;
/// The entries under one tag.
const TAGGED: [u64; 3] = [1, 10_000, 1_000_000];
/// How often a tag is invalidated.
const TAG_CALLS: u32 = 200;

/// A rate of invalidations.
struct Rate {
    per_second: u64,
    count: u32,
}

const RATES: [Rate; 2] = [Rate { per_second: 20, count: 60 }, Rate { per_second: 1_000, count: 2_000 }];

/// The results, for programs.
#[derive(Serialize)]
struct Measured {
    followers: usize,
    /// By invalidations per second, and then by subject.
    rates: BTreeMap<u64, BTreeMap<&'static str, Vec<Latency>>>,
    tags: Vec<Tag>,
}

/// The invalidations of one round, in milliseconds.
#[derive(Serialize)]
struct Latency {
    returns_p50: f64,
    returns_p99: f64,
    seen_p50: f64,
    seen_p99: f64,
    /// The commands that Redis executed per invalidation, also those within scripts.
    commands: f64,
    /// The part of one processor that Redis used.
    server: f64,
}

/// Invalidations of a tag, in microseconds.
#[derive(Serialize)]
struct Tag {
    entries: u64,
    strata_p50: u128,
    scan_and_delete: u128,
}

/// Measures both ways at each rate in turn, and tags if `with_tags`. Prints the results as JSON.
pub(crate) fn run(redis: &str, rounds: u32, followers: usize, with_tags: bool) -> Result<(), Error> {
    let mut server = Server::connect(redis)?;
    let mut sender = Member::start(redis)?;
    let mut members = Member::start_all(PROCESSES, redis)?;
    let followers = followers.div_ceil(PROCESSES);
    let _: Vec<()> = run_all(&mut members, &Order::Follow { followers })?;
    let mut rates: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
    for _ in 0..rounds {
        for rate in &RATES {
            for (name, by) in [("strata", Sender::Strata), ("pub_sub", Sender::PubSub)] {
                let latency = measure(&mut sender, &mut members, &mut server, by, rate)?;
                rates.entry(rate.per_second).or_default().entry(name).or_default().push(latency);
            }
        }
    }
    let mut tags = Vec::new();
    for entries in TAGGED.into_iter().filter(|_| with_tags) {
        let _: () = sender.run(&Order::Fill { tag: entries, entries })?;
        let mut micros: Vec<u128> = sender.run(&Order::InvalidateTag { tag: entries, count: TAG_CALLS })?;
        micros.sort_unstable();
        let scan_and_delete = sender.run(&Order::ScanAndDelete { tag: entries })?;
        tags.push(Tag { entries, strata_p50: percentile(&micros, 50), scan_and_delete });
    }
    print(&Measured { followers: followers * PROCESSES, rates, tags })
}

fn measure(
    sender: &mut Member,
    members: &mut [Member],
    server: &mut Server,
    by: Sender,
    rate: &Rate,
) -> Result<Latency, Error> {
    let _: Vec<()> = run_all(members, &Order::Observe)?;
    let (began, commands, processor) = (Instant::now(), server.commands()?, server.processor_seconds()?);
    let every_micros = 1_000_000 / rate.per_second;
    let sent: Vec<Sent> = sender.run(&Order::Invalidate { by, count: rate.count, every_micros })?;
    let (commands, processor) = (server.commands()? - commands, server.processor_seconds()? - processor);
    let seconds = began.elapsed().as_secs_f64();
    let place = match by {
        Sender::Strata => sent.iter().map(|sent| sent.place).max().unwrap_or_default(),
        Sender::PubSub => 0,
    };
    let seen: Vec<Seen> = run_all(members, &Order::Report { place })?;
    let mut returns: Vec<_> = sent.iter().map(|sent| sent.returned_at - sent.called_at).collect();
    returns.sort_unstable();
    let mut delays = Vec::new();
    for seen in &seen {
        let (messages, followers) = seen.split_last().ok_or("expected the messages")?;
        match by {
            Sender::Strata => followers.iter().try_for_each(|seen| extend(&mut delays, &sent, seen))?,
            Sender::PubSub => extend(&mut delays, &sent, messages)?,
        }
    }
    delays.sort_unstable();
    let ms = |micros: &[u64], percent| percentile(micros, percent) as f64 / 1e3;
    Ok(Latency {
        returns_p50: ms(&returns, 50),
        returns_p99: ms(&returns, 99),
        seen_p50: ms(&delays, 50),
        seen_p99: ms(&delays, 99),
        commands: commands as f64 / f64::from(rate.count),
        server: processor / seconds,
    })
}

/// Adds how long after each call a follower has seen the invalidation.
fn extend(delays: &mut Vec<u64>, sent: &[Sent], seen: &[(u64, u128)]) -> Result<(), Error> {
    for sent in sent {
        // A place may be reached by a later record, or a message be received after a later one.
        let first = seen.partition_point(|&(_, place)| place < sent.place);
        let &(at, _) = seen.get(first).ok_or("a follower has not seen an invalidation")?;
        delays.push(at.saturating_sub(sent.called_at));
    }
    Ok(())
}

fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalidation_is_seen_when_its_place_or_a_later_one_is_reached() {
        let sent = [10, 20].map(|place| Sent { place, called_at: 100, returned_at: 100 });
        let mut delays = Vec::new();
        extend(&mut delays, &sent, &[(90, 5), (107, 15), (109, 20)]).unwrap();
        assert_eq!(delays, [7, 9]);
        assert!(extend(&mut delays, &sent, &[(107, 15)]).is_err());
    }
}
