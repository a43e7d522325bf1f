//! Chance as an argument: the system's, or one that repeats itself.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Where a cache gets its chance from: for jitter, and for refreshes ahead of expiry.
///
/// ```
/// # use origin_sdk::{Cache, Randomness};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// // For a test in which nothing is left to chance:
/// let cache = Cache::builder("shop").randomness(Randomness::fixed(0.0)).build().await.unwrap();
/// # });
/// ```
///
/// Names and tokens that must differ between processes come from the system whatever is set here.
#[derive(Debug, Clone)]
pub struct Randomness(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Seeded(Arc<Mutex<StdRng>>),
    Fixed(f64),
}

impl Randomness {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// The same numbers for the same seed, in the order in which they are drawn. Clones draw from one row.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// The same number at every draw, from 0 to just below 1. With 0 nothing happens by chance: there is no jitter, and no
    /// refresh ahead of expiry.
    #[must_use]
    pub fn fixed(draw: f64) -> Self {
        Self(Source::Fixed(draw.clamp(0.0, 1.0 - f64::EPSILON)))
    }

    /// A number from 0, included, to 1, not included.
    pub(crate) fn draw(&self) -> f64 {
        match &self.0 {
            Source::System => rand::random(),
            Source::Seeded(row) => row.lock().unwrap_or_else(PoisonError::into_inner).random(),
            Source::Fixed(draw) => *draw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_row_and_a_fixed_draw_stays_below_one() {
        let row = |seed| {
            let chance = Randomness::seeded(seed);
            (0..10).map(|_| chance.draw()).collect::<Vec<_>>()
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
        assert!(Randomness::fixed(7.0).draw() < 1.0);
        assert_eq!(Randomness::fixed(0.25).draw(), 0.25);
    }
}
