//! Keys, ids and prefixes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_keys::{Key, Prefix, Scope, ScopeHash, TypedTag, slot};

shared_keys::keys! {
    app "shop" version 1;

    /// Two ids of different types.
    key Orders { user: String, page: u32 } = "user:{user}:orders:{page}" tags [Brand { name: user }];
    /// A third key of the same family.
    key User { user: String } = "user:{user}";
    /// An id that is a character.
    key Letter { letter: char, on: bool } = "letter:{letter}:{on}";
    /// A tag with an id.
    tag Brand { name: String } = "brand:{name}";
}

/// The length up to which XXH3 mixes small seeds into texts so that two kinds of scopes can
/// collide.
const MAX_SHORT: usize = 16;

// Lines: a key's text, and two ids.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (text, one, other) = (line(), line(), line());

    reads_only_what_it_writes::<Orders>(text);
    reads_only_what_it_writes::<User>(text);
    reads_only_what_it_writes::<Letter>(text);

    let (a, b) = (User { user: one.to_owned() }, User { user: other.to_owned() });
    assert_eq!(a == b, a.to_text() == b.to_text(), "different ids never render alike");
    let page = u32::try_from(text.len()).unwrap_or_default();
    for key in [Orders { user: one.to_owned(), page }.to_text(), a.to_text()] {
        assert!(key.len() <= shared_keys::MAX_KEY_BYTES);
        assert!(key.bytes().all(|byte| byte.is_ascii_graphic() && !b"*?[]\\\"".contains(&byte)), "{key}");
        assert_eq!(slot(&key), slot(&a.to_text()), "a family shares a slot");
        let by_scope = |prefix: Prefix| ScopeHash::of_key(&key).contains(&Scope::Prefix(prefix).hash());
        assert_eq!(
            (b.prefix().covers(&key), by_scope(b.prefix())),
            (a == b, a == b),
            "a prefix covers no sibling"
        );
    }
    if let Ok(prefix) = text.parse::<Prefix>() {
        assert_eq!(prefix.as_str(), text);
        // Hashes of two kinds can be equal for texts shorter than any key. The scope then covers
        // too much, which is safe.
        let is_long = prefix.as_str().len() > MAX_SHORT && one.len() > MAX_SHORT;
        let by_scope = ScopeHash::of_key(one).contains(&Scope::Prefix(prefix.clone()).hash());
        assert!(by_scope == prefix.covers(one) || by_scope && !is_long);
    }
    let orders = Orders { user: one.to_owned(), page };
    assert_eq!(orders.tags(), [Brand { name: one.to_owned() }.to_tag()]);
});

fn reads_only_what_it_writes<K: Key>(text: &str) {
    match K::parse(text) {
        Ok(key) => assert_eq!(key.to_text(), text),
        Err(error) => assert!(error.at() <= text.len()),
    }
}
