//! The catalogue: categories, products and their sales.

use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use super::{Database, Session};

const PAGE_SIZE: u32 = 20;

/// A product as it appears in a list.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) price_cents: u32,
    pub(crate) stock: u32,
    /// The quantity sold in the last 90 days.
    pub(crate) sold: u32,
    /// The number of users who have bought it.
    pub(crate) buyers: u32,
    /// The rank in its category by `sold`, from 1.
    pub(crate) sales_rank: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CategoryPage {
    pub(crate) category: u32,
    pub(crate) name: String,
    pub(crate) page: u32,
    pub(crate) pages: u32,
    pub(crate) products: Vec<Product>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProductPage {
    pub(crate) product: Product,
    pub(crate) category: u32,
    pub(crate) category_name: String,
    /// The products most often bought together with it, in descending order.
    pub(crate) related: Vec<RelatedProduct>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RelatedProduct {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) price_cents: u32,
    /// The number of orders that contain both products.
    pub(crate) bought_together: u32,
}

/// The sort order of a category page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sort {
    /// Best seller first.
    #[default]
    Rank,
    /// Cheapest first.
    Price,
    Name,
}

/// A change of a product. Fields that are `None` are not changed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProductChange {
    pub(crate) name: Option<String>,
    pub(crate) price_cents: Option<u32>,
    pub(crate) stock: Option<u32>,
}

/// The products of category ?1 as `ranked`. 1755216000 is 2025-08-15, which is 90 days before the
/// end of the generated orders.
const RANKED: &str = "
    WITH sales AS (
        SELECT products.*,
               COALESCE(SUM(quantity) FILTER (WHERE ordered_at >= 1755216000), 0) AS sold,
               COUNT(DISTINCT user_id) AS buyers
        FROM products LEFT JOIN order_items ON product_id = products.id LEFT JOIN orders ON orders.id = order_id
        WHERE category_id = ?1 GROUP BY products.id
    ), ranked AS (
        SELECT *, RANK() OVER (ORDER BY sold DESC) AS sales_rank FROM sales
    )";

/// The six products that occur most often in orders with product ?1.
const RELATED: &str = "
    SELECT products.id, name, price_cents, bought_together
    FROM (
        SELECT other.product_id, COUNT(*) AS bought_together
        FROM order_items AS this JOIN order_items AS other USING (order_id)
        WHERE this.product_id = ?1 AND other.product_id <> ?1
        GROUP BY other.product_id ORDER BY bought_together DESC, other.product_id LIMIT 6
    ) JOIN products ON products.id = product_id
    ORDER BY bought_together DESC, products.id";

impl ProductChange {
    /// Returns an error message if the change is empty or has an invalid name.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self { name: None, price_cents: None, stock: None } => {
                Err("expected at least one of name, price_cents and stock")
            }
            Self { name: Some(name), .. } if name.trim().is_empty() || name.len() > 200 => {
                Err("name: expected 1 to 200 bytes that are not all spaces")
            }
            _ => Ok(()),
        }
    }

    /// Returns whether the change can alter the order of lists, which are sorted by name or price.
    pub(crate) fn moves(&self) -> bool {
        self.name.is_some() || self.price_cents.is_some()
    }
}

impl Database {
    /// Returns a page of a category, or `None` if the category does not exist. Pages count from 1;
    /// a page after the last one is empty.
    pub(crate) async fn category_page(
        &self,
        category: u32,
        sort: Sort,
        page: u32,
    ) -> rusqlite::Result<Option<CategoryPage>> {
        let order = match sort {
            Sort::Rank => "sales_rank, id",
            Sort::Price => "price_cents, id",
            Sort::Name => "name, id",
        };
        self.run(move |session| {
            let sql =
                "SELECT name, (SELECT COUNT(*) FROM products WHERE category_id = ?1) FROM categories WHERE id = ?1";
            let Some((name, total)) = session.row(sql, [category], |row| Ok((row.get(0)?, row.get::<_, u32>(1)?)))?
            else {
                return Ok(None);
            };
            let sql = format!("{RANKED} SELECT * FROM ranked ORDER BY {order} LIMIT ?2 OFFSET ?3");
            let offset = i64::from(page - 1) * i64::from(PAGE_SIZE);
            let products = session.rows(&sql, params![category, PAGE_SIZE, offset], product)?;
            Ok(Some(CategoryPage { category, name, page, pages: total.div_ceil(PAGE_SIZE), products }))
        })
        .await
    }

    /// Returns a product's page, or `None` if the product does not exist.
    pub(crate) async fn product_page(&self, id: u32) -> rusqlite::Result<Option<ProductPage>> {
        self.run(move |session| product_page(session, id)).await
    }

    /// Returns a product's category, or `None` if the product does not exist.
    pub(crate) async fn category_of(&self, product: u32) -> rusqlite::Result<Option<u32>> {
        self.run(move |session| {
            session.row("SELECT category_id FROM products WHERE id = ?1", [product], |row| row.get(0))
        })
        .await
    }

    /// Changes a product and returns its new page, or `None` if the product does not exist.
    pub(crate) async fn change_product(
        &self,
        id: u32,
        change: ProductChange,
    ) -> rusqlite::Result<Option<ProductPage>> {
        self.run(move |session| {
            let sql = "UPDATE products SET name = COALESCE(?2, name), price_cents = COALESCE(?3, price_cents), stock = COALESCE(?4, stock)
                       WHERE id = ?1";
            session.execute(sql, params![id, change.name, change.price_cents, change.stock])?;
            product_page(session, id)
        })
        .await
    }
}

fn product_page(session: &Session<'_>, id: u32) -> rusqlite::Result<Option<ProductPage>> {
    let sql = "SELECT category_id, categories.name FROM products JOIN categories ON categories.id = category_id WHERE products.id = ?1";
    let Some((category, category_name)) = session.row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))?
    else {
        return Ok(None);
    };
    let sql = format!("{RANKED} SELECT * FROM ranked WHERE id = ?2");
    let Some(product) = session.row(&sql, [category, id], product)? else {
        return Ok(None);
    };
    let related = session.rows(RELATED, [id], |row| {
        Ok(RelatedProduct {
            id: row.get(0)?,
            name: row.get(1)?,
            price_cents: row.get(2)?,
            bought_together: row.get(3)?,
        })
    })?;
    Ok(Some(ProductPage { product, category, category_name, related }))
}

fn product(row: &Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product {
        id: row.get("id")?,
        name: row.get("name")?,
        price_cents: row.get("price_cents")?,
        stock: row.get("stock")?,
        sold: row.get("sold")?,
        buyers: row.get("buyers")?,
        sales_rank: row.get("sales_rank")?,
    })
}
