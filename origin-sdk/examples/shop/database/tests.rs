use super::*;
use crate::data::tests::small_shop;

fn open() -> (tempfile::TempDir, Database) {
    let (folder, path) = small_shop();
    (folder, Database::new(path))
}

#[tokio::test]
async fn a_category_page_has_twenty_products_and_the_number_of_pages() {
    let (_folder, database) = open();
    let first = database.category_page(1, Sort::Rank, 1).await.unwrap().unwrap();
    let last = database.category_page(1, Sort::Rank, 2).await.unwrap().unwrap();
    let past = database.category_page(1, Sort::Rank, 3).await.unwrap().unwrap();
    assert_eq!((first.pages, first.products.len(), last.products.len(), past.products.len()), (2, 20, 5, 0));
}

#[tokio::test]
async fn a_category_page_follows_its_sort_order() {
    let (_folder, database) = open();
    let ranked = database.category_page(2, Sort::Rank, 1).await.unwrap().unwrap().products;
    assert!(
        ranked.is_sorted_by_key(|product| product.sales_rank) && ranked.is_sorted_by(|a, b| a.sold >= b.sold)
    );
    let cheap = database.category_page(2, Sort::Price, 1).await.unwrap().unwrap().products;
    assert!(cheap.is_sorted_by_key(|product| product.price_cents));
    let named = database.category_page(2, Sort::Name, 1).await.unwrap().unwrap().products;
    assert!(named.is_sorted_by(|a, b| a.name <= b.name));
}

#[tokio::test]
async fn a_product_is_the_same_on_its_page_and_in_its_category() {
    let (_folder, database) = open();
    let listed = database.category_page(3, Sort::Rank, 1).await.unwrap().unwrap().products.remove(4);
    let page = database.product_page(listed.id).await.unwrap().unwrap();
    assert_eq!((page.product, page.category), (listed, 3));
}

#[tokio::test]
async fn related_products_are_sorted_by_common_orders_and_exclude_the_product() {
    let (_folder, database) = open();
    let related = database.product_page(1).await.unwrap().unwrap().related;
    assert_eq!(related.len(), 6);
    assert!(related.is_sorted_by(|a, b| a.bought_together >= b.bought_together));
    assert!(related.iter().all(|product| product.id != 1));
}

#[tokio::test]
async fn the_pages_of_the_orders_add_up_to_the_totals() {
    let (_folder, database) = open();
    let first = database.order_page(1, 1).await.unwrap().unwrap();
    let mut orders = Vec::new();
    for page in 1..=first.pages {
        orders.extend(database.order_page(1, page).await.unwrap().unwrap().orders);
    }
    assert!(orders.is_sorted_by(|a, b| a.id > b.id), "newest first, each once");
    assert_eq!(orders.len() as u32, first.total_orders);
    assert_eq!(orders.iter().map(|order| order.total_cents).sum::<i64>(), first.spent_cents);
    let of_items = |order: &customers::Order| {
        order.items.iter().map(|item| i64::from(item.quantity) * i64::from(item.price_cents)).sum::<i64>()
    };
    assert!(orders.iter().all(|order| of_items(order) == order.total_cents));
}

#[tokio::test]
async fn a_change_alters_only_the_fields_that_it_names() {
    let (_folder, database) = open();
    let before = database.product_page(7).await.unwrap().unwrap().product;
    let change = ProductChange { price_cents: Some(4_200), ..ProductChange::default() };
    let after = database.change_product(7, change).await.unwrap().unwrap().product;
    assert_eq!(after, catalogue::Product { price_cents: 4_200, ..before });
}

#[tokio::test]
async fn a_missing_row_is_none() {
    let (_folder, database) = open();
    assert_eq!(database.category_page(5, Sort::Rank, 1).await.unwrap(), None);
    assert_eq!(database.product_page(101).await.unwrap(), None);
    assert_eq!(database.change_product(101, ProductChange::default()).await.unwrap(), None);
    assert_eq!(database.profile(31).await.unwrap(), None);
    assert_eq!(database.order_page(31, 1).await.unwrap(), None);
}

#[tokio::test]
async fn every_statement_is_counted() {
    let (_folder, database) = open();
    database.flags().await.unwrap();
    database.product_page(1).await.unwrap();
    assert_eq!(database.queries(), 4);
}
