//! Feature flags: fresh for a short time, and then served stale for a long one while a refresh
//! runs.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use origin_sdk::{BoxError, Cache, Lifetime, LoadContext, ReadThrough};

use crate::database::{Database, Flag};
use crate::error::ApiError;
use crate::keys::Flags;

/// Nothing in the shop writes flags, so nothing invalidates them. After two seconds the next reader
/// still gets the old copy while a refresh runs. After a minute without readers, the next one waits
/// for the database.
const LIFETIME: Lifetime =
    Lifetime::fresh(Duration::from_secs(2)).stale_while_revalidate(Duration::from_secs(60));

pub(crate) fn routes(cache: &Cache, database: &Database) -> Router {
    let all_flags = cache.namespace(LIFETIME).read_through(database.clone(), load_flags);
    Router::new().route("/api/flags", get(flags)).with_state(all_flags)
}

async fn load_flags(database: Database, _: Flags, _: LoadContext) -> Result<Vec<Flag>, BoxError> {
    Ok(database.flags().await?)
}

async fn flags(State(flags): State<ReadThrough<Flags, Vec<Flag>>>) -> Result<Json<Arc<Vec<Flag>>>, ApiError> {
    Ok(Json(flags.get(&Flags {}).await?.value))
}
