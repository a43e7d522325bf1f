//! No-Vary-Search, and the URLs that it makes equivalent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_keys::{NoVarySearch, TargetKey};

// Lines: the field, a query, another query.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let Some(variation) = NoVarySearch::parse_field(lines.next().unwrap_or_default().as_bytes()) else {
        return;
    };
    let field = variation.to_field();
    assert!(field.len() <= 3 * text.len() + 40 && field.is_ascii());
    assert_eq!(NoVarySearch::parse_field(field.as_bytes()).as_ref(), Some(&variation));

    let target = |query: Option<&str>| {
        TargetKey::parse(&format!("https://a.example/x?{}", query.unwrap_or_default())).expect("a URL")
    };
    let (one, other) = (target(lines.next()), target(lines.next()));
    let Some(key) = one.equivalent(&variation, 7) else { return };
    assert_eq!(key.scopes(), one.scopes(), "a purge by path reaches all equivalent URLs");
    assert_ne!(key, one, "no client's URL names it");
    assert!(key.as_str().ends_with("__strata_search=7") && key.as_str() != one.search_marker());
    assert_ne!(Some(key.clone()), one.equivalent(&variation, 8));

    // Equivalence is exact: the queries then have the same parameters of the same names.
    let relevant = |target: &TargetKey| {
        let key = target.equivalent(&variation, 0)?;
        let (_, query) = key.as_str().split_once('?')?;
        Some(query.to_owned())
    };
    assert_eq!(Some(key) == other.equivalent(&variation, 7), relevant(&one) == relevant(&other));
});
