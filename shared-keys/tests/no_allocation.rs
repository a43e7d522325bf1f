//! Rendering a key into a buffer that is large enough allocates nothing, whatever its ids are.

use std::borrow::Cow;

use allocation_counter::measure;
use shared_keys::{Key, MAX_KEY_BYTES};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Sort {
    Rank,
}

shared_keys::enum_id! { Sort { Rank = "rank" } }

shared_keys::keys! {
    app "shop" version 1;

    /// Numbers.
    key Numbers { a: u64, b: i128, c: bool, d: char } = "numbers:{a}:{b}:{c}:{d}";
    /// Texts.
    key Texts { a: String, b: Cow<'static, str>, c: Box<str>, sort: Sort } = "texts:{a}:{b}:{c}:{sort}";
    /// No ids.
    key Flags {} = "flags";
}

#[track_caller]
fn assert_allocates_nothing(key: &impl Key) {
    let mut buffer = String::with_capacity(MAX_KEY_BYTES);
    let allocations = measure(|| key.render(&mut buffer).unwrap());
    assert_eq!(allocations.count_total, 0, "{buffer}");
    assert_eq!(buffer, key.to_text());
}

#[test]
fn rendering_into_a_buffer_allocates_nothing() {
    assert_allocates_nothing(&Flags {});
    assert_allocates_nothing(&Numbers { a: u64::MAX, b: i128::MIN, c: true, d: '*' });
    for text in ["", "4*", "a:b{c}\n\0é", &"ö".repeat(1 << 20)] {
        let (a, b, c) = (text.to_owned(), Cow::Owned(text.to_owned()), text.into());
        assert_allocates_nothing(&Texts { a, b, c, sort: Sort::Rank });
    }
}

#[test]
fn the_counter_counts() {
    assert!(measure(|| drop(Flags {}.to_text())).count_total > 0);
}
