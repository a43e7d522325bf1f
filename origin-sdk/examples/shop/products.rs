//! The catalogue: public data, which the edge also stores.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use origin_sdk::{BoxError, Cache, Lifetime, LoadContext, ReadThrough, scopes};
use serde::Deserialize;

use crate::database::{CategoryPage, Database, ProductChange, ProductPage, Sort};
use crate::error::{ApiError, found};
use crate::extract;
use crate::keys::{self, ShowsProduct, SortsCategory};

/// Ranks and related products follow from orders, which nothing invalidates: they may be this old.
const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(60))
    .stale_while_revalidate(Duration::from_secs(300))
    .stale_if_error(Duration::from_secs(3600));

#[derive(Clone)]
struct Products {
    database: Database,
    pages: ReadThrough<keys::Product, Option<ProductPage>>,
    lists: ReadThrough<keys::CategoryPage, Option<CategoryPage>>,
}

pub(crate) fn routes(cache: &Cache, database: &Database) -> Router {
    let products = Products {
        database: database.clone(),
        pages: cache.namespace(LIFETIME).read_through(database.clone(), load_product_page),
        lists: cache.namespace(LIFETIME).read_through(database.clone(), load_category_page),
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
    let list = products.lists.get(&keys::CategoryPage { category, sort, page }).await?;
    found(list.value, "category", category)
}

async fn load_category_page(
    database: Database,
    key: keys::CategoryPage,
    context: LoadContext,
) -> Result<Option<CategoryPage>, BoxError> {
    let found = database.category_page(key.category, key.sort, key.page).await?;
    for product in found.iter().flat_map(|page| &page.products) {
        context.tag(ShowsProduct { product: product.id });
    }
    Ok(found)
}

async fn product_page(
    State(products): State<Products>,
    extract::Path(id): extract::Path<u32>,
) -> Result<Json<Arc<Option<ProductPage>>>, ApiError> {
    let page = products.pages.get(&keys::Product { id }).await?;
    found(page.value, "product", id)
}

async fn load_product_page(
    database: Database,
    key: keys::Product,
    context: LoadContext,
) -> Result<Option<ProductPage>, BoxError> {
    let found = database.product_page(key.id).await?;
    tag_related(&context, &found);
    Ok(found)
}

/// Changes the product and removes every cached value that was built from the old one. The
/// product's tag covers all that shows it: its own page, lists, pages of related products, and
/// orders of it. The category's tag covers lists that the product may enter, or move in. A change
/// of stock moves nothing, so the other lists stay.
async fn change_product(
    State(products): State<Products>,
    extract::Path(id): extract::Path<u32>,
    extract::Json(change): extract::Json<ProductChange>,
) -> Result<Json<Arc<Option<ProductPage>>>, ApiError> {
    change.check().map_err(ApiError::bad_request)?;
    let mut changed = scopes![ShowsProduct { product: id }];
    if change.moves() {
        let category =
            products.database.category_of(id).await?.ok_or_else(|| ApiError::not_found("product", id))?;
        changed.push(SortsCategory { category }.into());
    }
    let database = products.database;
    let written = products
        .pages
        .write_through(&keys::Product { id }, changed, async move |key, context| {
            let found = database.change_product(key.id, change).await?;
            tag_related(&context, &found);
            Ok(found)
        })
        .await?;
    found(written.value, "product", id)
}

/// Adds the tags that follow from the value. Those that follow from the key stand in its
/// declaration.
fn tag_related(context: &LoadContext, page: &Option<ProductPage>) {
    for related in page.iter().flat_map(|page| &page.related) {
        context.tag(ShowsProduct { product: related.id });
    }
}
