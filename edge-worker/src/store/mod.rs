//! Stored responses, behind a trait so that another store can take the place of the Cache API.
//!
//! A store keeps an [`Entry`] under a key, which is a URL of the site's own host. It may forget anything at any time, and
//! need not tell who wrote what last: whether an entry may be used is decided when it is read.

#[cfg(target_arch = "wasm32")]
pub mod cache_api;
#[cfg(test)]
pub(crate) mod fake;
pub mod isolate;
pub mod metadata;
#[cfg(target_arch = "wasm32")]
pub(crate) mod tiered;
pub mod variants;

use std::time::Duration;

use crate::error::Error;
use crate::policy::StoredResponse;
use crate::policy::select::VaryMarker;

/// What stands under a key; `B` is the store's body, a stream that is read once.
#[derive(Debug, Clone)]
pub enum Entry<B> {
    /// The URL's responses vary: their variants have keys of their own.
    Marker(VaryMarker),
    /// A response.
    Response {
        /// All but the body.
        response: StoredResponse,
        /// The generation of the marker that leads here; `None` if the response stands under the target key.
        generation: Option<u64>,
        /// The body as the origin sent it, `None` if there is none.
        body: Option<B>,
    },
}

/// Where entries are kept.
///
/// Implementors keep the fields of a response exactly, and take out an entry `keep_for` after it was put or earlier.
/// Callers treat every error as a miss.
#[expect(async_fn_in_trait, reason = "an isolate has one thread, and the runtime's types are tied to it")]
pub trait Store {
    /// A response body.
    type Body;

    /// What stands under `key`, or `None`.
    ///
    /// # Errors
    /// If the store cannot be asked, or holds something that cannot be read.
    async fn get(&self, key: &str) -> Result<Option<Entry<Self::Body>>, Error>;

    /// Puts an entry in the place of what stood there, and ends when it is stored. Of a body that breaks off a store may keep
    /// what came: callers hand over bodies that are there as a whole.
    ///
    /// # Errors
    /// If the store refuses it.
    async fn put(&self, key: &str, entry: Entry<Self::Body>, keep_for: Duration) -> Result<(), Error>;

    /// Takes out what stands under `key`, if anything does.
    ///
    /// # Errors
    /// If the store cannot be asked.
    async fn delete(&self, key: &str) -> Result<(), Error>;
}
