//! The signed message that carries invalidations to the edge.
//!
//! ```text
//! POST /__strata/purge
//! Strata-Signature: v=2,t=1763900000,n=nonce-of-16-or-more,s=<64 hex digits>
//!
//! {"v":1,"records":[{"scope":"tag:category:7","mode":"remove","position":"1763900000000-0"}]}
//! ```
//!
//! | part | form | bounds |
//! |---|---|---|
//! | body | JSON, [`PurgeMessage`] | [`MAX_BODY_BYTES`], [`MAX_RECORDS`], [`MAX_SCOPE_BYTES`] |
//! | `v` | the version of the body: 1 | |
//! | `scope` | a [`Scope`](crate::Scope)'s text | |
//! | `mode` | `remove` or `expire` | |
//! | `position` | a [`Position`](crate::Position)'s text; optional, for senders with a journal | |
//! | `t` | the time of signing, in seconds since 1970 | [`CLOCK_WINDOW`] either way |
//! | `n` | a [`Nonce`] | 16 to 64 bytes |
//! | `s` | HMAC-SHA-256 over `v2\n` method `\n` host `\n` path `\n` time `\n` nonce `\n` body | 64 hex digits |
//!
//! A signature without `v=2` is of version 1, which signs `v1` and no host. It is accepted for one
//! more version.
//!
//! This crate has no clock and no memory: the time, the window, and whether a nonce was accepted
//! before are arguments of [`verify`].

mod json;
mod message;
#[cfg(feature = "signature")]
mod signature;

pub use message::{MessageError, PurgeMessage, PurgeRecord};
#[cfg(feature = "signature")]
pub use signature::{
    Nonce, Secret, SignatureError, SignedParts, check_head, sign, sign_without_host, signed_host, verify,
};

use core::time::Duration;

/// The path at which the worker accepts purge messages.
pub const PURGE_PATH: &str = "/__strata/purge";
/// The request header that carries the signature, in lower case.
pub const SIGNATURE_HEADER: &str = "strata-signature";
/// The largest difference between the sender's and the receiver's clocks, either way. A receiver
/// may choose another.
pub const CLOCK_WINDOW: Duration = Duration::from_secs(300);
/// The largest body accepted, in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// The largest number of records in one message: as many as the edge's journal stores.
pub const MAX_RECORDS: usize = 10_000;
/// The longest text of a scope in a message, in bytes. For a longer scope, send `all`, which covers
/// it.
pub const MAX_SCOPE_BYTES: usize = 4096;
/// The version of the message.
const VERSION: u32 = 1;
