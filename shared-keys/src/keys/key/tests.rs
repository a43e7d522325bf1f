use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::{Scope, ScopeHash};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Sort {
    Rank,
    Price,
}

crate::enum_id! { Sort { Rank = "rank", Price = "price" } }

crate::keys! {
    app "shop" version 1 listed as KEYS;

    /// A user.
    key User { user: String } = "user:{user}";
    /// The orders of a user.
    key Orders { user: String } = "user:{user}:orders" under User { user };
    /// A page of orders.
    key UserOrders { user: String, page: u32 } = "user:{user}:orders:{page}"
        under User { user }
        under Orders { user }
        tags [Category { category: page % 10 }, Buyer { name: user.into() }, Buyer { name: (user + "!").into() }];
    /// A list.
    key List { sort: Sort, by: Cow<'static, str>, first: char } = "list:{sort}:{by}:{first}";
    /// The largest number of ids.
    key Wide { a: String, b: String, c: String, d: String, e: String, f: String, g: String } = "{a}:{b}:{c}:{d}:{e}:{f}:{g}";
    /// No ids.
    key Flags {} = "flags";
    /// Everything in a category.
    tag Category { category: u32 } = "category:{category}";
    /// Everything of a buyer.
    tag Buyer { name: Box<str> } = "buyer:{name}";
}

mod other {
    crate::keys! {
        app "shop" version 1 listed as pub(super) OTHER;

        /// A cart.
        pub(super) key Cart { user: u64 } = "cart:{user}";
    }
}

fn orders(user: &str, page: u32) -> UserOrders {
    UserOrders { user: user.into(), page }
}

#[test]
fn a_key_renders_with_app_version_and_family_in_a_hash_tag() {
    assert_eq!(orders("42", 3).to_text(), "shop:v1:{user:42}:orders:3");
    assert_eq!(Flags {}.to_text(), "shop:v1:{flags}");
    let list = List { sort: Sort::Price, by: "a b".into(), first: '*' };
    assert_eq!(list.to_text(), "shop:v1:{list:price}:a%20b:%2A");
    assert_eq!(Category { category: 7 }.to_tag().as_str(), "category:7");
}

#[test]
fn a_key_says_its_name_head_and_template() {
    assert_eq!(
        (UserOrders::NAME, UserOrders::HEAD, UserOrders::TEMPLATE),
        ("UserOrders", "shop:v1:", "user:{user}:orders:{page}")
    );
}

#[test]
fn a_keys_tags_are_those_of_its_declaration() {
    let tags: Vec<_> = orders("a b", 13).tags().iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["category:3", "buyer:a%20b", "buyer:a%20b%21"]);
    assert!(User { user: "a".into() }.tags().is_empty());
}

#[test]
fn parse_refuses_what_render_never_writes_and_says_where() {
    for (text, message) in [
        ("", "expected `shop:v1:` at byte 0"),
        ("shop:v2:{user:42}:orders:3", "expected `shop:v1:` at byte 0"),
        ("shop:v1:user:42:orders:3", "expected `{` at byte 8"),
        ("shop:v1:{item:42}:orders:3", "expected `user:` at byte 9"),
        ("shop:v1:{user:}:orders:3", "expected an id, or `~` for the empty one at byte 14"),
        ("shop:v1:{user:a b}:orders:3", "expected one of A-Z a-z 0-9 - _ . @ or an escape"),
        ("shop:v1:{user:4%3}:orders:3", "expected `%` and two hexadecimal digits in capitals at byte 15"),
        ("shop:v1:{user:%FF}:orders:3", "expected an id of escaped UTF-8 at byte 14"),
        ("shop:v1:{user:42:orders:3", "expected `}` at byte 16"),
        ("shop:v1:{user:42}", "expected `:orders:` at byte 17"),
        ("shop:v1:{user:42}:order:3", "expected `:orders:` at byte 17"),
        ("shop:v1:{user:42}:orders:", "expected an id, or `~` for the empty one at byte 25"),
        ("shop:v1:{user:42}:orders:x", "expected a number from 0 to 2^32 - 1 at byte 25"),
        ("shop:v1:{user:42}:orders:4294967296", "expected a number from 0 to 2^32 - 1 at byte 25"),
        ("shop:v1:{user:42}:orders:3:", "expected the end of the key at byte 26"),
        ("shop:v1:{user:42}:orders:03", "expected the key as it is rendered at byte 25"),
        ("shop:v1:{user:42}:orders:%2B3", "expected the key as it is rendered at byte 25"),
        ("shop:v1:{user:4%32}:orders:3", "expected the key as it is rendered at byte 15"),
    ] {
        let error = UserOrders::parse(text).unwrap_err();
        let expected = alloc::format!("{message} of {text:?}");
        // One message continues after the asserted part.
        assert!(error.to_string() == expected || error.to_string().starts_with(message), "{text}: {error}");
    }
    let error = List::parse("shop:v1:{list:age}:a:b").unwrap_err();
    assert_eq!(error.to_string(), r#"expected one of `rank` `price` at byte 14 of "shop:v1:{list:age}:a:b""#);
}

#[test]
fn a_cut_id_cannot_be_parsed_and_says_so() {
    let key = orders(&"x".repeat(200), 3);
    let error = UserOrders::parse(&key.to_text()).unwrap_err();
    assert_eq!(error.at(), "shop:v1:{user:".len() + 64);
    assert!(error.expected().contains("cut"), "{error}");
}

#[test]
fn a_key_is_bounded_however_long_its_ids_are() {
    let id = || "*".repeat(1 << 20);
    let key = Wide { a: id(), b: id(), c: id(), d: id(), e: id(), f: id(), g: id() };
    assert!(key.to_text().len() <= MAX_KEY_BYTES);
    let whole = || "x".repeat(128);
    let longest = Wide { a: whole(), b: whole(), c: whole(), d: whole(), e: whole(), f: whole(), g: whole() };
    assert_eq!(longest.to_text().len(), "shop:v1:{}".len() + 7 * 128 + 6);
    assert_eq!(Wide::parse(&longest.to_text()), Ok(longest));
}

#[test]
fn a_prefix_covers_its_family_and_no_sibling() {
    let scopes = ScopeHash::of_key(&orders("42", 3).to_text());
    let prefix = |user: &str| Scope::Prefix(User { user: user.into() }.prefix()).hash();
    assert!(scopes.contains(&prefix("42")));
    assert!(!scopes.contains(&prefix("4")));
    assert!(ScopeHash::of_key("shop:v1:{user:42}").contains(&prefix("42")));
}

#[test]
fn a_prefix_that_does_not_end_at_a_segment_is_refused() {
    for text in ["", ":", "shop:v1:{user:4"] {
        let error = text.parse::<Prefix>().unwrap_err();
        assert_eq!((error.expected(), error.at()), ("a key prefix that ends with `:`", text.len()), "{text}");
    }
}

#[test]
fn a_modules_templates_are_disjoint_from_anothers() {
    const _: () = crate::assert_disjoint(&[KEYS, other::OTHER]);
    assert_eq!(other::Cart { user: 1 }.to_text(), "shop:v1:{cart:1}");
}

proptest! {
    #[test]
    fn a_key_parses_back_unless_an_id_was_cut(user in ".{0,60}", page: u32) {
        let key = orders(&user, page);
        let text = key.to_text();
        prop_assert!(text.len() <= MAX_KEY_BYTES);
        match UserOrders::parse(&text) {
            Ok(parsed) => prop_assert_eq!(parsed, key),
            Err(error) => prop_assert!(text.contains('~') && error.expected().contains("cut"), "{}", error),
        }
    }

    #[test]
    fn hostile_text_never_panics_and_parses_only_to_what_renders_it(junk in any::<String>(), user in ".{0,9}", page: u32) {
        let near = {
            let mut near = orders(&user, page).to_text();
            near.write_str(&junk).unwrap();
            near
        };
        for text in [junk, near] {
            if let Ok(key) = UserOrders::parse(&text) {
                prop_assert_eq!(key.to_text(), text);
            }
        }
    }

    #[test]
    fn two_keys_of_all_templates_never_render_alike(
        ids in proptest::collection::vec("[ab:{}~%]{0,3}|.{0,140}", 4), page: u32, first: char,
    ) {
        let [a, b, c, d] = ids.as_slice() else { unreachable!() };
        let list = |sort, by: &str| List { sort, by: by.to_string().into(), first }.to_text();
        let mut texts = Vec::from([Flags {}.to_text(), orders(a, page).to_text(), orders(b, page).to_text()]);
        texts.extend([a, b].map(|user| User { user: user.clone() }.to_text()));
        texts.extend([a, b].map(|user| Orders { user: user.clone() }.to_text()));
        texts.extend([list(Sort::Rank, c), list(Sort::Rank, d), list(Sort::Price, c)]);
        let equal_pairs = [(1, 2, a == b), (3, 4, a == b), (5, 6, a == b), (7, 8, c == d)];
        for x in 0..texts.len() {
            for y in x + 1..texts.len() {
                let same = equal_pairs.contains(&(x, y, true));
                prop_assert_eq!(texts[x] == texts[y], same, "{} {}", &texts[x], &texts[y]);
            }
        }
    }

    #[test]
    fn a_typed_prefix_covers_exactly_the_keys_below_it(a in "[a-c:*{}]{0,3}|x{126,131}", b in "[a-c:*{}]{0,3}|x{126,131}") {
        let top = User { user: a.clone() };
        let key = orders(&b, 1);
        let text = key.to_text();
        let by_scope = ScopeHash::of_key(&text).contains(&Scope::Prefix(top.prefix()).hash());
        prop_assert_eq!(by_scope, a == b);
        prop_assert_eq!(top.prefix().covers(&text), a == b);
        prop_assert_eq!(top.covers(&key), a == b);
        prop_assert_eq!(Orders { user: a.clone() }.covers(&key), a == b);
        prop_assert_eq!(key.prefixes().contains(&top.prefix()), a == b);
        prop_assert!(key.prefixes().iter().all(|prefix| prefix.covers(&text)));
    }
}
