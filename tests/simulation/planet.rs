//! The events: requests that find their isolate due, questions to the object and its answers, purges.

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
/// Until what one isolate puts is there for the others of its data centre.
const PUT: Micros = 5_000;
/// Records in one of the shipper's messages.
const MAX_BATCH: u64 = 500;
/// Where the object begins to count.
const FIRST: u64 = 1_763_900_000_000;

/// What cannot be taken from the worker's code.
pub(crate) struct Assumed {
    /// The shortest and the longest time from a data centre to the object and back, spread evenly.
    round_trip: (Micros, Micros),
    /// From the shipper to the object and back; one message is on its way at a time.
    shipper_round_trip: Micros,
    /// What a question costs the object, and what each record in the answer adds if the text is not there yet.
    read: (Micros, f64),
    /// What a message costs the object, and what each record in it adds.
    append: (Micros, f64),
    /// Requests that an isolate gets in a second.
    requests_per_sec: f64,
}

impl Default for Assumed {
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

impl fmt::Display for Assumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |micros: Micros| micros as f64 / 1000.0;
        write!(
            f,
            "round trips of {} to {} ms, shipper {} ms; the object takes {} ms + {} us a record to read, {} ms + {} us a \
             record to append; {} requests/s an isolate; every purge of another scope",
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

/// What is simulated.
pub(crate) struct Planet {
    pub(crate) colos: u32,
    pub(crate) isolates: u32,
    pub(crate) max_lag: Duration,
    pub(crate) purges_per_sec: u32,
    pub(crate) measured: Duration,
    pub(crate) seed: u64,
}

/// What was seen while it was measured.
pub(crate) struct Seen {
    pub(crate) secs: f64,
    /// Questions that reached the object, for the recent records and for all.
    pub(crate) asked_recent: u64,
    pub(crate) asked_whole: u64,
    /// Refreshes that the data centre's text answered.
    pub(crate) shared: u64,
    /// Questions that were not answered in time.
    pub(crate) timeouts: u64,
    /// The part of its time that the object worked.
    pub(crate) busy: f64,
    /// Bytes of a text.
    pub(crate) text_bytes: Histogram<u64>,
    pub(crate) sent_bytes: u64,
    /// From a purge to an isolate that obeys it, in microseconds: for each refresh, of the oldest record that it brought.
    pub(crate) purge_to_isolate: Histogram<u64>,
}

/// What of a text decides: where it begins and ends, and when it was asked for.
#[derive(Clone, Copy)]
struct Told {
    after: u64,
    seq: u64,
    asked_at: Micros,
}

#[derive(Clone, Copy)]
enum Event {
    /// The shipper takes what has come since and sends it.
    Ship,
    /// An isolate gets a request at which it is due, or tries again.
    Due { isolate: usize },
    /// A question reaches the object.
    Ask { isolate: usize, part: Part, asked_at: Micros, back_at: Micros },
    /// Its answer reaches the isolate.
    Answer { isolate: usize, part: Part, told: Told },
}

struct Isolate {
    seq: u64,
    known_at: Micros,
    looks: u32,
    /// The recent records that it holds while it gets the whole.
    recent: Option<Told>,
}

#[derive(Clone, Copy, Default)]
struct Colo {
    round_trip: Micros,
    recent: Slot,
    whole: Slot,
}

/// What a data centre shares of a text.
#[derive(Clone, Copy, Default)]
struct Slot {
    told: Option<Told>,
    told_until: Micros,
    /// From when until when others see that one of them asks.
    asking: (Micros, Micros),
}

struct Run<'a> {
    planet: &'a Planet,
    assumed: &'a Assumed,
    now: Micros,
    order: u64,
    queue: BinaryHeap<Reverse<(Micros, u64, usize)>>,
    events: Vec<Event>,
    isolates: Vec<Isolate>,
    colos: Vec<Colo>,
    chance: StdRng,
    /// The object: its last number, until when it is busy, and per second the last number that was given in it.
    seq: u64,
    free_at: Micros,
    /// The texts made last, by where they begin and end.
    rendered: [(u64, u64); 2],
    marks: Vec<(u64, u64)>,
    /// When each record was purged, by its number from [`FIRST`].
    purged_at: Vec<Micros>,
    unshipped: u64,
    record_bytes: usize,
    head_bytes: usize,
    worked: Micros,
    measuring: bool,
    seen: Seen,
}

impl Planet {
    /// Settles for as long as it then measures.
    pub(crate) fn run(&self, assumed: &Assumed) -> Seen {
        let mut run = Run::new(self, assumed);
        let measured = u64::try_from(self.measured.as_micros()).unwrap_or(u64::MAX);
        run.until(measured);
        run.measuring = true;
        run.worked = 0;
        run.until(2 * measured);
        run.seen.secs = self.measured.as_secs_f64();
        run.seen.busy = run.worked as f64 / measured as f64;
        run.seen
    }

    fn max_lag(&self) -> Micros {
        micros(self.max_lag)
    }
}

impl<'a> Run<'a> {
    fn new(planet: &'a Planet, assumed: &'a Assumed) -> Self {
        let mut chance = StdRng::seed_from_u64(planet.seed);
        let (nearest, farthest) = assumed.round_trip;
        let colo = |_| Colo { round_trip: chance.random_range(nearest..=farthest), ..Colo::default() };
        let colos = (0..planet.colos).map(colo).collect();
        let number = (planet.colos * planet.isolates) as usize;
        let (head_bytes, record_bytes) = text_sizes();
        let mut run = Self {
            planet,
            assumed,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            isolates: (0..number).map(|_| Isolate { seq: FIRST, known_at: 0, looks: 0, recent: None }).collect(),
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
            seen: Seen::new(),
        };
        run.at(0, Event::Ship);
        // All begin at different times, as isolates do.
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
                Event::Ask { isolate, part, asked_at, back_at } => self.ask(isolate, part, asked_at, back_at),
                Event::Answer { isolate, part, told } => self.answer(isolate, part, told),
            }
        }
    }

    /// One message, of what was purged until now, and the next once it is confirmed.
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
            let (base, each) = self.assumed.append;
            self.serve(self.now, base + (each * batch as f64) as Micros);
            self.seq += batch;
            let second = self.free_at / SEC;
            match self.marks.last_mut() {
                Some(mark) if mark.0 == second => mark.1 = self.seq,
                _ => self.marks.push((second, self.seq)),
            }
        }
        self.at(self.now.max(self.free_at) + self.assumed.shipper_round_trip, Event::Ship);
    }

    /// The object works on one thing after the other.
    fn serve(&mut self, from: Micros, takes: Micros) {
        self.free_at = self.free_at.max(from) + takes;
        self.worked += takes;
    }

    fn refresh(&mut self, isolate: usize) {
        match self.isolates[isolate].recent {
            None => self.shared_or_asked(isolate, Part::Recent),
            Some(_) => self.shared_or_asked(isolate, Part::Whole),
        }
    }

    /// Takes a text from the data centre, waits while another isolate asks for it, or asks.
    fn shared_or_asked(&mut self, isolate: usize, part: Part) {
        let now = self.now;
        let slot = *self.slot(isolate, part);
        if let Some(told) = slot.told.filter(|_| slot.told_until >= now) {
            self.seen.shared += u64::from(self.measuring);
            return self.take_in_part(isolate, part, told);
        }
        let looks = &mut self.isolates[isolate].looks;
        if (slot.asking.0..slot.asking.1).contains(&now) {
            *looks += 1;
            let wait = if *looks <= MAX_POLLS { POLL_INTERVAL } else { OBJECT_BACKOFF };
            *looks %= MAX_POLLS + 1;
            return self.at(now + wait, Event::Due { isolate });
        }
        *looks = 0;
        let asking = &mut self.slot(isolate, part).asking;
        // One that asks before it sees the other's mark does not take that back.
        if asking.1 <= now {
            *asking = (now + PUT, now + PUT + OBJECT_TIMEOUT);
        }
        self.send(isolate, part);
    }

    fn slot(&mut self, isolate: usize, part: Part) -> &mut Slot {
        let colo = &mut self.colos[isolate / self.planet.isolates as usize];
        match part {
            Part::Recent => &mut colo.recent,
            Part::Whole => &mut colo.whole,
        }
    }

    fn take_in_part(&mut self, isolate: usize, part: Part, told: Told) {
        self.isolates[isolate].looks = 0;
        let follows = self.take_in(isolate, told);
        let waiting = self.isolates[isolate].recent.take();
        match (part, waiting) {
            (Part::Recent, _) if !follows => {
                self.isolates[isolate].recent = Some(told);
                self.shared_or_asked(isolate, Part::Whole);
            }
            // The shared whole is older than what the recent one begins with.
            (Part::Whole, Some(recent)) if !self.take_in(isolate, recent) => self.send(isolate, Part::Whole),
            _ => self.next_request(isolate),
        }
    }

    /// The worker's own rule; what was learned is measured.
    fn take_in(&mut self, isolate: usize, told: Told) -> bool {
        let known = &mut self.isolates[isolate];
        if !text(told, vec![]).connects_to(Seq(FIRST), Seq(known.seq)) {
            return false;
        }
        if told.seq > known.seq {
            let oldest = self.purged_at[(known.seq - FIRST) as usize];
            if self.measuring {
                self.seen.record_delay(self.now - oldest);
            }
            known.seq = told.seq;
        }
        known.known_at = known.known_at.max(told.asked_at);
        true
    }

    /// The first request at which the isolate is due again.
    fn next_request(&mut self, isolate: usize) {
        let age = micros(refresh_age(self.planet.max_lag, self.chance.random()));
        let due = (self.isolates[isolate].known_at + age).max(self.now);
        // Requests come independently of each other: the time to the next is exponential.
        let wait = -self.chance.random::<f64>().max(1e-9).ln() / self.assumed.requests_per_sec;
        self.at(due + (wait * SEC as f64) as Micros, Event::Due { isolate });
    }

    fn send(&mut self, isolate: usize, part: Part) {
        let there = self.colos[isolate / self.planet.isolates as usize].round_trip / 2;
        let ask = Event::Ask { isolate, part, asked_at: self.now, back_at: there };
        self.at(self.now + there, ask);
    }

    fn ask(&mut self, isolate: usize, part: Part, asked_at: Micros, back: Micros) {
        let second = self.now / SEC;
        let window = recent_window(self.planet.max_lag).as_secs();
        let after = match part {
            Part::Whole => FIRST,
            Part::Recent => {
                let before = self.marks.partition_point(|&(at, _)| at + window < second);
                self.marks[..before].last().map_or(FIRST, |&(_, seq)| seq)
            }
        };
        // Beyond what the object keeps, the floor stands for the rest.
        let records = (self.seq - after).min(MAX_RECORDS as u64);
        let bytes = self.head_bytes as u64 + records * self.record_bytes as u64;
        let (base, each) = self.assumed.read;
        let text = (after, self.seq);
        let rendering = if self.rendered.contains(&text) { 0 } else { (each * records as f64) as Micros };
        if rendering > 0 {
            self.rendered = [text, self.rendered[0]];
        }
        self.serve(self.now, base + rendering);
        if self.measuring {
            match part {
                Part::Recent => self.seen.asked_recent += 1,
                Part::Whole => self.seen.asked_whole += 1,
            }
            self.seen.record_text(bytes);
        }
        let told = Told { after, seq: self.seq, asked_at };
        if self.free_at + back > asked_at + OBJECT_TIMEOUT {
            if self.measuring {
                self.seen.timeouts += 1;
            }
            self.isolates[isolate].recent = None;
            return self.at(asked_at + OBJECT_TIMEOUT + OBJECT_BACKOFF, Event::Due { isolate });
        }
        self.at(self.free_at + back, Event::Answer { isolate, part, told });
    }

    fn answer(&mut self, isolate: usize, part: Part, told: Told) {
        let told_until = self.now + micros(part.shared_for(self.planet.max_lag));
        *self.slot(isolate, part) = Slot { told: Some(told), told_until, asking: (0, 0) };
        self.take_in_part(isolate, part, told);
    }
}

impl Seen {
    fn new() -> Self {
        let histogram = || Histogram::new(3).expect("three digits are allowed");
        Self {
            secs: 0.0,
            asked_recent: 0,
            asked_whole: 0,
            shared: 0,
            timeouts: 0,
            busy: 0.0,
            text_bytes: histogram(),
            sent_bytes: 0,
            purge_to_isolate: histogram(),
        }
    }

    fn record_delay(&mut self, delay: Micros) {
        self.purge_to_isolate.record(delay).expect("it grows with its values");
    }

    fn record_text(&mut self, bytes: u64) {
        self.text_bytes.record(bytes).expect("it grows with its values");
        self.sent_bytes += bytes;
    }
}

const fn micros(duration: Duration) -> Micros {
    duration.as_micros() as Micros
}

fn text(told: Told, records: Vec<Record>) -> SnapshotText {
    SnapshotText {
        first: Seq(FIRST),
        after: Seq(told.after),
        seq: Seq(told.seq),
        floors: vec![Stamp::edge(Seq(FIRST))],
        records,
    }
}

/// Bytes of a text without records, and of each record, as the worker renders them.
fn text_sizes() -> (usize, usize) {
    let told = Told { after: FIRST, seq: FIRST, asked_at: 0 };
    let records = 1000;
    let record = |n: u64| Record {
        scope: format!("tag:product:{n}").parse::<Scope>().unwrap_or(Scope::All).hash(),
        mode: Mode::Remove,
        stamp: Stamp { origin: Some(Position::new(FIRST + n, 0)), edge: Some(Seq(FIRST + n)) },
    };
    let empty = text(told, vec![]).render().len();
    let full = text(told, (0..records).map(record).collect()).render().len();
    (empty, (full - empty) / records as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planet(purges_per_sec: u32, isolates: u32) -> Seen {
        let planet = Planet {
            colos: 20,
            isolates,
            max_lag: Duration::from_secs(5),
            purges_per_sec,
            measured: Duration::from_secs(30),
            seed: 3,
        };
        planet.run(&Assumed::default())
    }

    #[test]
    fn the_objects_load_does_not_grow_with_the_isolates_of_a_colo_nor_with_purges() {
        let few = planet(1, 10);
        let many = planet(1, 100);
        let busy = planet(100, 100);
        assert!(few.asked_recent > 0);
        // A text is shared for 2 s and renewed by whoever comes first; while it is on its way others ask as well.
        let most = |seen: &Seen, per_colo: f64| (seen.asked_recent as f64) < 20.0 * seen.secs * per_colo;
        assert!(most(&few, 2.0) && most(&many, 8.0) && most(&busy, 8.0), "{} {}", many.asked_recent, busy.asked_recent);
        assert!(busy.asked_whole * 100 < busy.shared, "isolates that are refreshed in time need only what is recent");
    }

    #[test]
    fn every_purge_reaches_every_isolate_within_the_bound() {
        for purges in [1, 100] {
            let seen = planet(purges, 30);
            assert!(!seen.purge_to_isolate.is_empty() && seen.timeouts == 0);
            // Half the lag to the refresh, a shared text's age, the way there and back, a request to trigger it.
            assert!(seen.purge_to_isolate.max() < 10 * SEC, "{}", seen.purge_to_isolate.max());
        }
    }
}
