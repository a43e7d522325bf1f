//! The encoding of an entry as the header section of an HTTP message.
//!
//! A store that speaks HTTP obeys, drops or adds fields of its own accord. The fields that it acts
//! on are therefore renamed, and the entry's metadata is in two further fields:
//!
//! ```text
//! strata-entry:  2 <status> <request ms> <response ms> <edge seq> <origin position> <generation>
//! strata-scopes: <scope hash> <scope hash> …    the scopes, 13 characters each
//! strata-h-NAME: …                              the origin's field NAME; Set-Cookie lines are numbered
//!
//! strata-marker: 2 <generation> <field>, …      instead of all these, in a marker
//! strata-variants: <id>.<magnitude>.<ms> …      beside it: the stored variants, the id in hexadecimal
//!
//! strata-search: 2 <generation> <No-Vary-Search>|…   instead of all these, in the marker of a path
//! ```
//!
//! The store gets every response as a 200 without `Content-Encoding`: it might refuse other
//! statuses, and would decode and encode the codings that it understands. Times are milliseconds
//! since 1970 by this data centre's clock. `Cache-Tag` is not renamed, because the zone's purge by
//! tag looks for it.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use shared_keys::{NoVarySearch, Position, ScopeHash, Seq, Stamp, VaryFields};

use crate::error::{Error, ErrorKind};
use crate::headers::remove_internal;
use crate::journal::response_position;
use crate::policy::StoredResponse;
use crate::policy::search::{SearchMarker, Statement};
use crate::policy::select::VaryMarker;
use crate::policy::usage::Variant;
use crate::store::Entry;
use crate::time::{parse_unix_ms, unix_ms};

/// The version of the layout. Every change of the layout increments it; entries of other versions
/// are misses.
const VERSION: &str = "2";

const ENTRY: HeaderName = HeaderName::from_static("strata-entry");
const SCOPES: HeaderName = HeaderName::from_static("strata-scopes");
const MARKER: HeaderName = HeaderName::from_static("strata-marker");
const VARIANTS: HeaderName = HeaderName::from_static("strata-variants");
const SEARCH: HeaderName = HeaderName::from_static("strata-search");
/// The prefix of renamed fields.
const RENAMED_PREFIX: &str = "strata-h-";

/// The fields that a store, or the network in front of it, might act on, add or replace.
const RENAMED: [&str; 18] = [
    "age",
    "cache-control",
    "cache-groups",
    "cdn-cache-control",
    "cf-cache-status",
    "cloudflare-cdn-cache-control",
    "content-encoding",
    "content-range",
    "date",
    "expires",
    "last-modified",
    "no-vary-search",
    "pragma",
    "set-cookie",
    // Internal fields of the entry: without another name they would be removed with the metadata
    // when it is read. See `rules::lifetime` and `policy::range`.
    "strata-cache-control",
    "strata-range",
    "surrogate-control",
    "vary",
];

/// Encodes an entry without its body.
pub fn encode_entry<B>(entry: &Entry<B>) -> HeaderMap {
    match entry {
        Entry::Marker(marker) => encode_marker(marker),
        Entry::SearchMarker(marker) => encode_search_marker(marker),
        Entry::Response { response, generation, .. } => encode(response, *generation),
    }
}

/// Decodes an entry with this body.
///
/// # Errors
/// [`ErrorKind::Store`] if another version wrote it.
pub fn decode_entry<B>(headers: HeaderMap, body: Option<B>) -> Result<Entry<B>, Error> {
    if let Some(marker) = decode_marker(&headers)? {
        return Ok(Entry::Marker(marker));
    }
    if let Some(marker) = decode_search_marker(&headers)? {
        return Ok(Entry::SearchMarker(marker));
    }
    let (response, generation) = decode(headers)?;
    Ok(Entry::Response { response, generation, body })
}

/// Encodes a response, and the generation of the marker that refers to it.
pub fn encode(response: &StoredResponse, generation: Option<u64>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (number, (name, value)) in response.headers.iter().enumerate() {
        if RENAMED.contains(&name.as_str()) {
            // The runtime joins the lines of a field; those of Set-Cookie are not a list (RFC 9110
            // section 5.3).
            let number = if *name == header::SET_COOKIE { format!("-{number:05}") } else { String::new() };
            if let Ok(renamed) = format!("{RENAMED_PREFIX}{name}{number}").parse::<HeaderName>() {
                headers.append(renamed, value.clone());
            }
        } else {
            headers.append(name, value.clone());
        }
    }
    let entry = format!(
        "{VERSION} {} {} {} {} {} {}",
        response.status.as_u16(),
        unix_ms(response.request_time),
        unix_ms(response.response_time),
        or_dash(response.stamp.edge.map(|seq| seq.0)),
        or_dash(response.stamp.origin),
        or_dash(generation),
    );
    let scopes: Vec<String> = response.scopes.iter().map(ToString::to_string).collect();
    set(&mut headers, ENTRY, &entry);
    set(&mut headers, SCOPES, &scopes.join(" "));
    headers
}

/// Encodes a marker.
pub fn encode_marker(marker: &VaryMarker) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let text = |variant: &Variant| format!("{:x}.{}.{}", variant.id, variant.magnitude, variant.recorded_ms);
    let variants: Vec<String> = marker.variants.iter().map(text).collect();
    set(&mut headers, VARIANTS, &variants.join(" "));
    set(&mut headers, MARKER, &format!("{VERSION} {} {}", marker.generation, marker.fields.to_header()));
    headers
}

/// Decodes a marker; `None` if the message is a response.
///
/// # Errors
/// [`ErrorKind::Store`] if another version wrote it.
pub fn decode_marker(headers: &HeaderMap) -> Result<Option<VaryMarker>, Error> {
    let Some(value) = headers.get(MARKER) else { return Ok(None) };
    let marker = || {
        let mut parts = value.to_str().ok()?.splitn(3, ' ');
        (parts.next()? == VERSION).then_some(())?;
        let mut variants = Vec::new();
        for variant in headers.get(VARIANTS)?.to_str().ok()?.split_ascii_whitespace() {
            let mut parts = variant.split('.');
            variants.push(Variant {
                id: u128::from_str_radix(parts.next()?, 16).ok()?,
                magnitude: parts.next()?.parse().ok()?,
                recorded_ms: parts.next()?.parse().ok()?,
            });
        }
        Some(VaryMarker {
            generation: parts.next()?.parse().ok()?,
            fields: VaryFields::parse([parts.next()?])?,
            variants,
        })
    };
    marker().map(Some).ok_or_else(|| unreadable(&MARKER))
}

/// Encodes the marker of a path.
pub fn encode_search_marker(marker: &SearchMarker) -> HeaderMap {
    let text = |statement: &Statement| format!("{} {}", statement.generation, statement.variation.to_field());
    let statements: Vec<String> = marker.statements.iter().map(text).collect();
    let mut headers = HeaderMap::new();
    set(&mut headers, SEARCH, &format!("{VERSION} {}", statements.join("|")));
    headers
}

/// Decodes the marker of a path; `None` if the message is another entry.
///
/// # Errors
/// [`ErrorKind::Store`] if another version wrote it.
pub fn decode_search_marker(headers: &HeaderMap) -> Result<Option<SearchMarker>, Error> {
    let Some(value) = headers.get(SEARCH) else { return Ok(None) };
    let marker = || {
        let (version, statements) = value.to_str().ok()?.split_once(' ')?;
        (version == VERSION).then_some(())?;
        let mut marker = SearchMarker { statements: Vec::new() };
        for statement in statements.split('|') {
            let (generation, field) = statement.split_once(' ')?;
            marker.statements.push(Statement {
                variation: NoVarySearch::parse_field(field.as_bytes())?,
                generation: generation.parse().ok()?,
            });
        }
        Some(marker)
    };
    marker().map(Some).ok_or_else(|| unreadable(&SEARCH))
}

/// Decodes a response, and the generation of the marker that refers to it.
///
/// # Errors
/// [`ErrorKind::Store`] if another version, or no version, wrote it.
pub fn decode(mut headers: HeaderMap) -> Result<(StoredResponse, Option<u64>), Error> {
    let entry = headers
        .get(ENTRY)
        .and_then(|value| EntryLine::parse(value.to_str().ok()?))
        .ok_or_else(|| unreadable(&ENTRY))?;
    let scopes = headers
        .get(SCOPES)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            value.split_ascii_whitespace().map(|scope| scope.parse::<ScopeHash>().ok()).collect()
        })
        .ok_or_else(|| unreadable(&SCOPES))?;

    for name in RENAMED {
        headers.remove(name);
    }
    let mut renamed: Vec<(String, HeaderValue)> = headers
        .iter()
        .filter_map(|(name, value)| {
            Some((name.as_str().strip_prefix(RENAMED_PREFIX)?.to_owned(), value.clone()))
        })
        .collect();
    // The last of several cookies with one name counts (RFC 6265 section 5.3), and a store may
    // return fields in any order.
    renamed.sort_by(|(one, _), (other, _)| one.cmp(other));
    remove_internal(&mut headers);
    for (name, value) in renamed {
        let name = if name.starts_with("set-cookie-") { Ok(header::SET_COOKIE) } else { name.parse() };
        if let Ok(name) = name {
            headers.append(name, value);
        }
    }
    let response = StoredResponse {
        status: entry.status,
        headers,
        request_time: entry.request_time,
        response_time: entry.response_time,
        stamp: entry.stamp,
        scopes,
    };
    Ok((response, entry.generation))
}

/// The value of the `strata-entry` field.
struct EntryLine {
    status: StatusCode,
    request_time: SystemTime,
    response_time: SystemTime,
    stamp: Stamp,
    generation: Option<u64>,
}

impl EntryLine {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(' ').collect();
        let [VERSION, status, request_time, response_time, edge, origin, generation] = parts[..] else {
            return None;
        };
        let response_time = parse_unix_ms(response_time)?;
        let origin = optional(origin, |text| text.parse::<Position>().ok())?;
        Some(Self {
            status: status.parse().ok()?,
            request_time: parse_unix_ms(request_time)?,
            response_time,
            stamp: Stamp {
                edge: optional(edge, |text| text.parse().ok().map(Seq))?,
                origin: origin.map(|position| response_position(position, response_time)),
            },
            generation: optional(generation, |text| text.parse().ok())?,
        })
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Parses an optional value; `-` stands for none.
fn optional<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text == "-" { Some(None) } else { parse(text).map(Some) }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn unreadable(field: &HeaderName) -> Error {
    Error::new(
        ErrorKind::Store,
        format!("expected a {field} field of version {VERSION} in a stored entry; it counts as a miss"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::testing::{at, headers, stored};

    fn response(fields: &[(&str, &str)], stamp: Stamp, scopes: Vec<ScopeHash>) -> StoredResponse {
        StoredResponse {
            status: StatusCode::NOT_FOUND,
            headers: headers(fields),
            request_time: at(99),
            response_time: at(100),
            stamp,
            scopes,
        }
    }

    #[test]
    fn the_layout_of_version_2() {
        let stamp = Stamp { origin: Some(Position::new(5, 6)), edge: Some(Seq(7)) };
        let fields = [
            ("cache-control", "no-cache"),
            ("vary", "accept"),
            ("etag", "\"a\""),
            ("cache-tag", "t"),
            ("content-encoding", "br"),
        ];
        let expected = headers(&[
            ("strata-h-cache-control", "no-cache"),
            ("strata-h-vary", "accept"),
            ("etag", "\"a\""),
            ("cache-tag", "t"),
            ("strata-h-content-encoding", "br"),
            ("strata-entry", "2 404 99000 100000 7 5-6 -"),
            ("strata-scopes", "0000000000001 0000000000002"),
        ]);
        assert_eq!(encode(&response(&fields, stamp, vec![ScopeHash(1), ScopeHash(2)]), None), expected);
        let marker = VaryMarker {
            generation: 9,
            fields: VaryFields::parse(["B, a"]).unwrap(),
            variants: vec![variant(10, 0, 0), variant(255, 3, 42)],
        };
        let expected = headers(&[("strata-variants", "a.0.0 ff.3.42"), ("strata-marker", "2 9 a, b")]);
        assert_eq!(encode_marker(&marker), expected);
        assert_eq!(decode_marker(&expected), Ok(Some(marker)));
    }

    fn variant(id: u128, magnitude: u8, recorded_ms: u64) -> Variant {
        Variant { id, magnitude, recorded_ms }
    }

    #[test]
    fn fields_that_a_store_adds_or_replaces_are_not_decoded() {
        let fields = [("date", "x"), ("age", "5"), ("x-a", "1")];
        let mut kept = encode(&response(&fields, Stamp::default(), Vec::new()), Some(3));
        for (name, value) in
            [("age", "900"), ("cache-control", "max-age=1"), ("cf-cache-status", "HIT"), ("date", "y")]
        {
            kept.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let (decoded, generation) = decode(kept).unwrap();
        assert_eq!((decoded.headers, generation), (headers(&fields), Some(3)));
    }

    #[test]
    fn the_marker_of_a_path_decodes_back() {
        let variation = NoVarySearch::default().ignoring(["a|b", "é \""]).in_any_order();
        let marker = SearchMarker { statements: vec![] }.with(variation, 7);
        let marker = marker.with(NoVarySearch::default().only(["id"]), 9);
        assert_eq!(decode_search_marker(&encode_search_marker(&marker)), Ok(Some(marker)));
        assert_eq!(decode_search_marker(&headers(&[("etag", "x")])), Ok(None));
        for other in ["1 7 key-order", "2 7", "2 x key-order", "2 7 params=()", "2 7 key-order|", ""] {
            assert!(decode_search_marker(&headers(&[("strata-search", other)])).is_err(), "{other}");
        }
    }

    #[test]
    fn an_entry_of_another_version_is_an_error() {
        for entry in [
            "1 200 0 0 - - -",
            "2 200 0 0 - -",
            "2 200 0 0 - - - -",
            "2 200 x 0 - - -",
            "2 9 0 0 - - -",
            "2 200 0 0 -1 - -",
            "",
        ] {
            let fields = headers(&[("strata-entry", entry), ("strata-scopes", "")]);
            assert_eq!(decode(fields).unwrap_err().kind(), ErrorKind::Store, "{entry}");
        }
        assert!(decode(HeaderMap::new()).is_err());
        assert!(decode_marker(&headers(&[("strata-marker", "1 1 a")])).is_err());
        assert_eq!(decode_marker(&headers(&[("etag", "x")])), Ok(None));
    }

    #[test]
    fn rfc9110_5_3_lines_of_set_cookie_are_neither_joined_nor_reordered() {
        let cookies: Vec<String> = (0..12).map(|number| format!("a={number}; Path=/")).collect();
        let fields: Vec<(&str, &str)> =
            cookies.iter().map(|cookie| ("set-cookie", cookie.as_str())).chain([("vary", "a")]).collect();
        // A store may return one line per name, in another order.
        let kept = encode(&stored(&fields), None);
        let mut reversed = HeaderMap::new();
        for (name, value) in kept.iter().collect::<Vec<_>>().into_iter().rev() {
            assert!(!reversed.contains_key(name), "{name}");
            reversed.append(name, value.clone());
        }
        let decoded = decode(reversed).unwrap().0.headers;
        assert!(decoded.get_all("set-cookie").iter().eq(&cookies), "{decoded:?}");
    }

    #[test]
    fn the_position_of_an_entry_from_the_future_is_the_one_before_every_record() {
        let stamp = Stamp { origin: Some(Position::new(100_000 + 86_400_001, 0)), edge: Some(Seq(7)) };
        let decoded = decode(encode(&response(&[], stamp, vec![]), None)).unwrap().0;
        assert_eq!(decoded.stamp, Stamp { origin: Some(Position::ZERO), edge: Some(Seq(7)) });
    }

    proptest! {
        #[test]
        fn an_entry_decodes_back(
            edge in proptest::option::of(any::<u64>()), origin in proptest::option::of((0u64..200_000, any::<u64>())),
            generation in proptest::option::of(any::<u64>()), scopes in proptest::collection::vec(any::<u64>(), 0..5),
            fields in proptest::collection::vec(("(vary|age|x-[a-c]|set-cookie|expires)", "[ -~]{0,8}"), 0..6),
        ) {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let stamp = Stamp { origin: origin.map(|(ms, seq)| Position::new(ms, seq)), edge: edge.map(Seq) };
            let before = response(&fields, stamp, scopes.into_iter().map(ScopeHash).collect());
            let (after, after_generation) = decode(encode(&before, generation)).unwrap();
            prop_assert_eq!((after_generation, after.status), (generation, before.status));
            prop_assert_eq!(after.headers, before.headers);
            prop_assert_eq!((after.stamp, after.scopes), (before.stamp, before.scopes));
            prop_assert_eq!((after.request_time, after.response_time), (before.request_time, before.response_time));
        }

        #[test]
        fn hostile_entries_never_panic(entry in "[ -~]{0,40}", scopes in "[ -~]{0,40}") {
            let fields = headers(&[("strata-entry", &entry), ("strata-scopes", &scopes), ("strata-marker", &entry), ("strata-search", &entry)]);
            let _ = decode_marker(&fields);
            let _ = decode_search_marker(&fields);
            let _ = decode(fields);
        }
    }
}
