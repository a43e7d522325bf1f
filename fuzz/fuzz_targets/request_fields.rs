//! Request fields at the edge: ranges, conditions, hop-by-hop and unkeyed fields, and the stored
//! metadata.
#![no_main]

mod fields;

use edge_worker::headers::{remove_for_the_edge, remove_hop_by_hop};
use edge_worker::policy::range::{self, ANSWERED_RANGE, Part};
use edge_worker::policy::{Choices, Request, validate};
use edge_worker::store::metadata;
use edge_worker::unkeyed::remove_unkeyed;
use http::{HeaderValue, Method, StatusCode, header};
use libfuzzer_sys::fuzz_target;

// A line is a field, both of the request and of the stored response.
fuzz_target!(|text: &[u8]| {
    let Some(headers) = fields::fields(text) else { return };
    let request = Request { method: &Method::GET, headers: &headers, choices: Choices::default() };
    let mut stored = fields::stored(headers.clone());
    stored.status = if headers.contains_key("x-part") { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };

    match (range::select(request, &stored), range::stored_octets(&stored)) {
        (Some(Part::Octets(octets)), Some(held)) => {
            assert!(held.first <= octets.first && octets.first <= octets.last && octets.last <= held.last);
            assert_eq!(octets.length, held.length);
        }
        (Some(Part::Octets(_)), None) => panic!("a part of nobody knows what"),
        (Some(Part::Unsatisfiable { length }), held) => {
            assert_eq!(held.map(|held| held.length), Some(length))
        }
        (Some(Part::Whole), _) => {
            let asked_again =
                headers.get(header::RANGE).is_some_and(|range| headers.get(ANSWERED_RANGE) == Some(range));
            assert!(stored.status == StatusCode::OK || asked_again, "a part is not the whole");
        }
        (None, _) => assert_eq!(stored.status, StatusCode::PARTIAL_CONTENT),
    }

    // A client that lists the stored entity tag has the stored response, be the tag strong or weak.
    if let Some(etag) = headers.get(header::ETAG).filter(|etag| is_entity_tag(etag.as_bytes())) {
        for prefix in [&b""[..], b"\"x\", ", b", "] {
            let mut asking = headers.clone();
            let condition = [prefix, etag.as_bytes()].concat();
            asking.insert(header::IF_NONE_MATCH, HeaderValue::from_bytes(&condition).expect("a field value"));
            assert!(validate::not_modified(&asking, &stored), "{etag:?}");
        }
    }
    let freshened = validate::freshen(&stored, fields::stored(headers.clone()));
    assert!(freshened.is_none_or(|freshened| freshened.status == stored.status));

    let (decoded, generation) =
        metadata::decode(metadata::encode(&stored, Some(7))).expect("what was encoded");
    assert_eq!((decoded.headers, generation), (stored.headers, Some(7)));

    // Metadata from a store is untrusted input.
    let _ = metadata::decode(headers.clone());
    if let Ok(Some(marker)) = metadata::decode_marker(&headers) {
        assert_eq!(metadata::decode_marker(&metadata::encode_marker(&marker)), Ok(Some(marker)));
    }

    let mut once = headers;
    remove_hop_by_hop(&mut once);
    remove_unkeyed(&mut once, &[]);
    remove_for_the_edge(&mut once, true);
    for gone in ["connection", "transfer-encoding", "x-original-url", "strata-entry", "cdn-cache-control"] {
        assert!(!once.contains_key(gone), "{gone}");
    }
});

fn is_entity_tag(tag: &[u8]) -> bool {
    let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
    matches!(tag, [b'"', inner @ .., b'"'] if !inner.iter().any(|byte| matches!(byte, b'"' | b'\\')))
}
