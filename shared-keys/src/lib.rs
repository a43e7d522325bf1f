#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod error;
mod http;
mod journal;
mod keys;
pub mod purge;
mod scope;
mod tags;

pub use error::ParseError;
pub use http::{
    ANONYMOUS_COOKIES, ContentHash, Directives, EntityTag, Lifetime, MAX_DELTA, NoVarySearch, Normaliser,
    QueryRules, RESERVED_PREFIX, TargetKey, VariantKey, VaryFields, VaryRules, cache_directives,
    delta_seconds, has_identifying_cookie, lists_entity_tag, split_list,
};
pub use journal::{Applied, Mode, Position, Record, Seq, Stamp, Verdict};
#[doc(hidden)]
pub use keys::template;
pub use keys::{
    Below, Key, KeyId, MAX_KEY_BYTES, Prefix, SLOTS, Templates, TypedTag, assert_disjoint, datum_of, grammar,
    is_app_name, slot,
};
pub use scope::{IntoScopes, Scope, ScopeHash};
pub use tags::{CacheGroup, Tag, TagHeader, TagOverflow, TagSet, scopes_from_header};

/// The response field that carries the journal [`Position`] at which an origin response was built,
/// in lower case.
pub const POSITION_HEADER: &str = "strata-position";

/// The response field that carries a response's [`TagSet`], in lower case.
pub const CACHE_TAG_HEADER: &str = "cache-tag";

/// The response field that lists a response's groups (RFC 9875), in lower case. [`CacheGroup`]
/// defines its form.
pub const CACHE_GROUPS_HEADER: &str = "cache-groups";

/// The field in which the response to an unsafe request lists the groups that it invalidates
/// (RFC 9875), in lower case. [`CacheGroup`] defines its form.
pub const CACHE_GROUP_INVALIDATION_HEADER: &str = "cache-group-invalidation";

/// Re-exports for the macros of this crate.
#[doc(hidden)]
pub mod __private {
    pub use crate::keys::Private;
    pub use alloc::string::String;
    pub use alloc::vec::Vec;
    pub use core;
}
