//! What Strata's origin SDK and edge worker must agree on, and nothing else.
//!
//! * [`keys!`] declares typed data keys and tags in one place; [`Key`] renders and parses them.
//! * [`Scope`] names what an invalidation covers (a key, a prefix, a tag, a path, all); [`ScopeHash`] is its compact form.
//! * [`Applied`] holds the invalidations that a layer knows and answers with **the** validity rule, [`Applied::verdict`].
//! * [`TargetKey`] and [`VariantKey`] name stored HTTP responses; [`QueryRules`] and [`VaryRules`] say what in a request counts.
//! * [`Lifetime`] says how long a copy is fresh and how long it may be served stale; [`Directives`] are what an HTTP origin says of that.
//! * [`purge`] is the signed message that carries invalidations to the edge.
//!
//! The crate is `no_std` with `alloc`. It has no clock, no I/O and no random seeds: time and nonces are arguments. The feature
//! `uuid` makes `uuid::Uuid` an id.
//!
//! How keys, tags and scopes are spelled stands on the page [`grammar`].

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
    Directives, EntityTag, Lifetime, MAX_DELTA, Normaliser, QueryRules, RESERVED_PREFIX, TargetKey, VariantKey,
    VaryFields, VaryRules, cache_directives, delta_seconds, lists_entity_tag, split_list,
};
pub use journal::{Applied, Mode, Position, Record, Seq, Stamp, Verdict};
#[doc(hidden)]
pub use keys::template;
pub use keys::{
    Below, Key, KeyId, MAX_KEY_BYTES, Prefix, SLOTS, Templates, TypedTag, assert_disjoint, grammar, is_app_name, slot,
};
pub use scope::{IntoScopes, Scope, ScopeHash};
pub use tags::{Tag, TagHeader, TagOverflow, TagSet, scopes_from_header};

/// The response header that carries the journal [`Position`] an origin response was built at, in lower case.
pub const POSITION_HEADER: &str = "strata-position";

/// The response header that carries a response's [`TagSet`], in lower case.
pub const CACHE_TAG_HEADER: &str = "cache-tag";

/// What the macros of this crate expand to.
#[doc(hidden)]
pub mod __private {
    pub use alloc::string::String;
    pub use alloc::vec::Vec;
    pub use core;
}
