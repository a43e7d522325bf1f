//! The names of decisions in `Cache-Status`, which must stay stable: dashboards and log queries
//! search for them.

#![expect(clippy::expect_used, reason = "a test panics to fail")]

use std::collections::BTreeSet;
use std::time::Duration;

use edge_worker::cache_status::{CacheStatus, Forwarded};
use edge_worker::policy::not_stored::NotStored;
use edge_worker::policy::range::Part;
use edge_worker::policy::{Detail, Forward, ForwardReason, Hit, Reuse};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;
use proptest::sample::select;
use sfv::{BareItem, Item, List, ListEntry, Parser};
use shared_keys::TargetKey;

/// Declares the expected names of all variants of a type. A missing variant is a compile error.
macro_rules! pinned {
    ($all:ident, $type:ident: $($variant:ident = $name:literal,)*) => {
        const $all: &[$type] = &[$($type::$variant),*];

        impl Pinned for $type {
            fn name(self) -> (&'static str, &'static str) {
                (self.as_str(), match self { $(Self::$variant => $name),* })
            }
        }
    };
}

/// A type whose names are fixed by [`pinned!`].
trait Pinned: Copy {
    /// Returns the actual name and the expected one.
    fn name(self) -> (&'static str, &'static str);
}

// RFC 9211 section 2.2 also defines `miss`, for caches that cannot state a more specific reason.
pinned! { REASONS, ForwardReason:
    Bypass = "bypass",
    Method = "method",
    UriMiss = "uri-miss",
    VaryMiss = "vary-miss",
    Stale = "stale",
    Request = "request",
    Partial = "partial",
}

pinned! { DETAILS, Detail:
    Purged = "purged",
    Authorization = "authorization",
    Upgrade = "upgrade",
    Body = "body",
    Rule = "rule",
    Path = "path",
    Misconfigured = "misconfigured",
    JournalUnreachable = "journal-unreachable",
    StaleWhileRevalidate = "stale-while-revalidate",
    StaleIfError = "stale-if-error",
    MaxStale = "max-stale",
    WindowRefused = "window-refused",
    OnlyIfCached = "only-if-cached",
    OriginUnreachable = "origin-unreachable",
    Loop = "loop",
    MaxForwards = "max-forwards",
    Method = "method",
}

pinned! { NOT_STORED, NotStored:
    Status = "status",
    Request = "request",
    NoStore = "no-store",
    Private = "private",
    Qualified = "qualified",
    SetCookie = "set-cookie",
    Authorization = "authorization",
    Credentials = "credentials",
    VaryAny = "vary-any",
    VaryUnreadable = "vary-unreadable",
    Undecodable = "undecodable",
    NoLifetime = "no-lifetime",
    Endless = "endless",
    TooLarge = "too-large",
    Tags = "tags",
    Deceptive = "content-type",
    SelfRedirect = "self-redirect",
    Spelling = "spelling",
    Outdated = "outdated",
}

const REUSES: [Reuse; 4] = [Reuse::Fresh, Reuse::StaleWhileRevalidate, Reuse::StaleIfError, Reuse::MaxStale];

/// Returns the names, after a check that each is the expected one, a token, and unique.
fn names_of<T: Pinned>(all: &[T]) -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    for (name, pinned) in all.iter().map(|value| value.name()) {
        assert_eq!(name, pinned);
        let item = Parser::new(name).parse::<Item>().expect("an item");
        assert!(matches!(item.bare_item, BareItem::Token(_)) && item.params.is_empty(), "{name} is no token");
        assert!(names.insert(name), "{name} means two things");
    }
    names
}

#[test]
fn the_names_of_decisions_are_stable_unique_tokens() {
    names_of(REASONS);
    let (details, not_stored) = (names_of(DETAILS), names_of(NOT_STORED));
    // Both types are values of `detail`. `authorization` has the same meaning in both.
    assert_eq!(details.intersection(&not_stored).collect::<Vec<_>>(), [&"authorization"]);
    assert!(!details.union(&not_stored).any(|name| *name == "memory"), "`memory` is the detail of a hit");
}

fn hit() -> impl Strategy<Value = Hit> {
    let ttl_secs = prop_oneof![-1000i64..1000, Just(-(1 << 31)), Just(1 << 31)];
    (select(REUSES.to_vec()), ttl_secs).prop_map(|(reuse, ttl_secs)| {
        let age = Duration::from_secs(1);
        Hit { reuse, age, ttl_secs, not_modified: false, part: Part::Whole }
    })
}

prop_compose! {
    fn forwarded()(
        reason in select(REASONS.to_vec()),
        detail in proptest::option::of(select(DETAILS.to_vec())),
        status in proptest::option::of(200u16..600),
        filled in proptest::option::of(prop_oneof![
            (-9i64..9).prop_map(Ok), select(NOT_STORED.to_vec()).prop_map(Err),
        ]),
        served in proptest::option::of(hit()),
        collapsed in any::<bool>(),
    ) -> Forwarded {
        let status = status.map(|code| StatusCode::from_u16(code).expect("a status"));
        let forwarded = Forwarded::new(Forward { reason, detail, ..Forward::miss() }, status);
        let forwarded = filled.map_or(forwarded, |filled| forwarded.with_store_result(filled));
        Forwarded { collapsed, ..served.map_or(forwarded, |hit| forwarded.with_reuse(hit)) }
    }
}

fn cache_status() -> impl Strategy<Value = CacheStatus> {
    prop_oneof![
        (hit(), any::<bool>()).prop_map(|(hit, memory)| CacheStatus::Hit { hit, memory }),
        forwarded().prop_map(CacheStatus::Forwarded),
        select(DETAILS.to_vec()).prop_map(CacheStatus::Own),
    ]
}

proptest! {
    #[test]
    fn rfc9211_2_a_member_is_a_token_with_typed_parameters(
        status in cache_status(), path in "[ -~]{0,12}", before in prop_oneof![Just(None), Just(Some("other; hit"))],
    ) {
        let mut headers = HeaderMap::new();
        headers.extend(before.map(|value| (HeaderName::from_static("cache-status"), HeaderValue::from_static(value))));
        let key = TargetKey::parse(&format!("https://shop.example/{path}")).ok();
        status.append_to(&mut headers, key.as_ref());
        let lines: Vec<&str> = headers.get_all("cache-status").iter().filter_map(|line| line.to_str().ok()).collect();
        let members = Parser::new(&lines.join(", ")).parse::<List>().expect("a list");
        let Some(ListEntry::Item(own)) = members.last() else { panic!("expected an item, got {members:?}") };
        prop_assert_eq!(members.len(), 1 + usize::from(before.is_some()));
        prop_assert!(own.bare_item.as_token().is_some_and(|name| name.as_str() == "strata-edge"));

        let names: BTreeSet<&str> = own.params.keys().map(|name| name.as_str()).collect();
        for (name, value) in &own.params {
            let is_of_its_type = match name.as_str() {
                "hit" | "stored" | "collapsed" => *value == BareItem::Boolean(true),
                "fwd" | "detail" => matches!(value, BareItem::Token(_)),
                "fwd-status" | "ttl" => matches!(value, BareItem::Integer(_)),
                "key" => value.as_string().map(|text| text.as_str()) == key.as_ref().map(TargetKey::as_str),
                _ => false,
            };
            prop_assert!(is_of_its_type, "{name:?} in {lines:?}");
        }
        prop_assert!(!(names.contains("hit") && names.contains("fwd")), "RFC 9211 section 2.1: a hit is not forwarded");
        let of_forwarded = ["fwd-status", "stored", "collapsed"];
        prop_assert!(names.contains("fwd") || !of_forwarded.iter().any(|name| names.contains(name)), "{lines:?}");
        prop_assert!(["edge", "edge-stale", "origin"].contains(&status.layer()));
    }
}
