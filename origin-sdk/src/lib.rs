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
mod bubble;
mod cache;
mod clock;
mod codec;
mod config;
mod entry;
mod error;
mod hit;
pub mod http;
mod journal;
mod load;
mod memory;
mod metrics;
mod namespace;
mod purge;
mod random;
mod receipt;
mod stampede;
mod store;
mod task;
pub mod verify;

pub use shared_keys::purge::Secret;
pub use shared_keys::{
    Below, Key, KeyId, Lifetime, Mode, Position, Prefix, Scope, Tag, Templates, TypedTag, assert_disjoint, enum_id,
    keys,
};

pub use cache::Cache;
pub use clock::Clock;
pub use codec::Format;
pub use config::CacheBuilder;
pub use error::{BoxError, BuildError, LoadError, LoadErrorKind};
pub use hit::{Freshness, Hit, Layer, StaleReason};
pub use load::{Load, Loads};
pub use metrics::Stats;
pub use namespace::{Namespace, NamespaceBuilder, WhenSuspect};
pub use purge::{ApiToken, Plan, ShipStatus, Zone};
pub use random::Randomness;
pub use receipt::{Delivery, Receipt, Written};
pub use store::{Faults, Topology};
