//! Positions in the origin's journal, as text and as bytes.

use core::fmt;
use core::str::FromStr;

use crate::ParseError;

/// A position in the origin's journal: the ID of a record in the Redis stream. Its time is that of
/// the Redis server's clock, never of a client's.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::Position;
/// let position: Position = "1763900000000-2".parse().unwrap();
/// assert!(position > Position::new(1_763_900_000_000, 1));
/// assert_eq!(position.to_string(), "1763900000000-2");
/// assert_eq!((position.ms(), position.seq()), (1_763_900_000_000, 2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    ms: u64,
    seq: u64,
}

impl Position {
    /// The position before every record.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    /// The length of the binary form, in bytes.
    pub const BYTES: usize = 16;

    /// Creates the position of the record `seq` within the millisecond `ms` of Redis's clock.
    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// Returns the binary form: milliseconds and number, both big-endian, so that the bytes sort as
    /// the positions do.
    ///
    /// ```
    /// # extern crate shared_keys as origin_sdk;
    /// use origin_sdk::Position;
    /// let (earlier, later) = (Position::new(255, 9), Position::new(256, 0));
    /// assert!(earlier.to_bytes() < later.to_bytes());
    /// assert_eq!(Position::from_bytes(later.to_bytes()), later);
    /// ```
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        (((self.ms as u128) << 64) | self.seq as u128).to_be_bytes()
    }

    /// Creates a position from its binary form. Any bytes are valid.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { ms: (both >> 64) as u64, seq: both as u64 }
    }

    /// Returns the milliseconds since the Unix epoch, by Redis's clock.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.ms
    }

    /// Returns whether the position is more than a day after `now_ms`, the milliseconds of a
    /// reader's clock since the Unix epoch. No correct clock is that far ahead, so a reader treats
    /// such a position as none: an entry with it could not be invalidated, and a record with it
    /// would invalidate everything until then.
    ///
    /// ```
    /// use shared_keys::Position;
    /// let now_ms = 1_763_900_000_000;
    /// assert!(!Position::new(now_ms + 86_400_000, 9).is_ahead_of(now_ms));
    /// assert!(Position::new(now_ms + 86_400_001, 0).is_ahead_of(now_ms));
    /// ```
    #[must_use]
    pub const fn is_ahead_of(self, now_ms: u64) -> bool {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        self.ms > now_ms.saturating_add(DAY_MS)
    }

    /// Returns the number within the millisecond.
    #[must_use]
    pub const fn seq(self) -> u64 {
        self.seq
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for Position {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (ms, seq) = text
            .split_once('-')
            .ok_or_else(|| ParseError::new("`-` between milliseconds and number", text.len(), text))?;
        Ok(Self {
            ms: decimal(ms).ok_or_else(|| ParseError::new("milliseconds as a decimal number", 0, text))?,
            seq: decimal(seq).ok_or_else(|| ParseError::new("a decimal number", ms.len() + 1, text))?,
        })
    }
}

/// Parses a decimal number in its canonical form: digits only, without leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_says_where_what_was_expected() {
        for (text, at) in [
            ("", 0),
            ("12", 2),
            ("x-0", 0),
            ("012-0", 0),
            ("12-", 3),
            ("12-1-0", 3),
            ("1-18446744073709551616", 2),
        ] {
            assert_eq!(text.parse::<Position>().unwrap_err().at(), at, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_position_prints_and_parses_back_and_so_do_its_bytes(ms: u64, seq: u64) {
            let position = Position::new(ms, seq);
            prop_assert_eq!(position.to_string().parse(), Ok(position));
            prop_assert_eq!(Position::from_bytes(position.to_bytes()), position);
        }

        #[test]
        fn bytes_sort_as_positions_do(a in (0..3u64, any::<u64>()), b in (0..3u64, any::<u64>()), shift in 0..64u32) {
            let [a, b] = [a, b].map(|(ms, seq)| Position::new(ms.rotate_right(shift), seq));
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }

        #[test]
        fn a_position_has_one_text(text in "[0-9+]{0,4}-?[0-9+]{0,4}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text);
            }
        }
    }
}
