//! Runs a load: a thread for each connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use strata_load::cache_status::CacheStatus;
use strata_load::{Operation, Outcome, Plan, Write};

use crate::client::{Answer, Client};

/// The first few errors show what went wrong.
const MAX_ERRORS: usize = 5;
/// Linux counts processor time in hundredths of a second, whatever its own clock is.
const TICK: Duration = Duration::from_millis(10);

/// Sends the requests until all are answered or the limit has passed.
pub(crate) fn run(plan: &Plan) -> Outcome {
    let run = Run { plan, since: Instant::now(), next: AtomicUsize::new(0) };
    let (mut outcome, mut micros) = (Outcome::default(), histogram());
    thread::scope(|scope| {
        let connections: Vec<_> = (0..plan.connections).map(|_| scope.spawn(|| run.connection())).collect();
        for connection in connections {
            match connection.join() {
                Ok((one, durations)) => {
                    add(&mut outcome, one);
                    // Both have the same bounds.
                    let _ = micros.add(durations);
                }
                Err(_) => add_error(&mut outcome, "a connection's thread panicked".to_owned()),
            }
        }
    });
    outcome.duration_us = run.micros();
    outcome.answered = micros.len();
    outcome.p50_us = micros.value_at_quantile(0.50);
    outcome.p95_us = micros.value_at_quantile(0.95);
    outcome.p99_us = micros.value_at_quantile(0.99);
    outcome.client_us = processor_time().as_micros() as u64;
    outcome
}

struct Run<'a> {
    plan: &'a Plan,
    since: Instant,
    next: AtomicUsize,
}

impl Run<'_> {
    fn connection(&self) -> (Outcome, Histogram<u64>) {
        let mut clients: Vec<Client> = self.plan.targets.iter().map(|target| Client::new(target)).collect();
        let (mut outcome, mut micros) = (Outcome::default(), histogram());
        while self.plan.limit_ms.is_none_or(|limit| self.micros() < limit * 1000) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(operation) = self.plan.operations.get(n) else { break };
            let target = n % clients.len();
            let began_us = self.micros();
            let answer = match operation {
                Operation::Get(path) => clients[target].get(path),
                Operation::Put(path, body) => clients[target].put(path, body),
            };
            let ended_us = self.micros();
            match (operation, answer) {
                (Operation::Get(_), Ok(Answer { status: 200 | 304 | 404, cache_status })) => {
                    micros.saturating_record(ended_us - began_us);
                    *outcome.layers.entry(CacheStatus::parse(&cache_status).layer()).or_default() += 1;
                }
                (Operation::Put(..), Ok(Answer { status: 200..300, .. })) => {
                    micros.saturating_record(ended_us - began_us);
                    outcome.writes.push(Write { operation: n, began_us, ended_us });
                }
                (operation, Ok(Answer { status, .. })) => {
                    add_error(&mut outcome, format!("{operation:?} answered {status}"));
                }
                (operation, Err(error)) => add_error(&mut outcome, format!("{operation:?}: {error}")),
            }
        }
        (outcome, micros)
    }

    fn micros(&self) -> u64 {
        self.since.elapsed().as_micros() as u64
    }
}

/// 1 µs to a minute with three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

fn add(outcome: &mut Outcome, other: Outcome) {
    for (layer, reads) in other.layers {
        *outcome.layers.entry(layer).or_default() += reads;
    }
    outcome.writes.extend(other.writes);
    outcome.errors.extend(other.errors);
    outcome.errors.truncate(MAX_ERRORS);
    outcome.error_count += other.error_count;
}

fn add_error(outcome: &mut Outcome, error: String) {
    outcome.error_count += 1;
    if outcome.errors.len() < MAX_ERRORS {
        outcome.errors.push(error);
    }
}

/// Returns the processor time that this process has used; zero if the system does not say.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name, in parentheses, can contain spaces. User and system time are the 12th and
    // 13th values after it.
    let values = stat.rsplit_once(')').map_or("", |(_, values)| values);
    let ticks = values.split_whitespace().skip(11).take(2).filter_map(|value| value.parse::<u32>().ok());
    TICK * ticks.sum::<u32>()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write as _};
    use std::net::TcpListener;

    use super::*;
    use strata_load::cache_status::Layer;

    /// Answers each request on each connection with `answer`, and returns its address.
    fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut request = [0; 4096];
                    while stream.read(&mut request).is_ok_and(|count| count > 0) {
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                });
            }
        });
        address
    }

    fn plan(answer: &'static str, operations: Vec<Operation>) -> Plan {
        Plan { targets: vec![server(answer)], connections: 2, limit_ms: None, operations }
    }

    const HIT: &str = "HTTP/1.1 200 OK\r\nCache-Status: strata-edge; hit\r\nContent-Length: 2\r\n\r\nok";

    #[test]
    fn every_request_is_sent_once_and_counted_by_its_layer() {
        let mut operations = vec![Operation::Get("/a".to_owned()); 20];
        operations.push(Operation::Put("/a".to_owned(), "{}".to_owned()));
        let outcome = run(&plan(HIT, operations));
        assert_eq!((outcome.answered, outcome.layers[&Layer::Edge]), (21, 20));
        assert_eq!(outcome.writes.len(), 1);
        assert_eq!(outcome.writes[0].operation, 20);
        assert!(outcome.writes[0].ended_us >= outcome.writes[0].began_us);
        assert_eq!(outcome.error_count, 0, "{:?}", outcome.errors);
    }

    #[test]
    fn an_unexpected_status_is_an_error_and_the_first_few_are_reported() {
        let operations = vec![Operation::Get("/a".to_owned()); 9];
        let outcome = run(&plan("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", operations));
        assert_eq!((outcome.answered, outcome.error_count, outcome.errors.len()), (0, 9, MAX_ERRORS));
    }

    #[test]
    fn a_load_without_time_sends_nothing() {
        let operations = vec![Operation::Get("/a".to_owned()); 9];
        let outcome = run(&Plan { limit_ms: Some(0), ..plan(HIT, operations) });
        assert_eq!((outcome.answered, outcome.error_count), (0, 0));
    }
}
