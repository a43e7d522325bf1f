//! The journal and the read and write protocol as a model: small bounds, every reachable state.
//!
//! What the model mirrors, so that a change there is made here as well:
//!
//! | here | there |
//! |---|---|
//! | [`journal`] | `origin-sdk/src/store/redis/*.lua` |
//! | [`process`] | `origin-sdk/src/journal/mod.rs`, `entry.rs`, `namespace/` |
//! | [`edge`] | `edge-worker/src/journal_object.rs`, `journal.rs`, `pipeline/` |
//! | the verdict | nothing: `shared_keys::Applied` itself is asked |
//!
//! Left out of the origin's part is what cannot make a value servable: lifetimes (whatever may be served stale counts as
//! stale at any time), the bytes of an entry, coalescing across processes (any two processes may load the same key at once,
//! which is more than a lease allows), and pages of the ledger.

pub mod bounds;
pub mod edge;
pub mod journal;
pub mod process;
pub mod protocol;
mod steps;
pub mod words;
