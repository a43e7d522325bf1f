//! The error type of this crate.
//!
//! Ordinary outcomes (a miss, a refused purge, a response that is not stored) are values. An [`Error`] means that
//! a part of the cache fails. If that is the store or the journal, the pipeline forwards the request to the origin.

use std::fmt;

/// The part that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A variable of the worker is missing or invalid.
    Config,
    /// The journal object is unreachable, or its answer is invalid.
    Journal,
    /// The store holds an entry that this version did not write.
    Store,
    /// The origin, or another part behind the network, did not answer in time.
    Unreachable,
    /// The origin's response cannot be passed on, or is too large to store.
    Origin,
    /// The runtime refused a call.
    Runtime,
}

/// An opaque error: its [`kind`](Self::kind), and one line that states what was expected, what was found, and
/// how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Returns the part that failed.
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
