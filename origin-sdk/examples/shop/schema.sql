-- The shop's tables. Times are in Unix seconds, prices in cents.

CREATE TABLE categories (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL
) STRICT;

CREATE TABLE products (
    id          INTEGER PRIMARY KEY,
    category_id INTEGER NOT NULL REFERENCES categories,
    name        TEXT    NOT NULL,
    price_cents INTEGER NOT NULL CHECK (price_cents >= 0),
    stock       INTEGER NOT NULL CHECK (stock >= 0)
) STRICT;

CREATE TABLE users (
    id        INTEGER PRIMARY KEY,
    name      TEXT    NOT NULL,
    email     TEXT    NOT NULL,
    joined_at INTEGER NOT NULL
) STRICT;

CREATE TABLE orders (
    id         INTEGER PRIMARY KEY,
    user_id    INTEGER NOT NULL REFERENCES users,
    ordered_at INTEGER NOT NULL
) STRICT;

CREATE TABLE order_items (
    order_id    INTEGER NOT NULL REFERENCES orders,
    product_id  INTEGER NOT NULL REFERENCES products,
    quantity    INTEGER NOT NULL CHECK (quantity > 0),
    price_cents INTEGER NOT NULL, -- the unit price that was paid
    PRIMARY KEY (order_id, product_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE flags (
    name    TEXT PRIMARY KEY,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    rollout INTEGER NOT NULL CHECK (rollout BETWEEN 0 AND 100) -- percent of the users
) STRICT, WITHOUT ROWID;
