//! The grammar of keys, tags and scopes. This page has no items.
//!
//! Read each row from left to right: *italics* refer to another row, `(…)*` repeats, `(…)?` is
//! optional, `|` separates alternatives.
//!
//! # Keys
//!
//! | part | | form | example |
//! |---|---|---|---|
//! | *key* | ──▶ | *head* `{` *family* `}` ( `:` *segment* )* | `shop:v1:{user:42}:orders:3` |
//! | *head* | ──▶ | *literal* `:v` *version* `:` | `shop:v1:` |
//! | *family* | ──▶ | ( *literal* `:` )* *id* \| *literal* ( `:` *literal* )*, if the template has no id | `user:42` |
//! | *segment* | ──▶ | *literal* \| *id* | `orders`, `3` |
//! | *literal* | ──▶ | ( `a-z` \| `0-9` \| `_` \| `-` ) ( … )* | `orders` |
//! | *id* | ──▶ | ( *plain* \| *escape* ) ( … )*, at most 128 bytes | `Ann@x.org`, `a%3Ab` |
//! | | \| | `~`, the empty id | `~` |
//! | | \| | *head of 64 bytes* `~` *32 hexadecimal digits*, an id whose escaped form is longer than 128 bytes | `aaaa…~5f0c…` |
//! | *plain* | ──▶ | `A-Z` \| `a-z` \| `0-9` \| `-` \| `_` \| `.` \| `@` | |
//! | *escape* | ──▶ | `%` and two hexadecimal digits in capitals, for any other byte of the id's UTF-8 | `%2A` |
//! | *prefix* | ──▶ | a *key* or its beginning, up to and with a `:` | `shop:v1:{user:42}:` |
//!
//! A template has literals and ids at fixed places. For any two templates of one app and version
//! there is a place where both have a literal and these differ, or where one of them ends. A key's
//! text therefore identifies its template, and the escapes identify the ids.
//!
//! * **An id is never mistaken for syntax**: `*`, `?`, `[`, `\` (Redis globs), `{`, `}` (hash
//!   tags), `:` (segments), `%` and `~` (escapes), control characters, spaces and non-ASCII bytes
//!   are never written raw.
//! * **A prefix ends at a segment**: `shop:v1:{user:4}:` does not cover `shop:v1:{user:42}`.
//! * **A family has one slot** in a Redis Cluster, since its keys share a hash tag
//!   ([`slot`](crate::slot())).
//! * **A key is bounded**: ids are cut one by one, and a template that could render more than
//!   [`MAX_KEY_BYTES`](crate::MAX_KEY_BYTES) does not compile. A cut id ends in 128 bits of its
//!   SHA-256, so different cut ids differ; it cannot be parsed back. An id is cut alike in every
//!   key, so the prefixes of a family with a cut id cover exactly that family.
//!
//! ```
//! use shared_keys::{Key, slot};
//!
//! shared_keys::keys! {
//!     app "shop" version 1;
//!
//!     /// A user's profile.
//!     pub key User { name: String } = "user:{name}";
//!     /// A page of a user's orders.
//!     pub key Orders { name: String, page: u32 } = "user:{name}:orders:{page}"
//!         under User { name };
//! }
//!
//! let (user, orders) = (User { name: "4*".into() }, Orders { name: "4*".into(), page: 3 });
//! assert_eq!(orders.to_text(), "shop:v1:{user:4%2A}:orders:3");
//! assert_eq!(slot(&user.to_text()), slot(&orders.to_text()));
//!
//! let endless = Orders { name: "x".repeat(1 << 20), page: 3 };
//! assert_eq!(endless.to_text().len(), "shop:v1:{user:}:orders:3".len() + 64 + 1 + 32);
//! assert!(User { name: "x".repeat(1 << 20) }.prefix().covers(&endless.to_text()));
//! assert!(Orders::parse(&endless.to_text()).is_err());
//! ```
//!
//! # Declarations
//!
//! | part | | form |
//! |---|---|---|
//! | *keys!* | ──▶ | `app` *"literal"* `version` *number* ( `listed as` *visibility* *NAME* )? `;` ( *key* \| *tag* )* |
//! | *key* | ──▶ | *visibility* `key` *Name* *fields* `=` *"template"* *under*\* *tags*? `;` |
//! | *tag* | ──▶ | *visibility* `tag` *Name* *fields* `=` *"template"* `;` |
//! | *fields* | ──▶ | `{` ( *field* `:` *type* `,` )* `}` |
//! | *template* | ──▶ | ( *literal* \| `{` *field* `}` ) ( `:` … )*, with each field once and in their order |
//! | *under* | ──▶ | `under` *Key* `{` ( *field* `,` )* `}` |
//! | *tags* | ──▶ | `tags [` ( *expression* `,` )* `]` |
//!
//! # Tags
//!
//! | part | | form | example |
//! |---|---|---|---|
//! | *tag* | ──▶ | *segment* ( `:` *segment* )* from a template, or any text of 1 to 1,024 bytes ([`Tag::new`](crate::Tag::new)) | `category:7` |
//! | *header* | ──▶ | *token* ( `,` *token* )*, at most 16 KiB | `category:7,~65x6a21gdg4qd` |
//! | *token* | ──▶ | a *tag* of at most 64 bytes of `a-z 0-9 - _ . : / @` | `category:7` |
//! | | \| | `~` and 13 digits of base 32: the [hash](crate::ScopeHash) of any other scope | `~65x6a21gdg4qd` |
//!
//! # Scopes
//!
//! The key or prefix in a scope is that of version 1, whichever version it is made from
//! ([`datum_of`](crate::datum_of)), so that processes of two schema versions obey each other.
//!
//! | scope | form | example |
//! |---|---|---|
//! | one key | `key:` *key* | `key:shop:v1:{user:42}:orders:3` |
//! | a key and all below it | `prefix:` *prefix* | `prefix:shop:v1:{user:42}:` |
//! | everything that carries the tag | `tag:` *tag* | `tag:category:7` |
//! | a URL path and all below it | `path:` *host* ( `/` *segment* )* | `path:shop.example/api/products` |
//! | everything | `all` | `all` |
