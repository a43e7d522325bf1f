//! The origin layers of Strata: memory in each process, Redis for the fleet, and one journal that keeps both honest.
//!
//! * [`Cache`] is built once per process and cheap to clone; [`Namespace`] gives it the type of a key and a value.
//! * A read goes memory → Redis → loader, and fills on its way back. Callers of one key share one load, in the whole fleet.
//! * A write goes database → journal → tiers ([`Namespace::write_through`]), or says only that something changed
//!   ([`Namespace::invalidate`], [`Cache::invalidate`]). Every process of the fleet follows the journal.
//! * [`http::CacheLayer`] turns what a request has read into `Cache-Control`, `Cache-Tag`, `ETag` and the journal position,
//!   by which the edge obeys the same journal.
//!
//! ```
//! use std::time::Duration;
//! use origin_sdk::{Cache, Layer, Lifetime, Namespace};
//!
//! origin_sdk::keys! {
//!     app "shop" version 1;
//!
//!     /// One product's name.
//!     pub key ProductName { id: u64 } = "product:{id}:name";
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let cache = Cache::builder("shop").build().await?; // .redis(url) shares it with the fleet
//! let names: Namespace<ProductName, String> =
//!     cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
//!
//! let load = |_| async { Ok::<_, std::io::Error>("Lamp".to_string()) };
//! let hit = names.get_or_load(&ProductName { id: 7 }, load).await?;
//! assert_eq!((hit.value.as_str(), hit.layer), ("Lamp", Layer::Loader));
//! assert_eq!(names.get_or_load(&ProductName { id: 7 }, load).await?.layer, Layer::Memory);
//!
//! names.invalidate(&ProductName { id: 7 }).await;
//! assert_eq!(names.get_or_load(&ProductName { id: 7 }, load).await?.layer, Layer::Loader);
//! # Ok::<_, origin_sdk::BoxError>(())
//! # }).unwrap();
//! ```

pub mod admin;
mod cache;
mod cached;
mod clock;
#[cfg(feature = "shipping")]
pub mod cloudflare;
mod codec;
mod core;
mod entry;
mod error;
#[cfg(feature = "http")]
pub mod http;
mod journal;
mod loader;
mod memory;
mod metrics;
mod namespace;
mod random;
mod receipt;
#[cfg_attr(
    not(feature = "http"),
    expect(dead_code, unreachable_pub, reason = "only the HTTP layer reads the sum of a request's reads")
)]
mod request_scope;
#[cfg(feature = "shipping")]
mod shipping;
mod stampede;
#[cfg_attr(not(feature = "shipping"), expect(dead_code, reason = "only the shipper uses the store's shipping half"))]
mod store;
mod task;
#[cfg(feature = "shipping")]
pub mod verify;

pub use shared_keys::purge::Secret;
pub use shared_keys::{
    Below, Key, KeyId, Lifetime, Mode, Position, Prefix, Scope, Tag, Templates, TypedTag, assert_disjoint, enum_id,
    keys,
};

pub use crate::cache::{Cache, CacheBuilder, Readiness};
pub use crate::cached::{Cached, Freshness, Layer, StaleReason};
pub use crate::clock::Clock;
pub use crate::codec::Format;
pub use crate::error::{AdminError, AdminErrorKind, BoxError, BuildError, LoadError, LoadErrorKind};
pub use crate::loader::{BatchContext, LoadContext};
pub use crate::metrics::Stats;
pub use crate::namespace::{Namespace, NamespaceBuilder, OnDisconnect};
pub use crate::random::Randomness;
pub use crate::receipt::{Delivery, Receipt, Written};
pub use crate::store::{Faults, ShipStatus, Topology};
