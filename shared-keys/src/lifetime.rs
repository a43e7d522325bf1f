//! How long a copy is fresh, and how long after that it may still be served: one type for every layer.

use alloc::string::String;
use core::fmt::Write;
use core::time::Duration;

/// How long a copy is fresh, and the two windows after that in which it may be served stale.
///
/// There is no constructor without `fresh`: an entry without an end cannot be written. The windows default to zero and
/// mean what RFC 5861 says: `stale_while_revalidate` while a refresh runs, `stale_if_error` when the loader or origin fails.
///
/// ```
/// use core::time::Duration;
/// use shared_keys::Lifetime;
///
/// let lifetime = Lifetime::fresh(Duration::from_secs(60)).stale_while_revalidate(Duration::from_secs(300));
/// assert_eq!(lifetime.to_directives(), "max-age=60, stale-while-revalidate=300");
/// assert_eq!(lifetime.total(), Duration::from_secs(360));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    fresh: Duration,
    stale_while_revalidate: Duration,
    stale_if_error: Duration,
}

impl Lifetime {
    /// Fresh for so long, and never served stale.
    #[must_use]
    pub const fn fresh(fresh: Duration) -> Self {
        Self { fresh, stale_while_revalidate: Duration::ZERO, stale_if_error: Duration::ZERO }
    }

    /// The same, but served stale for so long after `fresh` while a refresh runs.
    #[must_use]
    pub const fn stale_while_revalidate(self, window: Duration) -> Self {
        Self { stale_while_revalidate: window, ..self }
    }

    /// The same, but served stale for so long after `fresh` when a load fails.
    #[must_use]
    pub const fn stale_if_error(self, window: Duration) -> Self {
        Self { stale_if_error: window, ..self }
    }

    /// How long a copy is fresh.
    #[must_use]
    pub const fn fresh_for(&self) -> Duration {
        self.fresh
    }

    /// The window after `fresh` in which it may be served while a refresh runs.
    #[must_use]
    pub const fn swr_for(&self) -> Duration {
        self.stale_while_revalidate
    }

    /// The window after `fresh` in which it may be served when a load fails.
    #[must_use]
    pub const fn sie_for(&self) -> Duration {
        self.stale_if_error
    }

    /// How long a copy is worth keeping: `fresh` and the longer of the two windows.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.fresh.saturating_add(self.stale_while_revalidate.max(self.stale_if_error))
    }

    /// What is left for a copy that is `age` old: `fresh` shrinks first, then the windows.
    #[must_use]
    pub fn remaining(&self, age: Duration) -> Self {
        let past = age.saturating_sub(self.fresh);
        Self {
            fresh: self.fresh.saturating_sub(age),
            stale_while_revalidate: self.stale_while_revalidate.saturating_sub(past),
            stale_if_error: self.stale_if_error.saturating_sub(past),
        }
    }

    /// The shorter of the two in every part: the lifetime of what is built from both.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            fresh: self.fresh.min(other.fresh),
            stale_while_revalidate: self.stale_while_revalidate.min(other.stale_while_revalidate),
            stale_if_error: self.stale_if_error.min(other.stale_if_error),
        }
    }

    /// The directives of `Cache-Control` or `CDN-Cache-Control`, in whole seconds rounded down; empty windows are left out.
    #[must_use]
    pub fn to_directives(&self) -> String {
        let mut text = String::with_capacity(64);
        let windows =
            [("stale-while-revalidate", self.stale_while_revalidate), ("stale-if-error", self.stale_if_error)];
        // Writing to a String does not fail.
        let _ = write!(text, "max-age={}", self.fresh.as_secs());
        for (name, window) in windows.into_iter().filter(|(_, window)| window.as_secs() > 0) {
            let _ = write!(text, ", {name}={}", window.as_secs());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_lifetime_ends_at_the_same_time_whenever_it_is_asked(fresh: u32, swr: u32, sie: u32, age: u32) {
            let secs = |n| Duration::from_secs(u64::from(n));
            let whole = Lifetime::fresh(secs(fresh)).stale_while_revalidate(secs(swr)).stale_if_error(secs(sie));
            prop_assert_eq!(whole.remaining(secs(age)).total(), whole.total().saturating_sub(secs(age)));
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let endless = Lifetime::fresh(Duration::MAX).stale_if_error(Duration::MAX);
        assert_eq!(endless.total(), Duration::MAX);
    }
}
