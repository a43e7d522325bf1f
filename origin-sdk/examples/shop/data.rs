//! Generates the shop's data. Every machine gets the same rows.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};

/// The number of rows in each table.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) categories: u32,
    /// At least the number of categories. Every category gets an equal share.
    pub(crate) products: u32,
    pub(crate) users: u32,
    pub(crate) orders: u32,
}

impl Sizes {
    pub(crate) const SHOP: Self = Self { categories: 200, products: 50_000, users: 20_000, orders: 400_000 };
}

/// The format version in the file. A file from another version of this example is refused.
const FORMAT: i64 = 1;

// The orders span two years, from 2023-11-14 to 2025-11-13.
const FIRST_ORDER_SECS: i64 = 1_699_920_000;
const DAY_SECS: i64 = 24 * 60 * 60;
const ORDERED_DAYS: i64 = 730;

/// Creates the database file unless it exists.
pub(crate) fn prepare(path: &Path, sizes: Sizes) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if !path.exists() {
        // Written to a temporary file and then renamed, so that the file is complete as soon as it
        // exists, also if two processes start at once.
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix("shop-").suffix(".tmp").tempfile_in(directory)?;
        generate(file.path(), sizes)?;
        file.as_file().sync_all()?;
        if let Err(refused) = file.persist_noclobber(path)
            && refused.error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(refused.error.into());
        }
    }
    let format: i64 = Connection::open(path)?.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format == FORMAT {
        Ok(())
    } else {
        Err(format!(
            "expected format {FORMAT}, found format {format}; delete the file, and it is created again"
        )
        .into())
    }
}

/// Fills an empty file. Creates the indexes last, because building them once is faster than
/// updating them for every row.
fn generate(path: &Path, sizes: Sizes) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    // A crash may corrupt the file, which is then discarded.
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(include_str!("schema.sql"))?;
    let mut random = SplitMix64(20_261_101);
    categories_and_products(&transaction, sizes, &mut random)?;
    users(&transaction, sizes, &mut random)?;
    orders(&transaction, sizes, &mut random)?;
    flags(&transaction)?;
    transaction.execute_batch(
        "CREATE INDEX products_of_category ON products (category_id);
         CREATE INDEX orders_of_user ON orders (user_id);
         CREATE INDEX items_of_product ON order_items (product_id, order_id, quantity);
         ANALYZE;",
    )?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    // In this mode readers and the writer do not block each other. The file stores the mode, so it
    // is set once.
    connection.pragma_update(None, "journal_mode", "WAL")
}

fn categories_and_products(
    transaction: &Transaction<'_>,
    sizes: Sizes,
    random: &mut SplitMix64,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare("INSERT INTO categories (id, name) VALUES (?1, ?2)")?;
    for category in 0..sizes.categories {
        insert.execute(params![category + 1, category_name(category)])?;
    }
    let mut insert = transaction.prepare(
        "INSERT INTO products (id, category_id, name, price_cents, stock) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for product in 0..sizes.products {
        let category = product % sizes.categories;
        let name =
            format!("{} {} {}", random.pick(&LOOKS), random.pick(&MATERIALS), singular(random, category));
        insert.execute(params![product + 1, category + 1, name, price_cents(product), random.below(500)])?;
    }
    Ok(())
}

fn users(transaction: &Transaction<'_>, sizes: Sizes, random: &mut SplitMix64) -> rusqlite::Result<()> {
    let mut insert =
        transaction.prepare("INSERT INTO users (id, name, email, joined_at) VALUES (?1, ?2, ?3, ?4)")?;
    for user in 1..=sizes.users {
        let (given, family) = (random.pick(&GIVEN_NAMES), random.pick(&FAMILY_NAMES));
        let email = format!("{given}.{family}.{user}@example.com").to_lowercase();
        let joined_at = FIRST_ORDER_SECS - i64::from(random.below(1_000)) * DAY_SECS;
        insert.execute(params![user, format!("{given} {family}"), email, joined_at])?;
    }
    Ok(())
}

/// Inserts orders of one to eight products, in chronological order. The first product of an order
/// is usually a best seller, and about half of the others come from the same category, so that the
/// query for related products finds some.
fn orders(transaction: &Transaction<'_>, sizes: Sizes, random: &mut SplitMix64) -> rusqlite::Result<()> {
    let mut insert_order =
        transaction.prepare("INSERT INTO orders (id, user_id, ordered_at) VALUES (?1, ?2, ?3)")?;
    let mut insert_item = transaction.prepare(
        "INSERT OR IGNORE INTO order_items (order_id, product_id, quantity, price_cents) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let span_secs = ORDERED_DAYS * DAY_SECS;
    for order in 0..sizes.orders {
        let ordered_at = FIRST_ORDER_SECS + i64::from(order) * span_secs / i64::from(sizes.orders);
        insert_order.execute(params![order + 1, 1 + random.skewed(sizes.users), ordered_at])?;
        let first = random.skewed(sizes.products);
        for position in 0..=random.below(8) {
            let product = if position == 0 {
                first
            } else if random.below(2) == 0 {
                first % sizes.categories + sizes.categories * random.skewed(sizes.products / sizes.categories)
            } else {
                random.below(sizes.products)
            };
            insert_item.execute(params![
                order + 1,
                product + 1,
                1 + random.skewed(3),
                price_cents(product)
            ])?;
        }
    }
    Ok(())
}

fn flags(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare("INSERT INTO flags (name, enabled, rollout) VALUES (?1, ?2, ?3)")?;
    for (name, enabled, rollout) in [
        ("new-checkout", true, 25),
        ("dark-mode", true, 100),
        ("gift-wrapping", false, 0),
        ("express-delivery", true, 50),
        ("reviews", false, 0),
    ] {
        insert.execute(params![name, enabled, rollout])?;
    }
    Ok(())
}

/// Returns a product's price. It depends on the product's number only, so that orders need no
/// query.
fn price_cents(product: u32) -> u32 {
    199 + 100 * SplitMix64(product.into()).skewed(500)
}

fn category_name(category: u32) -> String {
    let (room, kind) = (pick(&ROOMS, category), pick(&KINDS, category / ROOMS.len() as u32));
    format!("{room} {kind}s")
}

fn singular(random: &mut SplitMix64, category: u32) -> String {
    let kind = pick(&KINDS, category / ROOMS.len() as u32);
    format!("{kind} {}", 100 + random.below(900))
}

fn pick<'a>(words: &[&'a str], index: u32) -> &'a str {
    words[index as usize % words.len()]
}

/// The generator SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). Implemented here so that an
/// update of a dependency cannot change the data.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Draws uniformly from `0..bound`.
    fn below(&mut self, bound: u32) -> u32 {
        scaled(self.next(), bound)
    }

    /// Draws from `0..bound` with lower numbers more likely, by the square of a uniform draw. Low
    /// ids are the shop's best sellers and best customers: of 50,000 products the first is drawn
    /// once in 220 draws, the last once in 100,000.
    fn skewed(&mut self, bound: u32) -> u32 {
        let uniform = u128::from(self.next());
        scaled(((uniform * uniform) >> 64) as u64, bound)
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        pick(words, self.below(words.len() as u32))
    }
}

/// Scales `draw` from `0..2^64` to `0..bound`.
fn scaled(draw: u64, bound: u32) -> u32 {
    ((u128::from(draw) * u128::from(bound)) >> 64) as u32
}

const ROOMS: [&str; 20] = [
    "Kitchen", "Garden", "Office", "Bathroom", "Bedroom", "Nursery", "Hallway", "Balcony", "Cellar",
    "Workshop", "Garage", "Camping", "Travel", "School", "Studio", "Kennel", "Library", "Picnic", "Boat",
    "Attic",
];
const KINDS: [&str; 10] =
    ["Lamp", "Table", "Chair", "Basket", "Clock", "Mirror", "Blanket", "Kettle", "Cabinet", "Bench"];
const LOOKS: [&str; 12] = [
    "Plain", "Rustic", "Modern", "Folding", "Compact", "Striped", "Polished", "Quiet", "Sturdy", "Slim",
    "Round", "Bright",
];
const MATERIALS: [&str; 10] =
    ["Oak", "Steel", "Linen", "Bamboo", "Glass", "Wool", "Copper", "Ceramic", "Cork", "Leather"];
const GIVEN_NAMES: [&str; 16] = [
    "Ada", "Bela", "Chidi", "Dana", "Emil", "Farah", "Goran", "Hana", "Ines", "Jonas", "Kofi", "Lena",
    "Mina", "Noor", "Olek", "Priya",
];
const FAMILY_NAMES: [&str; 16] = [
    "Abe", "Bauer", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito", "Jansen", "Kaya",
    "Larsen", "Moreau", "Novak", "Okafor", "Patel",
];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The sizes of a shop that is small enough to generate for every test.
    pub(crate) const SMALL: Sizes = Sizes { categories: 4, products: 100, users: 30, orders: 600 };

    /// Returns a generated file, and its temporary folder, which deletes the file when dropped.
    pub(crate) fn small_shop() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        prepare(&path, SMALL).unwrap();
        (folder, path)
    }

    fn number(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, (), |row| row.get(0)).unwrap()
    }

    #[test]
    fn the_same_sizes_give_the_same_rows_on_every_machine() {
        let (_folder, path) = small_shop();
        let shop = Connection::open(path).unwrap();
        let digest = [
            "SELECT SUM(id * category_id * price_cents + stock) FROM products",
            "SELECT SUM(id * length(email) + joined_at) FROM users",
            "SELECT SUM(user_id * ordered_at) FROM orders",
            "SELECT SUM(order_id * product_id * quantity) FROM order_items",
            "SELECT COUNT(*) FROM order_items",
        ]
        .map(|sql| number(&shop, sql));
        assert_eq!(digest, [275_905_951, 49_541_598_956, 11_143_812_385_440, 53_805_844, 2_547]);
    }

    #[test]
    fn the_file_has_the_given_numbers_of_rows_and_no_broken_references() {
        let (_folder, path) = small_shop();
        let shop = Connection::open(path).unwrap();
        for (table, rows) in [
            ("categories", SMALL.categories),
            ("products", SMALL.products),
            ("users", SMALL.users),
            ("orders", SMALL.orders),
        ] {
            assert_eq!(number(&shop, &format!("SELECT COUNT(*) FROM {table}")), i64::from(rows), "{table}");
        }
        assert_eq!(number(&shop, "SELECT COUNT(*) FROM pragma_foreign_key_check"), 0);
    }

    #[test]
    fn low_ids_are_ordered_more() {
        let (_folder, path) = small_shop();
        let shop = Connection::open(path).unwrap();
        let items = |range: &str| {
            number(&shop, &format!("SELECT COUNT(*) FROM order_items WHERE product_id BETWEEN {range}"))
        };
        assert!(items("1 AND 10") > 2 * items("91 AND 100"));
    }

    #[test]
    fn an_existing_file_is_not_replaced() {
        let (_folder, path) = small_shop();
        Connection::open(&path)
            .unwrap()
            .execute("UPDATE products SET name = 'mine' WHERE id = 1", ())
            .unwrap();
        prepare(&path, SMALL).unwrap();
        assert_eq!(
            number(&Connection::open(&path).unwrap(), "SELECT COUNT(*) FROM products WHERE name = 'mine'"),
            1
        );
    }

    #[test]
    fn a_file_of_another_format_is_refused() {
        let (_folder, path) = small_shop();
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(prepare(&path, SMALL).unwrap_err().to_string().contains("found format 99; delete the file"));
    }
}
