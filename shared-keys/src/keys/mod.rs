//! Typed data keys: their declaration, their text and their Redis Cluster slot.

mod compile_time;
#[cfg(any(feature = "chrono", feature = "time"))]
mod date_time;
mod datum;
mod escape;
pub mod grammar;
mod id;
mod key;
pub(crate) mod prefix;
mod slot;
#[doc(hidden)]
pub mod template;

pub use compile_time::{Templates, assert_disjoint, is_app_name};
pub use datum::datum_of;
pub use id::{KeyId, Private};
pub use key::{Below, Key, MAX_KEY_BYTES, TypedTag};
pub use prefix::Prefix;
pub use slot::{SLOTS, slot};
