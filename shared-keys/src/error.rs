//! The one error of this crate: text that is not what it should be.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use core::fmt;

/// How much of the refused input an error shows.
const SHOWN_BYTES: usize = 64;

/// Says what was expected, at which byte, and shows the head of what came.
///
/// ```
/// let error = "12x-0".parse::<shared_keys::Position>().unwrap_err();
/// assert_eq!(error.to_string(), r#"expected milliseconds as a decimal number at byte 0 of "12x-0""#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    expected: &'static str,
    at: usize,
    input: Box<str>,
}

impl ParseError {
    pub(crate) fn new(expected: &'static str, at: usize, input: &str) -> Self {
        let mut end = input.len().min(SHOWN_BYTES);
        while !input.is_char_boundary(end) {
            end -= 1;
        }
        Self { expected, at, input: input[..end].to_owned().into_boxed_str() }
    }

    /// What would have been accepted.
    #[must_use]
    pub fn expected(&self) -> &'static str {
        self.expected
    }

    /// The byte offset in the input at which it was expected.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {} of {:?}", self.expected, self.at, self.input)
    }
}

impl core::error::Error for ParseError {}
