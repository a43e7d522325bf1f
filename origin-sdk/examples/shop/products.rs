//! The catalogue: public data, which the edge also stores.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use origin_sdk::{Cache, Lifetime, LoadContext, Namespace, TypedTag};
use serde::Deserialize;

use crate::database::{CategoryPage, Database, ProductChange, ProductPage, Sort};
use crate::error::{ApiError, found};
use crate::extract;
use crate::keys::{self, ShowsProduct, SortsCategory};

/// Sales ranks and related products depend on orders, which invalidate nothing: they may be this
/// old.
const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(60))
    .stale_while_revalidate(Duration::from_secs(300))
    .stale_if_error(Duration::from_secs(3600));

#[derive(Clone)]
struct Products {
    database: Database,
    pages: Namespace<keys::Product, Option<ProductPage>>,
    lists: Namespace<keys::CategoryPage, Option<CategoryPage>>,
}

pub(crate) fn routes(cache: &Cache, database: &Database) -> Router {
    let products = Products {
        database: database.clone(),
        pages: cache.namespace(LIFETIME).build(),
        lists: cache.namespace(LIFETIME).build(),
    };
    Router::new()
        .route("/api/products", get(category_page))
        .route("/api/products/{id}", get(product_page).put(change_product))
        .with_state(products)
}

#[derive(Deserialize)]
struct List {
    category: u32,
    #[serde(default)]
    sort: Sort,
    page: Option<NonZeroU32>,
}

async fn category_page(
    State(products): State<Products>,
    extract::Query(List { category, sort, page }): extract::Query<List>,
) -> Result<Json<Arc<Option<CategoryPage>>>, ApiError> {
    let page = page.map_or(1, NonZeroU32::get);
    let key = keys::CategoryPage { category, sort, page };
    let database = products.database;
    let hit = products
        .lists
        .get_or_load(&key, move |load| async move {
            let found = database.category_page(category, sort, page).await?;
            for product in found.iter().flat_map(|page| &page.products) {
                load.tag(ShowsProduct { product: product.id }.to_tag());
            }
            Ok::<_, rusqlite::Error>(found)
        })
        .await?;
    found(hit.value, "category", category)
}

async fn product_page(
    State(products): State<Products>,
    extract::Path(id): extract::Path<u32>,
) -> Result<Json<Arc<Option<ProductPage>>>, ApiError> {
    let database = products.database;
    let hit = products
        .pages
        .get_or_load(&keys::Product { id }, move |load| async move {
            let found = database.product_page(id).await?;
            tag_related(&load, &found);
            Ok::<_, rusqlite::Error>(found)
        })
        .await?;
    found(hit.value, "product", id)
}

/// Changes a product and invalidates every entry built from the old one.
///
/// The product's tag covers every entry that shows it: its own page, the lists that contain it, the
/// pages of products to which it is related, and the orders of it. The category's tag covers the
/// lists that it may enter or in which it may move. A change of stock moves nothing, so the other
/// lists stay valid.
async fn change_product(
    State(products): State<Products>,
    extract::Path(id): extract::Path<u32>,
    extract::Json(change): extract::Json<ProductChange>,
) -> Result<Json<Arc<Option<ProductPage>>>, ApiError> {
    change.check().map_err(ApiError::bad_request)?;
    let mut tags = vec![ShowsProduct { product: id }.to_tag()];
    if change.moves() {
        let category = products.database.category_of(id).await?.ok_or_else(|| ApiError::not_found("product", id))?;
        tags.push(SortsCategory { category }.to_tag());
    }
    let database = products.database;
    let written = products
        .pages
        .write_through(&keys::Product { id }, tags, move |load| async move {
            let found = database.change_product(id, change).await?;
            tag_related(&load, &found);
            Ok::<_, rusqlite::Error>(found)
        })
        .await?;
    found(written.value, "product", id)
}

/// Adds the tags that depend on the value. The key's declaration has those that depend on the key.
fn tag_related(load: &LoadContext, page: &Option<ProductPage>) {
    for related in page.iter().flat_map(|page| &page.related) {
        load.tag(ShowsProduct { product: related.id }.to_tag());
    }
}
