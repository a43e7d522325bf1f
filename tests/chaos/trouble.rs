//! The troubles of a run, and their choice.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::{IndexedRandom, SliceRandom};

/// A trouble that a fault injects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// A process is frozen while another one sends many invalidations of 1,000 tags.
    SleptThroughBurst,
    /// A process invalidates 50,000 to 200,000 tags in one call.
    HugeInvalidation,
    /// A process that has queued invalidations ends on `SIGTERM`, and is replaced.
    OrderlyEnd,
    /// A process is killed and replaced.
    Killed,
    /// Nothing, except that a process can be frozen meanwhile.
    Calm,
    Disconnected,
    SlowConnection,
    StuckConnection,
    RedisRestartedEmpty,
    RedisFrozen,
    KeysEvicted,
    FeedDeleted,
}

impl Trouble {
    /// The troubles that every run contains, however short it is.
    pub(crate) const IN_EVERY_RUN: [Self; 3] =
        [Self::SleptThroughBurst, Self::HugeInvalidation, Self::OrderlyEnd];
    const OTHERS: [Self; 9] = [
        Self::Killed,
        Self::Calm,
        Self::Disconnected,
        Self::SlowConnection,
        Self::StuckConnection,
        Self::RedisRestartedEmpty,
        Self::RedisFrozen,
        Self::KeysEvicted,
        Self::FeedDeleted,
    ];

    /// Returns the first troubles of a run, shuffled: those of every run, and as many others.
    pub(crate) fn first(random: &mut Xoshiro256PlusPlus) -> Vec<Self> {
        let mut first = Self::IN_EVERY_RUN.to_vec();
        first.extend(Self::OTHERS.sample(random, first.len()));
        first.shuffle(random);
        first
    }

    /// Returns any trouble.
    pub(crate) fn any(random: &mut Xoshiro256PlusPlus) -> Self {
        let all = || Self::IN_EVERY_RUN.into_iter().chain(Self::OTHERS);
        let chosen = random.random_range(0..all().count());
        all().nth(chosen).unwrap_or(Self::Calm)
    }
}
