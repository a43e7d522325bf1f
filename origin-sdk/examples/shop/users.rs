//! Private data of one user: stored in memory and Redis, never at the edge or in a browser.
//!
//! To keep the example small, the user id comes from the path. A real service takes it from the
//! session.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use origin_sdk::{Cache, Lifetime, Namespace, TypedTag};
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
    profiles: Namespace<keys::Profile, Option<Profile>>,
    orders: Namespace<keys::OrderPage, Option<OrderPage>>,
}

pub(crate) fn routes(cache: &Cache, database: &Database) -> Router {
    let users = Users {
        database: database.clone(),
        profiles: cache.namespace(LIFETIME).private().build(),
        orders: cache.namespace(LIFETIME).private().build(),
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
    let database = users.database;
    let hit = users
        .profiles
        .get_or_load(&keys::Profile { user }, move |_load| async move { database.profile(user).await })
        .await?;
    found(hit.value, "user", user)
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
    let database = users.database;
    let hit = users
        .orders
        .get_or_load(&keys::OrderPage { user, page }, move |load| async move {
            let found = database.order_page(user, page).await?;
            // An order says what its products are called today.
            for item in found.iter().flat_map(|page| &page.orders).flat_map(|order| &order.items) {
                load.tag(ShowsProduct { product: item.product }.to_tag());
            }
            Ok::<_, rusqlite::Error>(found)
        })
        .await?;
    found(hit.value, "user", user)
}

/// Changes a profile. Only the profile's own key shows the name and the address, so no tag is
/// needed.
async fn change_profile(
    State(users): State<Users>,
    extract::Path(user): extract::Path<u32>,
    extract::Json(change): extract::Json<ProfileChange>,
) -> Result<Json<Arc<Option<Profile>>>, ApiError> {
    change.check().map_err(ApiError::bad_request)?;
    let database = users.database;
    let written =
        users
            .profiles
            .write_through(&keys::Profile { user }, [], move |_load| async move {
                database.change_profile(user, change).await
            })
            .await?;
    found(written.value, "user", user)
}
