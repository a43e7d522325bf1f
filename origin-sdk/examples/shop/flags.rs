//! Feature flags: a short freshness lifetime with a long `stale_while_revalidate` window.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use origin_sdk::{Cache, Lifetime, Namespace};

use crate::database::{Database, Flag};
use crate::error::ApiError;
use crate::keys::Flags;

/// The shop does not write flags, so nothing invalidates them. After two seconds the next reader
/// still gets the stale copy while a refresh reads the database. After another minute without
/// readers, the next reader waits for the database.
const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(2)).stale_while_revalidate(Duration::from_secs(60));

#[derive(Clone)]
struct Shop {
    database: Database,
    flags: Namespace<Flags, Vec<Flag>>,
}

pub(crate) fn routes(cache: &Cache, database: &Database) -> Router {
    let shop = Shop { database: database.clone(), flags: cache.namespace(LIFETIME).build() };
    Router::new().route("/api/flags", get(flags)).with_state(shop)
}

async fn flags(State(shop): State<Shop>) -> Result<Json<Arc<Vec<Flag>>>, ApiError> {
    let database = shop.database;
    let hit = shop.flags.get_or_load(&Flags {}, move |_load| async move { database.flags().await }).await?;
    Ok(Json(hit.value))
}
