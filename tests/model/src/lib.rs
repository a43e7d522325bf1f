//! A model of the journal and of the read and write protocol. The checker visits every state within
//! small bounds.
//!
//! The model mirrors the code below. A change there needs the same change here.
//!
//! | module | mirrors |
//! |---|---|
//! | [`journal`] | `origin-sdk/src/store/redis/*.lua` |
//! | [`process`] | the journal, the entries and the namespaces of `origin-sdk/src` |
//! | [`edge`] | the journal object, the journal snapshot and the pipeline of `edge-worker/src` |
//!
//! The verdict on an entry is not mirrored: the model calls `shared_keys::Applied` itself.
//!
//! The origin's part leaves out everything that cannot make a value servable: lifetimes (a value
//! that may be served stale counts as stale at any time), the bytes of an entry, coalescing across
//! processes (any two processes may load the same key at once, which is more than a lease allows),
//! and pages of the ledger.

pub mod bounds;
pub mod domain;
pub mod edge;
pub mod journal;
pub mod process;
mod properties;
pub mod protocol;
mod transitions;
