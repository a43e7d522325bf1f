//! Tags and the `Cache-Tag` header.

pub(crate) mod fold;
mod group;
mod header;
mod tag;

pub use group::CacheGroup;
pub use header::{TagHeader, TagOverflow, TagSet, scopes_from_header};
pub use tag::Tag;
