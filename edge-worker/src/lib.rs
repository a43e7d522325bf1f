#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! - [`policy`] decides what a shared cache may do (RFC 9111); [`rules`] holds what a deployment
//!   chooses per path.
//! - [`store`] defines where responses are stored, and how their variants are found.
//! - [`origin`] builds the request to the origin and reads its response.
//! - [`client`] tells a client's country and the class of its device.
//! - [`journal`] is an isolate's copy of the journal; [`purge`] authenticates what is appended to
//!   it, and [`purge_bodies`] holds what is not authenticated yet.
//! - [`collapse`] is an isolate's memory of requests in progress, and [`variant_requests`] of how
//!   often variants are requested.
//! - [`recent_invalidations`] is an isolate's memory of the targets that unsafe requests
//!   invalidated, and [`invalidation_queue`] brings them to the journal.
//! - [`hot_requests`] is an isolate's memory of the requests that are sent most, and [`refill`] is
//!   the schedule by which their responses are fetched again after a purge that asks for it.
//! - `runtime` exists only for wasm32: it calls the platform and runs a request through the modules
//!   above.
//!
//! All modules but `runtime` are pure and tested natively.

pub mod cache_status;
pub mod client;
pub mod collapse;
pub mod config;
pub mod error;
pub mod headers;
pub mod hot_requests;
pub mod invalidation_queue;
pub mod journal;
pub mod json;
pub mod origin;
pub mod policy;
pub mod purge;
pub mod purge_bodies;
pub mod recent_invalidations;
pub mod refill;
pub mod rules;
#[cfg(target_arch = "wasm32")]
mod runtime;
mod sites;
pub mod store;
pub mod storing;
pub mod time;
pub mod unkeyed;
pub mod variant_requests;
