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

mod check;
mod directives;
mod error;
mod escape;
mod fold;
pub mod grammar;
mod id;
mod into_scopes;
mod journal;
mod key;
mod lifetime;
mod list;
mod negotiate;
mod normaliser;
mod percent;
pub mod purge;
mod query;
mod scope;
mod slot;
mod tag;
mod target;
mod targeted;
#[doc(hidden)]
pub mod template;
mod variant;

pub use check::{Templates, assert_disjoint, is_app_name};
pub use directives::{Directives, MAX_DELTA, cache_directives, delta_seconds};
pub use error::ParseError;
pub use id::KeyId;
pub use into_scopes::IntoScopes;
pub use journal::{Applied, Mode, Position, Record, Seq, Stamp, Verdict};
pub use key::{Below, Key, MAX_KEY_BYTES, Prefix, TypedTag};
pub use lifetime::Lifetime;
pub use list::split_list;
pub use normaliser::Normaliser;
pub use query::{QueryRules, RESERVED_PREFIX};
pub use scope::{Scope, ScopeHash};
pub use slot::{SLOTS, slot};
pub use tag::{Tag, TagHeader, TagOverflow, TagSet, scopes_from_header};
pub use target::TargetKey;
pub use variant::{VariantKey, VaryFields, VaryRules};

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
