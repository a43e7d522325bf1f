//! The simulation's events: purges, requests that refresh an isolate's snapshot, and reads of the
//! journal object.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

use edge_worker::journal::snapshot::{MAX_RECORDS, SnapshotText};
use edge_worker::journal::timing::{self, MAX_POLLS, Part, recent_window, refresh_age};
use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shared_keys::{Mode, Position, Record, Scope, Seq, Stamp};

/// Microseconds since the simulation began.
type Micros = u64;

const SEC: Micros = 1_000_000;
const OBJECT_TIMEOUT: Micros = micros(timing::OBJECT_TIMEOUT);
const OBJECT_BACKOFF: Micros = micros(timing::OBJECT_BACKOFF);
const POLL_INTERVAL: Micros = micros(timing::POLL_INTERVAL);
/// The time until the other isolates of a data centre see an entry put by one isolate.
const PUT_DELAY: Micros = 5_000;
/// The largest number of records in one message of the shipper.
const MAX_BATCH: u64 = 500;
/// The number at which the object begins to count.
const FIRST: u64 = 1_763_900_000_000;

/// The assumptions: what the worker's code does not determine.
pub(crate) struct Assumptions {
    /// The shortest and the longest round trip from a data centre to the object, evenly
    /// distributed.
    round_trip: (Micros, Micros),
    /// The round trip from the shipper to the object. One message is in flight at a time.
    shipper_round_trip: Micros,
    /// The object's time for a read, in microseconds, and for each record that must be rendered.
    read: (Micros, f64),
    /// The object's time for a message, in microseconds, and for each record in it.
    append: (Micros, f64),
    /// The requests per second of an isolate.
    requests_per_sec: f64,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            round_trip: (5_000, 250_000),
            shipper_round_trip: 50_000,
            read: (500, 1.0),
            append: (1_000, 30.0),
            requests_per_sec: 20.0,
        }
    }
}

impl fmt::Display for Assumptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |micros: Micros| micros as f64 / 1000.0;
        write!(
            f,
            "round trips of {} to {} ms, shipper {} ms; the object takes {} ms + {} us per record to read, {} ms + {} us \
             per record to append; {} requests/s per isolate; every purge has a scope of its own",
            ms(self.round_trip.0),
            ms(self.round_trip.1),
            ms(self.shipper_round_trip),
            ms(self.read.0),
            self.read.1,
            ms(self.append.0),
            self.append.1,
            self.requests_per_sec
        )
    }
}

/// The simulated deployment and its load.
pub(crate) struct Planet {
    pub(crate) colos: u32,
    pub(crate) isolates: u32,
    pub(crate) max_lag: Duration,
    pub(crate) purges_per_sec: u32,
    /// The duration of the measurement, after as long to settle.
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
}

/// The measurements of one simulation.
pub(crate) struct Measurements {
    pub(crate) secs: f64,
    /// The reads of the object: of the recent records, and of the whole.
    pub(crate) reads_recent: u64,
    pub(crate) reads_whole: u64,
    /// The refreshes that the data centre's shared text answered.
    pub(crate) shared: u64,
    /// The reads that were not answered in time.
    pub(crate) timeouts: u64,
    /// The fraction of the time in which the object worked, in `0.0..=1.0`.
    pub(crate) busy: f64,
    /// The bytes of a text.
    pub(crate) text_bytes: Histogram<u64>,
    /// The bytes of all texts that the object sent.
    pub(crate) sent_bytes: u64,
    /// The microseconds from a purge until an isolate obeys it: per refresh, for the oldest of its
    /// new records.
    pub(crate) purge_to_isolate: Histogram<u64>,
}

/// A text of the journal: the numbers after which it begins and at which it ends, and when it was
/// requested.
#[derive(Clone, Copy)]
struct Text {
    after: u64,
    seq: u64,
    requested_at: Micros,
}

#[derive(Clone, Copy)]
enum Event {
    /// The shipper sends the purges since its last message.
    Ship,
    /// An isolate gets a request at which its snapshot is due for a refresh, or polls again.
    Due { isolate: usize },
    /// A read reaches the object.
    Read { isolate: usize, part: Part, requested_at: Micros, back_at: Micros },
    /// The object's answer reaches the isolate.
    Answer { isolate: usize, part: Part, text: Text },
}

struct Isolate {
    seq: u64,
    complete_at: Micros,
    polls: u32,
    /// The recent records, while the isolate reads the whole.
    recent: Option<Text>,
}

#[derive(Clone, Copy, Default)]
struct Colo {
    round_trip: Micros,
    recent: SharedText,
    whole: SharedText,
}

/// A data centre's shared copy of a text.
#[derive(Clone, Copy, Default)]
struct SharedText {
    text: Option<Text>,
    shared_until: Micros,
    /// From when until when the other isolates see that an isolate reads the object.
    pending: (Micros, Micros),
}

struct Run<'a> {
    planet: &'a Planet,
    assumptions: &'a Assumptions,
    now: Micros,
    order: u64,
    queue: BinaryHeap<Reverse<(Micros, u64, usize)>>,
    events: Vec<Event>,
    isolates: Vec<Isolate>,
    colos: Vec<Colo>,
    chance: StdRng,
    /// The object's last number, until when it is busy, and the last number of each second.
    seq: u64,
    free_at: Micros,
    /// The numbers after which the last rendered texts begin and at which they end.
    rendered: [(u64, u64); 2],
    marks: Vec<(u64, u64)>,
    /// The time of each purge, by its number from [`FIRST`].
    purged_at: Vec<Micros>,
    unshipped: u64,
    record_bytes: usize,
    head_bytes: usize,
    worked: Micros,
    measuring: bool,
    measured: Measurements,
}

impl Planet {
    /// Runs the simulation: settles for the duration, then measures for the duration.
    pub(crate) fn run(&self, assumptions: &Assumptions) -> Measurements {
        let mut run = Run::new(self, assumptions);
        let duration = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX);
        run.until(duration);
        run.measuring = true;
        run.worked = 0;
        run.until(2 * duration);
        run.measured.secs = self.duration.as_secs_f64();
        run.measured.busy = run.worked as f64 / duration as f64;
        run.measured
    }

    fn max_lag(&self) -> Micros {
        micros(self.max_lag)
    }
}

impl<'a> Run<'a> {
    fn new(planet: &'a Planet, assumptions: &'a Assumptions) -> Self {
        let mut chance = StdRng::seed_from_u64(planet.seed);
        let (nearest, farthest) = assumptions.round_trip;
        let colo = |_| Colo { round_trip: chance.random_range(nearest..=farthest), ..Colo::default() };
        let colos = (0..planet.colos).map(colo).collect();
        let number = (planet.colos * planet.isolates) as usize;
        let (head_bytes, record_bytes) = text_sizes();
        let mut run = Self {
            planet,
            assumptions,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            isolates: (0..number)
                .map(|_| Isolate { seq: FIRST, complete_at: 0, polls: 0, recent: None })
                .collect(),
            colos,
            chance,
            seq: FIRST,
            free_at: 0,
            rendered: [(0, 0); 2],
            marks: Vec::new(),
            purged_at: Vec::new(),
            unshipped: 0,
            record_bytes,
            head_bytes,
            worked: 0,
            measuring: false,
            measured: Measurements::new(),
        };
        run.at(0, Event::Ship);
        // Isolates begin at different times.
        for isolate in 0..number {
            let begins = run.chance.random_range(0..planet.max_lag());
            run.at(begins, Event::Due { isolate });
        }
        run
    }

    fn at(&mut self, time: Micros, event: Event) {
        self.queue.push(Reverse((time, self.order, self.events.len())));
        self.order += 1;
        self.events.push(event);
    }

    fn until(&mut self, end: Micros) {
        while let Some(&Reverse((time, _, event))) = self.queue.peek() {
            if time > end {
                return;
            }
            self.queue.pop();
            self.now = time;
            match self.events[event] {
                Event::Ship => self.ship(),
                Event::Due { isolate } => self.refresh(isolate),
                Event::Read { isolate, part, requested_at, back_at } => {
                    self.read(isolate, part, requested_at, back_at);
                }
                Event::Answer { isolate, part, text } => self.answer(isolate, part, text),
            }
        }
    }

    /// Sends one message with the purges until now, and schedules the next for its confirmation.
    fn ship(&mut self) {
        let due = (u128::from(self.now) * u128::from(self.planet.purges_per_sec) / u128::from(SEC)) as u64;
        while (self.purged_at.len() as u64) < due {
            let number = self.purged_at.len() as u64;
            self.purged_at.push((number + 1) * SEC / u64::from(self.planet.purges_per_sec));
            self.unshipped += 1;
        }
        let batch = self.unshipped.min(MAX_BATCH);
        if batch > 0 {
            self.unshipped -= batch;
            let (base, each) = self.assumptions.append;
            self.occupy(self.now, base + (each * batch as f64) as Micros);
            self.seq += batch;
            let second = self.free_at / SEC;
            match self.marks.last_mut() {
                Some(mark) if mark.0 == second => mark.1 = self.seq,
                _ => self.marks.push((second, self.seq)),
            }
        }
        self.at(self.now.max(self.free_at) + self.assumptions.shipper_round_trip, Event::Ship);
    }

    /// Occupies the object, which processes one request after the other.
    fn occupy(&mut self, from: Micros, takes: Micros) {
        self.free_at = self.free_at.max(from) + takes;
        self.worked += takes;
    }

    fn refresh(&mut self, isolate: usize) {
        match self.isolates[isolate].recent {
            None => self.shared_or_read(isolate, Part::Recent),
            Some(_) => self.shared_or_read(isolate, Part::Whole),
        }
    }

    /// Reads the data centre's shared text, polls while another isolate reads the object, or reads
    /// it.
    fn shared_or_read(&mut self, isolate: usize, part: Part) {
        let now = self.now;
        let shared = *self.shared(isolate, part);
        if let Some(text) = shared.text.filter(|_| shared.shared_until >= now) {
            self.measured.shared += u64::from(self.measuring);
            return self.apply_part(isolate, part, text);
        }
        let polls = &mut self.isolates[isolate].polls;
        if (shared.pending.0..shared.pending.1).contains(&now) {
            *polls += 1;
            let wait = if *polls <= MAX_POLLS { POLL_INTERVAL } else { OBJECT_BACKOFF };
            *polls %= MAX_POLLS + 1;
            return self.at(now + wait, Event::Due { isolate });
        }
        *polls = 0;
        let pending = &mut self.shared(isolate, part).pending;
        // An isolate that reads before it sees another's marker does not replace that marker.
        if pending.1 <= now {
            *pending = (now + PUT_DELAY, now + PUT_DELAY + OBJECT_TIMEOUT);
        }
        self.send(isolate, part);
    }

    fn shared(&mut self, isolate: usize, part: Part) -> &mut SharedText {
        let colo = &mut self.colos[isolate / self.planet.isolates as usize];
        match part {
            Part::Recent => &mut colo.recent,
            Part::Whole => &mut colo.whole,
        }
    }

    fn apply_part(&mut self, isolate: usize, part: Part, text: Text) {
        self.isolates[isolate].polls = 0;
        let follows = self.apply(isolate, text);
        let waiting = self.isolates[isolate].recent.take();
        match (part, waiting) {
            (Part::Recent, _) if !follows => {
                self.isolates[isolate].recent = Some(text);
                self.shared_or_read(isolate, Part::Whole);
            }
            // The shared whole is older than the first of the recent records.
            (Part::Whole, Some(recent)) if !self.apply(isolate, recent) => self.send(isolate, Part::Whole),
            _ => self.next_request(isolate),
        }
    }

    /// Applies a text by the worker's own rule, and measures the delay of its new records.
    fn apply(&mut self, isolate: usize, text: Text) -> bool {
        let known = &mut self.isolates[isolate];
        if !snapshot_text(text, vec![]).connects_to(Seq(FIRST), Seq(known.seq)) {
            return false;
        }
        if text.seq > known.seq {
            let oldest = self.purged_at[(known.seq - FIRST) as usize];
            if self.measuring {
                self.measured.record_delay(self.now - oldest);
            }
            known.seq = text.seq;
        }
        known.complete_at = known.complete_at.max(text.requested_at);
        true
    }

    /// Schedules the first request at which the isolate's snapshot is due again.
    fn next_request(&mut self, isolate: usize) {
        let age = micros(refresh_age(self.planet.max_lag, self.chance.random()));
        let due = (self.isolates[isolate].complete_at + age).max(self.now);
        // Requests are independent of each other, so the time to the next is exponential.
        let wait = -self.chance.random::<f64>().max(1e-9).ln() / self.assumptions.requests_per_sec;
        self.at(due + (wait * SEC as f64) as Micros, Event::Due { isolate });
    }

    fn send(&mut self, isolate: usize, part: Part) {
        let there = self.colos[isolate / self.planet.isolates as usize].round_trip / 2;
        let read = Event::Read { isolate, part, requested_at: self.now, back_at: there };
        self.at(self.now + there, read);
    }

    fn read(&mut self, isolate: usize, part: Part, requested_at: Micros, back: Micros) {
        let second = self.now / SEC;
        let window = recent_window(self.planet.max_lag).as_secs();
        let after = match part {
            Part::Whole => FIRST,
            Part::Recent => {
                let before = self.marks.partition_point(|&(at, _)| at + window < second);
                self.marks[..before].last().map_or(FIRST, |&(_, seq)| seq)
            }
        };
        // Beyond what the object stores, the floor stands for the rest.
        let records = (self.seq - after).min(MAX_RECORDS as u64);
        let bytes = self.head_bytes as u64 + records * self.record_bytes as u64;
        let (base, each) = self.assumptions.read;
        let text = (after, self.seq);
        let rendering = if self.rendered.contains(&text) { 0 } else { (each * records as f64) as Micros };
        if rendering > 0 {
            self.rendered = [text, self.rendered[0]];
        }
        self.occupy(self.now, base + rendering);
        if self.measuring {
            match part {
                Part::Recent => self.measured.reads_recent += 1,
                Part::Whole => self.measured.reads_whole += 1,
            }
            self.measured.record_text(bytes);
        }
        let text = Text { after, seq: self.seq, requested_at };
        if self.free_at + back > requested_at + OBJECT_TIMEOUT {
            if self.measuring {
                self.measured.timeouts += 1;
            }
            self.isolates[isolate].recent = None;
            return self.at(requested_at + OBJECT_TIMEOUT + OBJECT_BACKOFF, Event::Due { isolate });
        }
        self.at(self.free_at + back, Event::Answer { isolate, part, text });
    }

    fn answer(&mut self, isolate: usize, part: Part, text: Text) {
        let shared_until = self.now + micros(part.shared_for(self.planet.max_lag));
        *self.shared(isolate, part) = SharedText { text: Some(text), shared_until, pending: (0, 0) };
        self.apply_part(isolate, part, text);
    }
}

impl Measurements {
    fn new() -> Self {
        let histogram = || Histogram::new(3).expect("three digits are allowed");
        Self {
            secs: 0.0,
            reads_recent: 0,
            reads_whole: 0,
            shared: 0,
            timeouts: 0,
            busy: 0.0,
            text_bytes: histogram(),
            sent_bytes: 0,
            purge_to_isolate: histogram(),
        }
    }

    fn record_delay(&mut self, delay: Micros) {
        self.purge_to_isolate.record(delay).expect("the histogram grows with its values");
    }

    fn record_text(&mut self, bytes: u64) {
        self.text_bytes.record(bytes).expect("the histogram grows with its values");
        self.sent_bytes += bytes;
    }
}

const fn micros(duration: Duration) -> Micros {
    duration.as_micros() as Micros
}

fn snapshot_text(text: Text, records: Vec<Record>) -> SnapshotText {
    SnapshotText {
        first: Seq(FIRST),
        after: Seq(text.after),
        seq: Seq(text.seq),
        floors: vec![Stamp::edge(Seq(FIRST))],
        records,
    }
}

/// Returns the bytes of a text without records, and of each record, as the worker renders them.
fn text_sizes() -> (usize, usize) {
    let text = Text { after: FIRST, seq: FIRST, requested_at: 0 };
    let records = 1000;
    let record = |n: u64| Record {
        scope: format!("tag:product:{n}").parse::<Scope>().unwrap_or(Scope::All).hash(),
        mode: Mode::Remove,
        stamp: Stamp { origin: Some(Position::new(FIRST + n, 0)), edge: Some(Seq(FIRST + n)) },
    };
    let empty = snapshot_text(text, vec![]).render().len();
    let full = snapshot_text(text, (0..records).map(record).collect()).render().len();
    (empty, (full - empty) / records as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planet(purges_per_sec: u32, isolates: u32) -> Measurements {
        let planet = Planet {
            colos: 20,
            isolates,
            max_lag: Duration::from_secs(5),
            purges_per_sec,
            duration: Duration::from_secs(30),
            seed: 3,
        };
        planet.run(&Assumptions::default())
    }

    #[test]
    fn the_objects_load_grows_neither_with_the_isolates_of_a_data_centre_nor_with_purges() {
        let few = planet(1, 10);
        let many = planet(1, 100);
        let busy = planet(100, 100);
        assert!(few.reads_recent > 0);
        // A text is shared for 2 s and renewed by the first isolate that needs it. Until its marker
        // is visible, others read the object as well.
        let most = |measured: &Measurements, per_colo: f64| {
            (measured.reads_recent as f64) < 20.0 * measured.secs * per_colo
        };
        assert!(
            most(&few, 2.0) && most(&many, 8.0) && most(&busy, 8.0),
            "{} {}",
            many.reads_recent,
            busy.reads_recent
        );
        assert!(
            busy.reads_whole * 100 < busy.shared,
            "isolates that refresh in time need only the recent records"
        );
    }

    #[test]
    fn every_purge_reaches_every_isolate_within_the_bound() {
        for purges in [1, 100] {
            let measured = planet(purges, 30);
            assert!(!measured.purge_to_isolate.is_empty() && measured.timeouts == 0);
            // Half the lag until the refresh, a shared text's age, a round trip, and a request that
            // triggers it.
            assert!(measured.purge_to_isolate.max() < 10 * SEC, "{}", measured.purge_to_isolate.max());
        }
    }
}
