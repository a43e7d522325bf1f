//! Randomness as an argument: from the system, from a seed, or a fixed number.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

/// The source of a cache's random decisions: jitter, and refreshes ahead of expiry.
///
/// ```
/// # use origin_sdk::{Cache, Randomness};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// // For a test that must not depend on chance:
/// let cache = Cache::builder("shop").randomness(Randomness::fixed(0.0)).build().await.unwrap();
/// # });
/// ```
///
/// Names and tokens that must differ between processes always come from the system.
#[derive(Debug, Clone)]
pub struct Randomness(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Seeded(Arc<Mutex<Generator>>),
    Fixed(f64),
}

thread_local! {
    /// Spares every draw a system call.
    static THREAD_GENERATOR: RefCell<Generator> = RefCell::new(Generator::seeded(u64::from_ne_bytes(system_bytes())));
}

impl Randomness {
    /// Returns the system's randomness.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a source that draws the same sequence for the same seed. Clones draw from one
    /// sequence.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(Generator::seeded(seed)))))
    }

    /// Returns a source that draws the same number every time, from 0 to just below 1. With 0 there
    /// is no jitter and no refresh ahead of expiry.
    #[must_use]
    pub fn fixed(draw: f64) -> Self {
        Self(Source::Fixed(draw.clamp(0.0, 1.0 - f64::EPSILON)))
    }

    /// Draws a number from 0, included, to 1, excluded.
    pub(crate) fn draw(&self) -> f64 {
        match &self.0 {
            Source::System => THREAD_GENERATOR.with_borrow_mut(Generator::unit),
            Source::Seeded(sequence) => sequence.lock().unwrap_or_else(PoisonError::into_inner).unit(),
            Source::Fixed(draw) => *draw,
        }
    }
}

/// Returns bytes from the system's generator: unpredictable, and different in every process.
///
/// # Panics
/// If the system provides none.
pub(crate) fn system_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system provides random bytes");
    bytes
}

/// Returns a random word in hexadecimal, to tell processes apart.
pub(crate) fn process_id() -> String {
    format!("{:016x}", u64::from_ne_bytes(system_bytes()))
}

/// SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
/// It decides jitter and injected faults, which need to be repeatable and not unpredictable.
#[derive(Debug, Clone)]
pub(crate) struct Generator(u64);

impl Generator {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// Draws a number from 0, included, to 1, excluded, with the 53 bits that an `f64` holds.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws a number below `bound`, which is more than 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // The bias towards small numbers is at most `bound / 2^64`.
        (self.next() % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence_and_a_fixed_draw_stays_below_one() {
        let sequence = |seed| {
            let chance = Randomness::seeded(seed);
            (0..10).map(|_| chance.draw()).collect::<Vec<_>>()
        };
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
        assert!(Randomness::fixed(7.0).draw() < 1.0);
        assert_eq!(Randomness::fixed(0.25).draw(), 0.25);
    }

    /// The published values of SplitMix64 for the seed 1234567.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut generator = Generator::seeded(1_234_567);
        let words = [(); 3].map(|()| generator.next());
        assert_eq!(words, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn draws_spread_evenly_and_differ_between_threads() {
        let draw = || Randomness::system().draw();
        let mean = (0..100_000).map(|_| draw()).sum::<f64>() / 1e5;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert_ne!(std::thread::spawn(draw).join().unwrap(), std::thread::spawn(draw).join().unwrap());
    }
}
