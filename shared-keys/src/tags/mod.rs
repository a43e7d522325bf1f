//! Tags and the `Cache-Tag` header.

pub(crate) mod fold;
mod tag;

pub use tag::{Tag, TagHeader, TagOverflow, TagSet, scopes_from_header};
