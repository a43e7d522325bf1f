//! The `Cache-Tag` header: written, folded and read; and cache groups.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use shared_keys::{CacheGroup, Scope, ScopeHash, Tag, TagSet, TargetKey, scopes_from_header};

// Lines: a header from any origin, the largest length of a header, then the keys and tags of a
// response: `k` and a key, or a tag.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let header = lines.next().unwrap_or_default();
    let tokens = header.split([',', ' ', '\t']).filter(|token| !token.is_empty()).count();
    assert!((tokens..=2 * tokens).contains(&scopes_from_header(header).count()));
    groups(header);
    let max_bytes = lines.next().and_then(|line| line.parse().ok()).unwrap_or(TagSet::MAX_HEADER_BYTES);

    let (mut keys, mut tags) = (Vec::new(), Vec::new());
    for line in lines {
        match line.strip_prefix('k') {
            Some("") => {}
            Some(key) => keys.push(key),
            None => tags.extend(Tag::new(line)),
        }
    }
    let mut set = TagSet::default();
    keys.iter().for_each(|key| set.insert_key(key));
    tags.iter().for_each(|tag| set.insert_tag(tag));
    for tag in &tags {
        let token = tag.to_token();
        assert!(
            token.len() <= 1024
                && token.bytes().all(|b| b.is_ascii_graphic() && b != b',' && !b.is_ascii_uppercase())
        );
    }

    match set.to_header(max_bytes) {
        Ok(header) => {
            assert!(header.value.len() <= max_bytes);
            let read: BTreeSet<ScopeHash> = scopes_from_header(&header.value).collect();
            let covers = |scope: Scope| scope.edge_hashes().iter().any(|hash| read.contains(hash));
            assert!(tags.iter().all(|tag| covers(Scope::Tag(tag.clone()))), "a tag is never lost");
            for scope in keys.iter().flat_map(|key| Scope::of_key(key)) {
                assert!(covers(scope.clone()), "an invalidation of {scope} covers the response");
                assert!(
                    header.folded || read.contains(&scope.hash()),
                    "{scope} stands there itself unless it is folded"
                );
            }
        }
        Err(overflow) => assert!(overflow.bytes > max_bytes),
    }
});

/// The groups of a field write the same field, and each has a tag that names one origin.
fn groups(field: &str) {
    let Some(groups) = CacheGroup::parse_field(field.as_bytes()) else { return };
    let written = CacheGroup::to_field(&groups);
    assert_eq!(CacheGroup::parse_field(written.as_bytes()).as_ref(), Some(&groups));
    let own = TargetKey::parse("https://a.example/").expect("a URL");
    let other = TargetKey::parse("https://b.example/").expect("a URL");
    for group in &groups {
        let scope = Scope::Tag(group.tag(&own));
        assert_eq!(scope.to_string().parse(), Ok(scope));
        assert!(groups.iter().all(|known| known.tag(&other) != group.tag(&own)));
    }
}
