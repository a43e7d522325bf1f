//! XFetch: probabilistic early refresh. One reader of a popular key usually refreshes it before it
//! expires for all of them. From A. Vattani, F. Chierichetti, K. Lowenstein, "Optimal Probabilistic
//! Cache Stampede Prevention", VLDB 2015.
//!
//! A reader refreshes if `now − delta·beta·ln(rand) ≥ expiry`. `delta` is the duration of the last
//! load and `rand` is uniform in (0, 1], so `−ln(rand)` is exponentially distributed: far from
//! expiry a refresh is unlikely, and the slower the load, the earlier it starts. `beta` is 1 in the
//! paper's optimum; a larger value refreshes earlier, 0 disables early refreshes.

use std::time::Duration;

/// An upper bound of `−ln(rand)`: `rand` has 53 bits and is at least 2⁻⁵³, and 53·ln 2 = 36.7.
const MAX_NEGATIVE_LN: f64 = 37.0;

/// Returns whether the reader that drew `rand` from (0, 1] refreshes the value now. Always true
/// from `expiry` on.
pub(crate) fn is_due(now: Duration, expiry: Duration, delta: Duration, beta: f64, rand: f64) -> bool {
    now >= expiry || delta.as_secs_f64() * beta * -rand.ln() >= (expiry - now).as_secs_f64()
}

/// Returns whether any draw could make [`is_due`] true. While it is false, readers skip the draw.
pub(crate) fn may_be_due(now: Duration, expiry: Duration, delta: Duration, beta: f64) -> bool {
    now >= expiry || delta.as_secs_f64() * beta * MAX_NEGATIVE_LN >= (expiry - now).as_secs_f64()
}

/// Returns a moment before which [`may_be_due`] is false.
pub(crate) fn earliest(expiry: Duration, delta: Duration, beta: f64) -> Duration {
    // Doubled, which is more than rounding loses.
    let lead = Duration::try_from_secs_f64(2.0 * delta.as_secs_f64() * beta * MAX_NEGATIVE_LN);
    expiry.saturating_sub(lead.unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPIRY: Duration = Duration::from_secs(100);
    const DELTA: Duration = Duration::from_secs(1);

    fn before(secs: f64) -> Duration {
        EXPIRY - Duration::from_secs_f64(secs)
    }

    #[test]
    fn the_chance_falls_exponentially_with_the_time_that_is_left() {
        let draws = 100_000;
        let chance = |now, beta| {
            let due = (1..=draws)
                .filter(|&n| is_due(now, EXPIRY, DELTA, beta, f64::from(n) / f64::from(draws)))
                .count();
            due as f64 / f64::from(draws)
        };
        for left in [0.1, 1.0, 3.0] {
            assert!((chance(before(left), 1.0) - (-left).exp()).abs() < 1e-4, "{left} s left");
            assert!((chance(before(left), 2.0) - (-left / 2.0).exp()).abs() < 1e-4, "{left} s left, beta 2");
        }
        assert_eq!(chance(before(0.001), 0.0), 0.0, "beta 0 disables");
        assert_eq!(chance(EXPIRY, 0.0), 1.0, "an expired value is due");
    }

    #[test]
    fn a_value_with_an_unknown_load_time_is_due_only_from_expiry_on() {
        assert!(!is_due(before(0.001), EXPIRY, Duration::ZERO, 1.0, f64::MIN_POSITIVE));
        assert!(!may_be_due(before(0.001), EXPIRY, Duration::ZERO, 1.0));
    }

    proptest! {
        /// Skipping the draw never changes the result.
        #[test]
        fn a_value_that_no_draw_makes_due_is_never_due(
            left_ms in 0u64..200_000, delta_ms in 0u64..5_000, beta in 0.0..4.0, bits in 1u64..=1 << 53,
        ) {
            let rand = bits as f64 / (1u64 << 53) as f64;
            let (expiry, delta) = (Duration::from_millis(300_000), Duration::from_millis(delta_ms));
            let now = expiry - Duration::from_millis(left_ms);
            prop_assert!(may_be_due(now, expiry, delta, beta) || !is_due(now, expiry, delta, beta, rand));
        }

        /// Before the earliest moment, readers need not look at the expiry at all.
        #[test]
        fn a_value_is_not_due_before_the_earliest_moment(
            expiry_ms in 0u64..300_000, delta_ms in 0u64..5_000, beta in 0.0..4.0, now_ms in 0u64..300_000,
        ) {
            let [now, expiry, delta] = [now_ms, expiry_ms, delta_ms].map(Duration::from_millis);
            prop_assert!(now >= earliest(expiry, delta, beta) || !may_be_due(now, expiry, delta, beta));
        }

        /// A draw that is due now is also due later.
        #[test]
        fn a_due_draw_stays_due(left_ms in 1u64..5_000, later_ms in 0u64..5_000, rand in 1e-9..1.0) {
            let now = before(left_ms as f64 / 1e3);
            let later = now + Duration::from_millis(later_ms);
            prop_assert!(!is_due(now, EXPIRY, DELTA, 1.0, rand) || is_due(later, EXPIRY, DELTA, 1.0, rand));
        }
    }
}
