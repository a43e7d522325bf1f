//! A URL and the rules for its query.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_keys::{QueryRules, RESERVED_PREFIX, TargetKey};

// Lines: a URL, the parameters that count (empty for all), the parameters to drop. A fourth line
// that begins with `e` keeps the client's spelling, another one sorts the parameters.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let url = lines.next().unwrap_or_default();
    let Some(rules) = rules(lines.next(), lines.next(), lines.next()) else { return };
    let Ok(key) = TargetKey::with_rules(url, &rules) else { return };

    assert_eq!(TargetKey::with_rules(key.as_str(), &rules).as_ref(), Ok(&key), "a key is its own key");
    assert!(key.as_str().is_ascii());
    assert!(!key.scopes().is_empty());
    let (_, query) = key.as_str().split_once('?').unwrap_or_default();
    assert!(
        !query.split('&').any(|parameter| parameter.starts_with(RESERVED_PREFIX)),
        "no client forges the name of a variant"
    );
    assert_eq!(key.of_method("HEAD"), key);
    assert_ne!(key.of_method("POST"), key);

    // The forwarded query has the same key. The URL parser removes control characters and trailing
    // spaces before it splits a URL; the worker has parsed its URLs before.
    if url.contains('#') || url.contains(char::is_control) || url.contains(' ') {
        return;
    }
    let (head, query) = url.split_once('?').map_or((url, None), |(head, query)| (head, Some(query)));
    let forwarded = match rules.forwarded(query) {
        Some(query) => format!("{head}?{query}"),
        None => head.to_owned(),
    };
    assert_eq!(TargetKey::with_rules(&forwarded, &rules), Ok(key), "forwarded as {forwarded}");
});

fn rules(keep: Option<&str>, drop: Option<&str>, form: Option<&str>) -> Option<QueryRules> {
    let names =
        |line: Option<&str>| line.unwrap_or_default().split(',').map(str::to_owned).collect::<Vec<_>>();
    let (keep, drop) = (names(keep), names(drop));
    let mut rules = QueryRules::default();
    if keep != [""] {
        rules = rules.keeping(keep).ok()?;
    }
    if drop != [""] {
        rules = rules.dropping(drop).ok()?;
    }
    Some(match form {
        None => rules,
        Some(form) if form.starts_with('e') => rules.exact(),
        Some(_) => rules.sorted(),
    })
}
