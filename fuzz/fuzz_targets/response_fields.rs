//! Response fields at the edge: directives, dates, ages, lifetimes.
#![no_main]

mod fields;

use std::time::{Duration, SystemTime};

use edge_worker::policy::date::date;
use edge_worker::policy::directives::directives;
use edge_worker::policy::lifetime::freshness_lifetime;
use edge_worker::policy::request_directives::RequestDirectives;
use edge_worker::policy::{age, stale, storable};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use libfuzzer_sys::fuzz_target;

// A line is a field.
fuzz_target!(|text: &[u8]| {
    let Some(headers) = fields::fields(text) else { return };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_564_800);
    dates(&headers, now);
    appended_directives_are_seen(&headers);

    let read = directives(&headers);
    let lifetime = freshness_lifetime(&read, StatusCode::OK, &headers, now).duration;
    let later = now + Duration::from_secs(7);
    let (first, second) =
        (age::current_age(&headers, now, now, now), age::current_age(&headers, now, now, later));
    assert!(first <= second && second <= shared_keys::MAX_DELTA && lifetime <= shared_keys::MAX_DELTA);
    if read.forbids_stale() {
        assert!(
            !stale::while_revalidate(&read, Duration::ZERO) && !stale::if_disconnected(&read, Duration::ZERO)
        );
    }
    let stored = storable::without_unstorable_fields(fields::stored(headers));
    assert!(read.not_stored.iter().all(|name| !stored.headers.contains_key(&**name)));
});

/// No directive in front of it hides a directive at the end of a line, whatever separates them.
fn appended_directives_are_seen(headers: &HeaderMap) {
    for value in headers.get_all(header::CACHE_CONTROL) {
        let with = |end: &[u8]| {
            let mut one = HeaderMap::new();
            let line = [value.as_bytes(), end].concat();
            one.insert(header::CACHE_CONTROL, HeaderValue::from_bytes(&line).expect("a field value"));
            one
        };
        let one = with(b", no-store, no-cache, private");
        for fields in [&one, &with(b"; no_store No-Cache/private")] {
            let read = directives(fields);
            assert!(read.no_store && read.no_cache && read.private, "{fields:?}");
        }
        let asked = RequestDirectives::parse(&one);
        assert!(
            asked.no_store && asked.no_cache && asked.refuses(Duration::ZERO, Duration::MAX),
            "{value:?}"
        );
    }
}

/// A date parses in any case, and its canonical form names the same second.
fn dates(headers: &HeaderMap, now: SystemTime) {
    for name in [header::DATE, header::EXPIRES, header::LAST_MODIFIED] {
        let Some(read) = date(headers, name.clone(), now) else { continue };
        let again = |text: String| {
            let mut one = HeaderMap::new();
            one.insert(name.clone(), HeaderValue::try_from(text).expect("a field value"));
            date(&one, name.clone(), now)
        };
        let text = headers[&name].to_str().expect("a date is a text");
        assert_eq!(again(text.to_ascii_uppercase()), Some(read));
        assert_eq!(again(httpdate::fmt_http_date(read)), Some(read));
    }
}
