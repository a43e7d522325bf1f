//! Tags and the `Cache-Tag` header.

pub(crate) mod fold;
mod header;
mod tag;

pub use header::{TagHeader, TagOverflow, TagSet, scopes_from_header};
pub use tag::Tag;
