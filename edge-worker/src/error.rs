//! The one error of this crate.
//!
//! Ordinary outcomes (a miss, a refused purge, a response that is not stored) are values; an [`Error`] means that a part
//! of the cache does not work. The pipeline answers those of the store and the journal by going to the
//! origin.

use std::fmt;

/// What kind of part failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A variable of the worker is missing or has a value that cannot be used.
    Config,
    /// The journal object could not be reached, or answered what is not a snapshot.
    Journal,
    /// The store holds something that this version did not write.
    Store,
    /// No answer came from the origin, or none in time.
    Unreachable,
    /// The origin answered what cannot be passed on, or not be kept.
    Origin,
    /// The runtime refused a call.
    Runtime,
}

/// An opaque error: its [`kind`](Self::kind) and one line that says what was expected, what came, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Which part failed.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(target_arch = "wasm32")]
impl From<worker::Error> for Error {
    fn from(cause: worker::Error) -> Self {
        Self::new(ErrorKind::Runtime, format!("the runtime refused a call: {cause}"))
    }
}

#[cfg(target_arch = "wasm32")]
impl From<wasm_bindgen::JsValue> for Error {
    fn from(cause: wasm_bindgen::JsValue) -> Self {
        worker::Error::from(cause).into()
    }
}
