#![doc = include_str!("../README.md")]

pub mod admin;
mod cache;
mod cache_line;
mod cached;
mod clock;
mod closing;
#[cfg(feature = "shipping")]
pub mod cloudflare;
mod codec;
mod core;
mod durable_queue;
mod entry;
mod error;
#[cfg(feature = "http")]
pub mod http;
mod in_flight;
mod journal;
mod loader;
mod memory;
mod metrics;
mod namespace;
mod outdated;
mod placement;
mod random;
mod receipt;
mod report;
#[cfg_attr(
    not(feature = "http"),
    expect(dead_code, unreachable_pub, reason = "only the HTTP layer reads the sum of a request's reads")
)]
mod request_scope;
#[cfg(feature = "shipping")]
mod shipping;
mod spans;
mod stampede;
#[cfg_attr(
    not(feature = "shipping"),
    expect(dead_code, reason = "only the shipper uses the store's shipping half")
)]
mod store;
mod task;
#[cfg(feature = "shipping")]
pub mod verify;
#[cfg(feature = "shipping")]
mod web_url;

#[cfg(feature = "shipping")]
pub use shared_keys::purge::Secret;
pub use shared_keys::{
    Below, CacheGroup, IntoScopes, Key, KeyId, Lifetime, Mode, NoVarySearch, ParseError, Position, Prefix,
    Scope, Tag, Templates, TypedTag, assert_disjoint, enum_id, keys, newtype_id, scopes,
};

pub use crate::cache::{Cache, CacheBuilder, CacheHealth, CloseReport};
pub use crate::cached::{Cached, Freshness, Layer, StaleReason};
pub use crate::clock::Clock;
pub use crate::codec::Format;
pub use crate::durable_queue::{QueueFile, QueueFuture, QueueStore};
pub use crate::error::{AdminError, AdminErrorKind, BoxError, BuildError, LoadError, LoadErrorKind};
pub use crate::loader::{BatchContext, LoadContext};
pub use crate::metrics::Stats;
pub use crate::namespace::{Namespace, NamespaceBuilder, OnDisconnect, Put, ReadThrough};
pub use crate::placement::{Placement, Storage};
pub use crate::random::Randomness;
pub use crate::receipt::{Delivery, Receipt, UnsentInvalidation, Written};
pub use crate::store::{Faults, ShipStatus, Topology};
