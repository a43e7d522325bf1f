//! The error of every parser in this crate.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

/// The number of bytes of the input that an error shows, around the byte that was not accepted.
const SHOWN_BYTES: usize = 64;

/// A text that could not be parsed: what was expected, at which byte, and the input around it.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// let error = "12x-0".parse::<origin_sdk::Position>().unwrap_err();
/// let message = r#"expected milliseconds as a decimal number at byte 0 of "12x-0""#;
/// assert_eq!(error.to_string(), message);
/// assert_eq!((error.expected(), error.at()), ("milliseconds as a decimal number", 0));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    expected: &'static str,
    /// Whether `expected` is the literal text that was expected, and not a description of it.
    verbatim: bool,
    at: usize,
    shown: Box<str>,
}

impl ParseError {
    pub(crate) fn new(expected: &'static str, at: usize, input: &str) -> Self {
        Self { expected, verbatim: false, at, shown: around(at, input) }
    }

    /// Creates an error where exactly the text `expected` was expected.
    pub(crate) fn verbatim(expected: &'static str, at: usize, input: &str) -> Self {
        Self { verbatim: true, ..Self::new(expected, at, input) }
    }

    /// Returns what was expected: a description, or the literal text.
    #[must_use]
    pub fn expected(&self) -> &'static str {
        self.expected
    }

    /// Returns the byte offset in the input at which it was expected.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.verbatim { "`" } else { "" };
        write!(f, "expected {quote}{}{quote} at byte {} of {:?}", self.expected, self.at, self.shown)
    }
}

impl core::error::Error for ParseError {}

/// Returns the part of the input around a byte, with `…` where text is left out.
fn around(at: usize, input: &str) -> Box<str> {
    if input.len() <= SHOWN_BYTES {
        return input.into();
    }
    let at = at.min(input.len());
    // Rounded up, so that the window still reaches the end of the input.
    let from = input.ceil_char_boundary(at.saturating_sub(SHOWN_BYTES / 2).min(input.len() - SHOWN_BYTES));
    let to = input.floor_char_boundary(from + SHOWN_BYTES);
    let mut shown = String::from(if from > 0 { "…" } else { "" });
    shown.push_str(&input[from..to]);
    if to < input.len() {
        shown.push('…');
    }
    shown.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_input_is_shown_whole_and_a_long_one_around_the_place() {
        assert_eq!(ParseError::new("a digit", 1, "1x").to_string(), r#"expected a digit at byte 1 of "1x""#);
        assert_eq!(ParseError::verbatim(":a:", 1, "1x").to_string(), r#"expected `:a:` at byte 1 of "1x""#);
        let long = ["a".repeat(100), "X".into(), "b".repeat(100)].concat();
        let shown = [&"a".repeat(32), "X", &"b".repeat(31)].concat();
        let message = alloc::format!("expected no X at byte 100 of \"…{shown}…\"");
        assert_eq!(ParseError::new("no X", 100, &long).to_string(), message);
        assert!(ParseError::new("an X", 0, &long).to_string().ends_with("aaa…\""));
        assert!(ParseError::new("more", 201, &long).to_string().ends_with("bbb\""));
        let wide = ["€".repeat(21), "X".into()].concat() + "é";
        assert!(ParseError::new("no X", 63, &wide).to_string().ends_with("Xé\""));
    }

    proptest! {
        #[test]
        fn any_place_in_any_input_can_be_shown(input in any::<String>(), at: usize) {
            let shown = ParseError::new("", at, &input).shown;
            prop_assert!(shown.len() <= SHOWN_BYTES + 2 * '…'.len_utf8());
            let at = at % (input.len() + 1);
            let window = ParseError::new("", at, &input).shown;
            let next = input[input.floor_char_boundary(at)..].chars().next();
            prop_assert!(next.is_none_or(|next| window.contains(next)));
        }
    }
}
