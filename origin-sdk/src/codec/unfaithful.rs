//! The error about a value that a format does not keep.

use std::error::Error;
use std::fmt;

use serde::ser;

/// A value that a format does not keep.
#[derive(Debug)]
pub(super) struct Unfaithful {
    reason: Reason,
    /// The fields that lead to the value, outermost first, such as `.price.cents`.
    path: String,
}

#[derive(Debug)]
pub(super) enum Reason {
    /// A number that JSON writes as null.
    NotFinite,
    /// A `Some` of a value that is stored as null.
    NestedNull,
    /// Containers that are nested too deeply for the format's reader.
    TooDeep,
    /// The stored form cannot be read.
    Unreadable(String),
    /// The stored form is read as another value.
    Different,
    /// The value's own error.
    Custom(String),
}

impl Unfaithful {
    pub(super) fn new(reason: Reason) -> Self {
        Self { reason, path: String::new() }
    }

    pub(super) fn unreadable(error: &dyn Error) -> Self {
        Self::new(Reason::Unreadable(error.to_string()))
    }

    pub(super) fn different() -> Self {
        Self::new(Reason::Different)
    }

    /// Adds the field that holds the value.
    pub(super) fn in_field(mut self, name: &str) -> Self {
        self.path.insert_str(0, &format!(".{name}"));
        self
    }
}

impl fmt::Display for Unfaithful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::NotFinite => f.write_str(
                "expected a finite number, got NaN or an infinity, which JSON writes as null: \
                 use an enum, or `Format::Msgpack`",
            ),
            Reason::NestedNull => f.write_str(
                "expected a value that is not stored as null inside of `Some`, got `None` or `()`, \
                 so that `None` is read back: use an enum",
            ),
            Reason::TooDeep => f.write_str(
                "expected containers that the format's reader can nest, got deeper ones: use a flatter type",
            ),
            Reason::Unreadable(error) => write!(
                f,
                "expected a value that can be read back, got the error {error:?}: \
                 make its `Deserialize` accept what its `Serialize` writes"
            ),
            Reason::Different => f.write_str(
                "expected a value that is read back as it was, got another one: \
                 make its `Deserialize` the reverse of its `Serialize`",
            ),
            Reason::Custom(message) => f.write_str(message),
        }?;
        if self.path.is_empty() { Ok(()) } else { write!(f, " (at {})", self.path) }
    }
}

impl Error for Unfaithful {}

impl ser::Error for Unfaithful {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Reason::Custom(message.to_string()))
    }
}
