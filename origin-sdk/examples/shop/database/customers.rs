//! The users and their orders.

use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::{Database, Session};

const PAGE_SIZE: u32 = 10;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) email: String,
    /// The time in Unix seconds.
    pub(crate) joined_at: i64,
    pub(crate) orders: u32,
    pub(crate) spent_cents: i64,
}

/// A page of a user's orders, newest first, with the totals of all orders.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OrderPage {
    pub(crate) user: u32,
    pub(crate) page: u32,
    pub(crate) pages: u32,
    pub(crate) total_orders: u32,
    pub(crate) spent_cents: i64,
    pub(crate) orders: Vec<Order>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: u32,
    /// The time in Unix seconds.
    pub(crate) ordered_at: i64,
    pub(crate) total_cents: i64,
    pub(crate) items: Vec<Item>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) product: u32,
    /// The product's current name.
    pub(crate) name: String,
    pub(crate) quantity: u32,
    /// The unit price that was paid.
    pub(crate) price_cents: u32,
}

/// A change of a profile. Fields that are `None` are not changed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileChange {
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
}

impl ProfileChange {
    /// Returns an error message if the change is empty or has an invalid name or address.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self { name: None, email: None } => Err("expected at least one of name and email"),
            Self { name: Some(name), .. } if name.trim().is_empty() || name.len() > 200 => {
                Err("name: expected 1 to 200 bytes that are not all spaces")
            }
            Self { email: Some(email), .. } if !email.contains('@') || email.len() > 200 => {
                Err("email: expected an address of at most 200 bytes")
            }
            _ => Ok(()),
        }
    }
}

const PROFILE: &str = "
    SELECT users.id, name, email, joined_at, COUNT(DISTINCT orders.id), COALESCE(SUM(quantity * price_cents), 0)
    FROM users LEFT JOIN orders ON user_id = users.id LEFT JOIN order_items ON order_id = orders.id
    WHERE users.id = ?1 GROUP BY users.id";

const ORDER_ITEMS: &str = "
    SELECT page.id, ordered_at, SUM(quantity * item.price_cents) OVER (PARTITION BY page.id), product_id, name, quantity, item.price_cents
    FROM (SELECT id, ordered_at FROM orders WHERE user_id = ?1 ORDER BY id DESC LIMIT ?2 OFFSET ?3) AS page
    JOIN order_items AS item ON order_id = page.id JOIN products ON products.id = product_id
    ORDER BY page.id DESC, product_id";

impl Database {
    /// Returns a user's profile, or `None` if the user does not exist.
    pub(crate) async fn profile(&self, user: u32) -> rusqlite::Result<Option<Profile>> {
        self.run(move |session| profile(session, user)).await
    }

    /// Changes a profile and returns it, or `None` if the user does not exist.
    pub(crate) async fn change_profile(
        &self,
        user: u32,
        change: ProfileChange,
    ) -> rusqlite::Result<Option<Profile>> {
        self.run(move |session| {
            let sql = "UPDATE users SET name = COALESCE(?2, name), email = COALESCE(?3, email) WHERE id = ?1";
            session.execute(sql, params![user, change.name, change.email])?;
            profile(session, user)
        })
        .await
    }

    /// Returns a page of a user's orders, or `None` if the user does not exist. Pages count from 1;
    /// a page after the last one is empty.
    pub(crate) async fn order_page(&self, user: u32, page: u32) -> rusqlite::Result<Option<OrderPage>> {
        self.run(move |session| {
            let Some(Profile { orders: total_orders, spent_cents, .. }) = profile(session, user)? else {
                return Ok(None);
            };
            let offset = i64::from(page - 1) * i64::from(PAGE_SIZE);
            let rows = session.rows(ORDER_ITEMS, params![user, PAGE_SIZE, offset], |row| {
                let item = Item {
                    product: row.get(3)?,
                    name: row.get(4)?,
                    quantity: row.get(5)?,
                    price_cents: row.get(6)?,
                };
                Ok(Order {
                    id: row.get(0)?,
                    ordered_at: row.get(1)?,
                    total_cents: row.get(2)?,
                    items: vec![item],
                })
            })?;
            let mut orders: Vec<Order> = Vec::new();
            for mut row in rows {
                match orders.last_mut() {
                    Some(order) if order.id == row.id => order.items.append(&mut row.items),
                    _first_of_its_order => orders.push(row),
                }
            }
            Ok(Some(OrderPage {
                user,
                page,
                pages: total_orders.div_ceil(PAGE_SIZE),
                total_orders,
                spent_cents,
                orders,
            }))
        })
        .await
    }
}

fn profile(session: &Session<'_>, user: u32) -> rusqlite::Result<Option<Profile>> {
    session.row(PROFILE, [user], |row| {
        Ok(Profile {
            id: row.get(0)?,
            name: row.get(1)?,
            email: row.get(2)?,
            joined_at: row.get(3)?,
            orders: row.get(4)?,
            spent_cents: row.get(5)?,
        })
    })
}
