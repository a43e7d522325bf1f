//! The life of a stored response: another request for it, its validation, and the answer to
//! that.

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

/// The conditions of a request.
type Conditions = [Option<HeaderValue>; 2];

fn conditions(headers: &HeaderMap) -> Conditions {
    ["if-none-match", "if-modified-since"].map(|name| headers.get(name).cloned())
}

/// Returns the conditions by which both implementations validate a stale response.
fn asked(validators: &Fields, client: &Fields) -> (Conditions, Conditions) {
    let (answer, client) = (headers(validators), headers(client));
    let mut here = fill_headers(&client, &VaryRules::default(), &Url::parse(URL).expect("a URL"));
    set_condition(&mut here, &stored(200, answer.clone(), ARRIVED));
    let policy = policy(&request(Method::GET, HeaderMap::new()), &response(200, answer));
    let BeforeRequest::Stale { request: there, .. } = policy.before_request(&request(Method::GET, client), at(ARRIVED))
    else {
        panic!("a response without a lifetime is stale")
    };
    (conditions(&here), conditions(&there.headers))
}

/// The fields after a 304 with these of its own came ten seconds later, here and there, but for
/// those of its way; `None` if it is of another representation.
fn after_304(old: &Fields, new: &Fields) -> (Option<HeaderMap>, Option<HeaderMap>) {
    let (old, new) = (headers(old), headers(new));
    let of_the_way = |mut headers: HeaderMap| {
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
    (here.map(|stored| of_the_way(stored.headers)), there.map(of_the_way))
}

/// Whether a request selects what another with the first fields got, here and there.
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
    fn rfc9111_4_3_1_both_ask_by_the_same_validators((tag, modified) in validators(), accepts in any::<bool>()) {
        let client = if accepts { fields(&[("accept", "*/*")]) } else { Vec::new() };
        let answer = with(tag, modified.as_deref(), &fields(&[("cache-control", "no-cache")]));
        let (here, there) = asked(&answer, &client);
        prop_assert_eq!(here, there);
    }

    #[test]
    fn rfc9111_4_3_4_both_take_the_same_304_for_the_same_update(
        (tag, modified) in validators(), (new_tag, new_modified) in validators(),
        values in subsequence(vec!["cache-control", "expires", "x-a", "content-length", "content-encoding"], 0..=5),
    ) {
        // Both name the same validators. Where they do not, see the table.
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
        let named = [("x-a", values.0), ("x-b", values.1), ("accept", values.2.filter(|value| value.len() < 2))];
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
    })
}

#[test]
fn where_they_ask_otherwise_a_section_says_who_is_right() {
    let (old, new) = (http_date(ARRIVED - 200), http_date(ARRIVED - 100));
    let text = |conditions: Conditions| {
        conditions.map(|value| value.map_or("-".to_owned(), |value| value.to_str().expect("ASCII").to_owned()))
    };
    for (why, client, here, there) in [
        (
            "4.3.2: the client's tags are compared here, and the origin's 304 is to be about what is stored",
            [("if-none-match", "\"x\"")],
            ["\"a\"", &old],
            ["\"x\", \"a\"", &old],
        ),
        (
            "4.3.1: the date that is sent is that of what is stored",
            [("if-modified-since", &new)],
            ["\"a\"", &old],
            ["\"a\"", &new],
        ),
        (
            "4.3.1: a client's condition on what is changed says nothing of what is stored",
            [("if-match", "\"x\"")],
            ["\"a\"", &old],
            ["\"a\"", "-"],
        ),
    ] {
        let answer = fields(&[("etag", "\"a\""), ("last-modified", &old), ("cache-control", "no-cache")]);
        let asked = asked(&answer, &fields(&client));
        assert_eq!((text(asked.0), text(asked.1)), (here.map(str::to_owned), there.map(str::to_owned)), "{why}");
    }
}

#[test]
fn where_they_read_a_304_otherwise_a_section_says_who_is_right() {
    let date = http_date(ARRIVED - 100);
    #[expect(clippy::type_complexity, reason = "a table's row")]
    let rows: &[(&str, bool, bool, &[(&str, &str)], &[(&str, &str)])] = &[
        ("RFC 9110 8.8.3.2: a weak tag is no strong one", false, true, &[("etag", "W/\"a\"")], &[("etag", "\"a\"")]),
        ("4.3.4: one response was asked about, and nothing says it is another", true, false, &[("etag", "\"a\"")], &[]),
        ("4.3.4: so too by its date", true, false, &[("last-modified", &date)], &[]),
    ];
    for (why, here, there, old, new) in rows {
        let (found_here, found_there) = after_304(&fields(old), &fields(new));
        assert_eq!((found_here.is_some(), found_there.is_some()), (*here, *there), "{why}");
    }
    // 3.2: each field of the 304 is added or replaces those that are stored, all its lines.
    let tagged = |more: &[(&str, &str)]| with(Some("\"a\""), None, &fields(more));
    let (here, there) = after_304(&tagged(&[("x-a", "1")]), &tagged(&[("x-a", "2"), ("x-a", "3"), ("x-b", "4")]));
    assert_eq!(here, Some(headers(&tagged(&[("x-a", "2"), ("x-a", "3"), ("x-b", "4")]))));
    assert_eq!(there, Some(headers(&tagged(&[("x-a", "2")]))));
}

#[test]
fn where_they_select_otherwise_a_section_says_who_is_right() {
    #[expect(clippy::type_complexity, reason = "a table's row")]
    let rows: &[(&str, bool, bool, &str, &[(&str, &str)], &[(&str, &str)])] = &[
        ("4.1: white space between members does not count", true, false, "X-A", &[("x-a", "1,2")], &[("x-a", "1, 2")]),
        (
            "4.1: nor in how many lines they stand",
            true,
            false,
            "X-A",
            &[("x-a", "1"), ("x-a", "2")],
            &[("x-a", "1, 2")],
        ),
        ("4.1: every line counts", false, true, "X-A", &[("x-a", "1"), ("x-a", "2")], &[("x-a", "1")]),
        (
            "4.1: what means the same may be made the same",
            true,
            false,
            "Accept-Encoding",
            &[("accept-encoding", "gzip, br")],
            &[("accept-encoding", "br;q=1.0, gzip")],
        ),
        ("RFC 9110 12.5.5: what is no field's name is not known to match", false, true, "X A", &[], &[]),
    ];
    for (why, here, there, vary, first, second) in rows {
        assert_eq!(selects(vary, &fields(first), &fields(second)), (*here, *there), "{why}");
    }
}

#[test]
fn rfc9110_9_3_2_a_head_is_answered_by_what_a_get_would_get() {
    let (answer, none) = (headers(&fields(&[("cache-control", "max-age=60")])), HeaderMap::new());
    for (method, here, there) in [(Method::GET, true, true), (Method::HEAD, true, false)] {
        let asking = Request { method: &method, headers: &none, choices: Choices::default() };
        let stored = stored(200, answer.clone(), ARRIVED);
        let decision = decide(asking, Selected::Response(&stored), at(ARRIVED + 1), &Applied::new(10));
        assert_eq!(matches!(decision, Decision::Serve(_)), here, "{method}");
        let policy = policy(&request(Method::GET, none.clone()), &response(200, answer.clone()));
        let asked = policy.before_request(&request(method.clone(), none.clone()), at(ARRIVED + 1));
        assert_eq!(asked.satisfies_without_revalidation(), there, "{method}: it wants the very method");
    }
}
