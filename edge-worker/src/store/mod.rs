//! The store of responses, behind a trait so that another store can replace the Cache API.
//!
//! A store holds an [`Entry`] under a key, which is a URL of the site's own host. It may lose an
//! entry at any time, and may resolve concurrent writes in any order: every entry is checked when
//! it is read.

#[cfg(test)]
pub(crate) mod fake;
pub mod memory;
pub mod metadata;
pub mod object;
pub mod search;
pub mod variants;

use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::policy::StoredResponse;
use crate::policy::search::SearchMarker;
use crate::policy::select::VaryMarker;

/// The entry under a key; `B` is the store's body, a stream that is read once.
#[derive(Debug, Clone)]
pub enum Entry<B> {
    /// The URL's responses vary: each variant has a key of its own.
    Marker(VaryMarker),
    /// URLs of the path share responses: those are stored under keys of their own.
    SearchMarker(SearchMarker),
    /// A response.
    Response {
        /// The response without its body.
        response: StoredResponse,
        /// The generation of the marker that refers to it; `None` if it is stored under the target
        /// key.
        generation: Option<u64>,
        /// The body in the origin's content coding; `None` for a response without one.
        body: Option<B>,
    },
}

impl<B> Entry<B> {
    /// Returns when a response was received; `None` for a marker.
    pub fn response_time(&self) -> Option<SystemTime> {
        match self {
            Self::Response { response, .. } => Some(response.response_time),
            Self::Marker(_) | Self::SearchMarker(_) => None,
        }
    }

    /// Returns the body of a response that has one.
    pub fn body(&self) -> Option<&B> {
        match self {
            Self::Response { body, .. } => body.as_ref(),
            Self::Marker(_) | Self::SearchMarker(_) => None,
        }
    }

    /// Returns the marker of a path; `None` if it is another entry.
    pub fn into_search_marker(self) -> Option<SearchMarker> {
        match self {
            Self::SearchMarker(marker) => Some(marker),
            Self::Marker(_) | Self::Response { .. } => None,
        }
    }
}

/// A body whose length may be known.
pub trait BodyLength {
    /// Returns the length in bytes; `None` if the body is a stream, which memory cannot hold.
    fn length(&self) -> Option<usize>;
}

/// A store of entries.
///
/// Implementors preserve the fields of a response exactly, and remove an entry after its
/// `retention` or earlier. Callers treat every error as a miss.
#[expect(async_fn_in_trait, reason = "an isolate has one thread, and the runtime's types are tied to it")]
pub trait Store {
    /// A response body.
    type Body;

    /// Returns the entry under `key`, or `None`.
    ///
    /// # Errors
    /// If the store fails, or the entry cannot be read.
    async fn get(&self, key: &str) -> Result<Option<Entry<Self::Body>>, Error>;

    /// Returns the marker of a path for a lookup. A store may return what it read a few seconds
    /// ago: a newer marker then costs a miss. Those who change the marker, or delete what it names,
    /// use [`get`](Self::get).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn recent_search_marker(&self, key: &str) -> Result<Option<SearchMarker>, Error> {
        Ok(self.get(key).await?.and_then(Entry::into_search_marker))
    }

    /// Replaces the entry under `key`; returns once it is stored.
    ///
    /// Callers pass complete bodies only: a store may hold on to the beginning of a body that
    /// breaks off.
    ///
    /// # Errors
    /// If the store fails or refuses the entry.
    async fn put(&self, key: &str, entry: Entry<Self::Body>, retention: Duration) -> Result<(), Error>;

    /// Deletes the entry under `key`, if there is one.
    ///
    /// # Errors
    /// If the store fails.
    async fn delete(&self, key: &str) -> Result<(), Error>;
}
