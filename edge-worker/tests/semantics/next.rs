//! The later life of a stored response: its selection by another request, its validation, and its
//! update by a 304.

use edge_worker::origin::request::fill_headers;
use edge_worker::policy::select::{variant_key, vary_fields};
use edge_worker::policy::validate::{freshen, set_condition};
use http_cache_semantics::{AfterResponse, BeforeRequest};
use shared_keys::{TargetKey, VaryRules};
use url::Url;

use super::*;

type Fields = Vec<(String, String)>;

fn fields(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// `If-None-Match` and `If-Modified-Since` of a request.
type Conditions = [Option<HeaderValue>; 2];

fn conditions(headers: &HeaderMap) -> Conditions {
    ["if-none-match", "if-modified-since"].map(|name| headers.get(name).cloned())
}

/// Returns the conditions with which both implementations validate a stale response, here and
/// there.
fn validation(validators: &Fields, client: &Fields) -> (Conditions, Conditions) {
    let (answer, client) = (headers(validators), headers(client));
    let mut here = fill_headers(&client, &VaryRules::default(), &[], &Url::parse(URL).expect("a URL"));
    set_condition(&mut here, &stored(200, answer.clone(), ARRIVED));
    let policy = policy(&request(Method::GET, HeaderMap::new()), &response(200, answer));
    let BeforeRequest::Stale { request: there, .. } =
        policy.before_request(&request(Method::GET, client), at(ARRIVED))
    else {
        panic!("a response without a lifetime is stale")
    };
    (conditions(&here), conditions(&there.headers))
}

/// Returns the stored fields after a 304 with the fields `new`, received ten seconds later, here
/// and there. `Age` and `Date`, which depend on the path of the message, are left out. `None` if
/// the 304 is for another representation.
fn after_304(old: &Fields, new: &Fields) -> (Option<HeaderMap>, Option<HeaderMap>) {
    let (old, new) = (headers(old), headers(new));
    let without_path_fields = |mut headers: HeaderMap| {
        headers.remove("age");
        headers.remove("date");
        headers
    };
    let here = freshen(&stored(200, old.clone(), ARRIVED), stored(304, new.clone(), ARRIVED + 10));
    let get = request(Method::GET, HeaderMap::new());
    let there = policy(&get, &response(200, old)).after_response(&get, &response(304, new), at(ARRIVED + 10));
    let there = match there {
        AfterResponse::NotModified(_, parts) => Some(parts.headers),
        AfterResponse::Modified(..) => None,
    };
    (here.map(|stored| without_path_fields(stored.headers)), there.map(without_path_fields))
}

/// Returns whether a request with the fields `second` selects the response to a request with the
/// fields `first`, here and there.
fn selects(vary: &str, first: &Fields, second: &Fields) -> (bool, bool) {
    let answer = headers(&fields(&[("vary", vary), ("cache-control", "max-age=60")]));
    let (first, second) = (headers(first), headers(second));
    let target = TargetKey::parse(URL).expect("a URL");
    let here = vary_fields(&answer).is_some_and(|selecting| {
        let key = |request| variant_key(&target, &selecting, &VaryRules::default(), request);
        key(&first).is_some_and(|stored| key(&second) == Some(stored))
    });
    let policy = policy(&request(Method::GET, first), &response(200, answer));
    let there = policy.before_request(&request(Method::GET, second), at(ARRIVED + 1));
    (here, there.satisfies_without_revalidation())
}

fn validators() -> impl Strategy<Value = (Option<&'static str>, Option<String>)> {
    let tag = proptest::option::of(select(vec!["\"a\"", "W/\"a\"", "\"b\"", "W/\"b\""]));
    let modified = proptest::option::of(select(vec![http_date(ARRIVED - 100), http_date(ARRIVED - 200)]));
    (tag, modified)
}

fn with(tag: Option<&str>, modified: Option<&str>, more: &Fields) -> Fields {
    let tag = tag.map(|tag| ("etag".to_owned(), tag.to_owned()));
    let modified = modified.map(|date| ("last-modified".to_owned(), date.to_owned()));
    tag.into_iter().chain(modified).chain(more.iter().cloned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn rfc9111_4_3_1_both_validate_with_the_same_conditions((tag, modified) in validators(), accepts in any::<bool>()) {
        let client = if accepts { fields(&[("accept", "*/*")]) } else { Vec::new() };
        let answer = with(tag, modified.as_deref(), &fields(&[("cache-control", "no-cache")]));
        let (here, there) = validation(&answer, &client);
        prop_assert_eq!(here, there);
    }

    #[test]
    fn rfc9111_4_3_4_both_accept_the_same_304_and_update_alike(
        (tag, modified) in validators(), (new_tag, new_modified) in validators(),
        values in subsequence(vec!["cache-control", "expires", "x-a", "content-length", "content-encoding"], 0..=5),
    ) {
        // Both responses have the same kinds of validators. The table has the other cases.
        let (new_tag, new_modified) = (new_tag.filter(|_| tag.is_some()), new_modified.filter(|_| modified.is_some()));
        prop_assume!(new_tag.is_some() == tag.is_some() && new_modified.is_some() == modified.is_some());
        prop_assume!(tag.is_none_or(|tag| tag.strip_prefix("W/") != new_tag));
        let names = ["cache-control", "expires", "x-a", "content-length", "content-encoding"];
        let old = with(tag, modified.as_deref(), &fields(&names.map(|name| (name, "1"))));
        let changed: Vec<_> = values.into_iter().map(|name| (name, "2")).collect();
        let (here, there) = after_304(&old, &with(new_tag, new_modified.as_deref(), &fields(&changed)));
        prop_assert_eq!(here, there);
    }

    #[test]
    fn rfc9111_4_1_both_select_by_the_same_fields(
        vary in select(vec!["X-A", "x-a, X-B", "X-B,accept", "*", "X-A, *", ""]),
        first in request_fields(), second in request_fields(),
    ) {
        let (here, there) = selects(vary, &first, &second);
        prop_assert_eq!(here, there);
    }
}

fn request_fields() -> impl Strategy<Value = Fields> {
    let value = || proptest::option::of(select(vec!["", "1", "a, b", "é"]));
    (value(), value(), value()).prop_map(|values| {
        let named =
            [("x-a", values.0), ("x-b", values.1), ("accept", values.2.filter(|value| value.len() < 2))];
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
    })
}

#[test]
fn differences_in_validation_are_decided_by_a_section() {
    let (old, new) = (http_date(ARRIVED - 200), http_date(ARRIVED - 100));
    let text = |conditions: Conditions| {
        conditions
            .map(|value| value.map_or("-".to_owned(), |value| value.to_str().expect("ASCII").to_owned()))
    };
    for (why, client, here, there) in [
        (
            "4.3.2: the cache compares the client's tags, and the origin validates the stored response only",
            [("if-none-match", "\"x\"")],
            ["\"a\"", &old],
            ["\"x\", \"a\"", &old],
        ),
        (
            "4.3.1: the sent date is that of the stored response",
            [("if-modified-since", &new)],
            ["\"a\"", &old],
            ["\"a\"", &new],
        ),
        (
            "4.3.1: the client's If-Match does not validate the stored response",
            [("if-match", "\"x\"")],
            ["\"a\"", &old],
            ["\"a\"", "-"],
        ),
    ] {
        let answer = fields(&[("etag", "\"a\""), ("last-modified", &old), ("cache-control", "no-cache")]);
        let found = validation(&answer, &fields(&client));
        assert_eq!(
            (text(found.0), text(found.1)),
            (here.map(str::to_owned), there.map(str::to_owned)),
            "{why}"
        );
    }
}

#[test]
fn differences_in_accepting_a_304_are_decided_by_a_section() {
    let date = http_date(ARRIVED - 100);
    #[expect(clippy::type_complexity, reason = "a table's row")]
    let rows: &[(&str, bool, bool, &[(&str, &str)], &[(&str, &str)])] = &[
        (
            "RFC 9110 8.8.3.2: a weak tag does not match strongly",
            false,
            true,
            &[("etag", "W/\"a\"")],
            &[("etag", "\"a\"")],
        ),
        (
            "4.3.4: a 304 without a validator confirms the only response",
            true,
            false,
            &[("etag", "\"a\"")],
            &[],
        ),
        ("4.3.4: the same, validated by date", true, false, &[("last-modified", &date)], &[]),
    ];
    for (why, here, there, old, new) in rows {
        let (found_here, found_there) = after_304(&fields(old), &fields(new));
        assert_eq!((found_here.is_some(), found_there.is_some()), (*here, *there), "{why}");
    }
    // RFC 9111 section 3.2: each field of the 304 replaces all stored lines of that field.
    let tagged = |more: &[(&str, &str)]| with(Some("\"a\""), None, &fields(more));
    let (here, there) =
        after_304(&tagged(&[("x-a", "1")]), &tagged(&[("x-a", "2"), ("x-a", "3"), ("x-b", "4")]));
    assert_eq!(here, Some(headers(&tagged(&[("x-a", "2"), ("x-a", "3"), ("x-b", "4")]))));
    assert_eq!(there, Some(headers(&tagged(&[("x-a", "2")]))));
}

#[test]
fn differences_in_selection_are_decided_by_a_section() {
    #[expect(clippy::type_complexity, reason = "a table's row")]
    let rows: &[(&str, bool, bool, &str, &[(&str, &str)], &[(&str, &str)])] = &[
        (
            "4.1: white space between members does not count",
            true,
            false,
            "X-A",
            &[("x-a", "1,2")],
            &[("x-a", "1, 2")],
        ),
        (
            "4.1: the number of lines does not count",
            true,
            false,
            "X-A",
            &[("x-a", "1"), ("x-a", "2")],
            &[("x-a", "1, 2")],
        ),
        ("4.1: every line counts", false, true, "X-A", &[("x-a", "1"), ("x-a", "2")], &[("x-a", "1")]),
        (
            "4.1: values with the same meaning may be normalised",
            true,
            false,
            "Accept-Encoding",
            &[("accept-encoding", "gzip, br")],
            &[("accept-encoding", "br;q=1.0, gzip")],
        ),
        ("RFC 9110 12.5.5: an invalid field name matches no request", false, true, "X A", &[], &[]),
    ];
    for (why, here, there, vary, first, second) in rows {
        assert_eq!(selects(vary, &fields(first), &fields(second)), (*here, *there), "{why}");
    }
}

#[test]
fn rfc9110_9_3_2_a_head_is_answered_by_the_stored_response_to_a_get() {
    let (answer, none) = (headers(&fields(&[("cache-control", "max-age=60")])), HeaderMap::new());
    for (method, here, there) in [(Method::GET, true, true), (Method::HEAD, true, false)] {
        let head_or_get = Request { method: &method, headers: &none, choices: Choices::default() };
        let stored = stored(200, answer.clone(), ARRIVED);
        let decision = decide(head_or_get, Selected::Response(&stored), at(ARRIVED + 1), &Applied::new(10));
        assert_eq!(matches!(decision, Decision::Serve(_)), here, "{method}");
        let policy = policy(&request(Method::GET, none.clone()), &response(200, answer.clone()));
        let before = policy.before_request(&request(method.clone(), none.clone()), at(ARRIVED + 1));
        assert_eq!(
            before.satisfies_without_revalidation(),
            there,
            "{method}: the other requires the same method"
        );
    }
}
