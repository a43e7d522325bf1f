//! Strata's edge layer: a shared HTTP cache in a Cloudflare Worker that obeys the journal of invalidations.
//!
//! A request runs through the `pipeline`: its [`TargetKey`](shared_keys::TargetKey) is looked up in the [`store`], the
//! [`policy`] decides, and what is served was checked against the edge journal as this isolate knows it ([`snapshot`]). The
//! origin says in headers what a response depends on ([`origin::received`]); a signed message says what changed ([`purge`]).
//!
//! Everything here is pure and tested natively, except the adapters to the runtime, which exist only for wasm32: the
//! `pipeline` itself, the Cache API, `fetch`, the `journal` and the Durable Object behind it.

#[cfg(target_arch = "wasm32")]
mod background;
pub mod collapse;
pub mod config;
pub mod error;
pub mod headers;
pub mod invalidated;
#[cfg(target_arch = "wasm32")]
mod journal;
#[cfg(target_arch = "wasm32")]
mod journal_object;
pub mod origin;
#[cfg(target_arch = "wasm32")]
mod pipeline;
pub mod policy;
pub mod purge;
pub mod rules;
#[cfg(target_arch = "wasm32")]
mod runtime;
pub mod snapshot;
pub mod status;
pub mod store;

/// The fetch event.
#[cfg(target_arch = "wasm32")]
#[worker::event(fetch)]
async fn fetch(
    request: worker::web_sys::Request,
    env: worker::Env,
    context: worker::Context,
) -> Result<worker::web_sys::Response, error::Error> {
    // Should the worker fail all the same, the zone's own origin answers.
    context.pass_through_on_exception();
    pipeline::handle(request, env, context).await
}
