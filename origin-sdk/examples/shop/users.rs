//! Data of one user: stored in memory and Redis, never by the edge or a browser.
//!
//! The id comes from the path, to keep the example small. A real service takes it from the session.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use origin_sdk::{BoxError, Cache, Lifetime, LoadContext, ReadThrough};
use serde::Deserialize;

use crate::database::{Database, OrderPage, Profile, ProfileChange};
use crate::error::{ApiError, found};
use crate::extract;
use crate::keys::{self, ShowsProduct};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(30))
    .stale_while_revalidate(Duration::from_secs(60))
    .stale_if_error(Duration::from_secs(600));

#[derive(Clone)]
struct Users {
    database: Database,
    profiles: ReadThrough<keys::Profile, Option<Profile>>,
    orders: ReadThrough<keys::OrderPage, Option<OrderPage>>,
}

pub(crate) fn routes(cache: &Cache, database: &Database) -> Router {
    let users = Users {
        database: database.clone(),
        profiles: cache.namespace(LIFETIME).private().read_through(database.clone(), load_profile),
        orders: cache.namespace(LIFETIME).private().read_through(database.clone(), load_order_page),
    };
    Router::new()
        .route("/api/users/{id}/profile", get(profile).put(change_profile))
        .route("/api/users/{id}/orders", get(order_page))
        .with_state(users)
}

async fn profile(
    State(users): State<Users>,
    extract::Path(user): extract::Path<u32>,
) -> Result<Json<Arc<Option<Profile>>>, ApiError> {
    found(users.profiles.get(&keys::Profile { user }).await?.value, "user", user)
}

async fn load_profile(
    database: Database,
    key: keys::Profile,
    _: LoadContext,
) -> Result<Option<Profile>, BoxError> {
    Ok(database.profile(key.user).await?)
}

#[derive(Deserialize)]
struct Paged {
    page: Option<NonZeroU32>,
}

async fn order_page(
    State(users): State<Users>,
    extract::Path(user): extract::Path<u32>,
    extract::Query(Paged { page }): extract::Query<Paged>,
) -> Result<Json<Arc<Option<OrderPage>>>, ApiError> {
    let page = page.map_or(1, NonZeroU32::get);
    found(users.orders.get(&keys::OrderPage { user, page }).await?.value, "user", user)
}

async fn load_order_page(
    database: Database,
    key: keys::OrderPage,
    context: LoadContext,
) -> Result<Option<OrderPage>, BoxError> {
    let found = database.order_page(key.user, key.page).await?;
    // An order shows the present names of its products.
    for item in found.iter().flat_map(|page| &page.orders).flat_map(|order| &order.items) {
        context.tag(ShowsProduct { product: item.product });
    }
    Ok(found)
}

/// Only the profile's own key shows the name and the address, so no tag is needed.
async fn change_profile(
    State(users): State<Users>,
    extract::Path(user): extract::Path<u32>,
    extract::Json(change): extract::Json<ProfileChange>,
) -> Result<Json<Arc<Option<Profile>>>, ApiError> {
    change.check().map_err(ApiError::bad_request)?;
    let database = users.database;
    let writer = async move |key: keys::Profile, _| Ok(database.change_profile(key.user, change).await?);
    let written = users.profiles.write_through(&keys::Profile { user }, (), writer).await?;
    found(written.value, "user", user)
}
