//! The request to the origin: its URL and fields.
//!
//! Path and query are the client's if the request bypasses the store, and the key's if the response
//! may be stored. Scheme, host and a path prefix are from `ORIGIN`. `X-Forwarded-Host`,
//! `X-Forwarded-Proto` and `Forwarded` (RFC 7239) state the site's name and scheme. Both are part
//! of the target key, so the origin may use them. What a client states in these fields is never
//! forwarded: many frameworks build links from it, such as those of mails.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use shared_keys::VaryRules;
use url::Url;

use crate::headers::{remove_hop_by_hop, remove_internal};
use crate::policy::range::number;
use crate::policy::select::combined;
use crate::policy::validate;
use crate::unkeyed::remove_unkeyed;

/// The field that names the CDNs that a request went through (RFC 8586 section 2).
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// This software's name in `Via`, as a comment (RFC 9110 section 7.6.3).
const PRODUCT: &str = "(strata-edge)";

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The fields in which a hop describes the path of a request.
pub const SET_BY_THIS_HOP: [HeaderName; 6] =
    [CDN_LOOP, header::FORWARDED, header::VIA, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO];
/// The value of `Cache-Control` and `Pragma` that makes caches behind this one validate.
const VALIDATE: HeaderValue = HeaderValue::from_static("max-age=0");
const CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");

/// Returns whether a request for `url` has been through this cache before: the origin's URL leads
/// back here.
///
/// The site's own name stands for its cache in `CDN-Loop` and `Via`, so a site of Strata may
/// be the origin of another. In `Via` the product must match as well, because a proxy in front of
/// this cache may use the site's name.
pub fn is_loop(headers: &HeaderMap, url: &Url) -> bool {
    let own = host_and_port(url);
    let is_own = |name: &str| name.eq_ignore_ascii_case(&own);
    let is_this = |member: &str| {
        let mut words = member.split_ascii_whitespace().skip(1);
        words.next().is_some_and(is_own) && words.next() == Some(PRODUCT)
    };
    members(headers, CDN_LOOP).any(|member| member.split(';').next().is_some_and(|id| is_own(id.trim())))
        || members(headers, header::VIA).any(is_this)
}

fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let members =
        headers.get_all(name).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    members.filter_map(|member| str::from_utf8(member).ok())
}

/// Returns whether the request asks to switch to the WebSocket protocol (RFC 6455 section 4.1).
/// Other upgrades are not forwarded.
pub fn is_websocket(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET
        && headers
            .get(header::UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Returns the URL at the origin of a request for `url`.
pub fn origin_url(origin: Option<&Url>, url: &Url) -> Url {
    let Some(origin) = origin else { return url.clone() };
    let mut target = origin.clone();
    target.set_path(&format!("{}{}", origin.path().trim_end_matches('/'), url.path()));
    target.set_query(url.query());
    target
}

/// Returns the fields of a request that bypasses the store: the client's own, without those that
/// end at this hop.
pub fn bypass_headers(client: &HeaderMap, url: &Url) -> HeaderMap {
    let mut headers = from_this_hop(client, url);
    // The runtime states the client's address. Without it (outside Cloudflare) the field is
    // forwarded unchanged.
    if let Some(client_ip) = client.get(CF_CONNECTING_IP).and_then(|ip| ip.to_str().ok())
        && forwarded_for(client).and_then(|list| list.rsplit(',').next()).map(str::trim) != Some(client_ip)
    {
        append(&mut headers, X_FORWARDED_FOR, client_ip);
    }
    validate_behind(&mut headers);
    headers
}

/// Returns the fields of a request whose response may be stored.
///
/// Unkeyed fields are removed; `unkeyed` names more of them. The client's conditions, range and
/// cache directives are removed as well, so that the origin, or a cache in front of it, sends the
/// whole response.
pub fn fill_headers(client: &HeaderMap, rules: &VaryRules, unkeyed: &[HeaderName], url: &Url) -> HeaderMap {
    let mut headers = from_this_hop(client, url);
    remove_unkeyed(&mut headers, unkeyed);
    // The client may have forged the list, and an origin may take the first address for the
    // client's.
    match headers.get(CF_CONNECTING_IP).cloned() {
        Some(ip) => headers.insert(X_FORWARDED_FOR, ip),
        None => headers.remove(X_FORWARDED_FOR),
    };
    validate::remove_conditions(&mut headers);
    for name in [header::RANGE, header::CACHE_CONTROL, header::PRAGMA, header::CONTENT_LENGTH, header::EXPECT]
    {
        headers.remove(name);
    }
    // The origin gets the selecting fields in the form that the variant key contains.
    let selecting: Vec<_> = rules.forwarded(|name| combined(&headers, name)).collect();
    for (name, value) in selecting {
        headers.remove(name);
        if let (Ok(name), Some(value)) = (name.parse(), value) {
            set(&mut headers, name, value);
        }
    }
    validate_behind(&mut headers);
    headers
}

/// Makes caches behind this one validate what they store, which no journal reaches, unless the
/// client states its own directives.
///
/// The runtime bypasses the network's cache and would add `no-cache` to both fields. Many
/// frameworks answer no condition beside `no-cache` with a 304 (the package `fresh`, by which
/// Express, Koa and Next.js decide), and Squid takes it for a reload. `Pragma` gets the same value
/// because the runtime fills each field by itself; other values than `no-cache` have no meaning in
/// it.
fn validate_behind(headers: &mut HeaderMap) {
    for name in [header::CACHE_CONTROL, header::PRAGMA] {
        headers.entry(name).or_insert(VALIDATE);
    }
}

/// Returns the client's fields without those that end here, with those that describe this hop and
/// the URL.
fn from_this_hop(client: &HeaderMap, url: &Url) -> HeaderMap {
    let mut headers = client.clone();
    remove_hop_by_hop(&mut headers);
    remove_internal(&mut headers);
    headers.remove(header::HOST);
    let own = host_and_port(url);
    // RFC 9110 section 7.6.3 requires it of every gateway. Some origins do not compress responses
    // to a gateway unless they are configured to.
    append(&mut headers, header::VIA, &format!("1.1 {own} {PRODUCT}"));
    append(&mut headers, CDN_LOOP, &own);
    set(&mut headers, header::FORWARDED, forwarded(client, &own, url.scheme()));
    set(&mut headers, X_FORWARDED_HOST, own);
    set(&mut headers, X_FORWARDED_PROTO, url.scheme().to_owned());
    headers
}

/// Returns how often an OPTIONS request may still be forwarded (RFC 9110 section 7.6.2); `None` if
/// it does not state that, or for another method.
pub fn max_forwards(method: &Method, headers: &HeaderMap) -> Option<u64> {
    let hops = headers.get(header::MAX_FORWARDS).filter(|_| *method == Method::OPTIONS)?;
    number(hops.to_str().ok()?)
}

fn forwarded_for(headers: &HeaderMap) -> Option<&str> {
    headers.get(X_FORWARDED_FOR)?.to_str().ok()
}

/// Returns the value of `Forwarded` (RFC 7239 section 4): the client's address as the runtime
/// states it, the site's host and its scheme.
fn forwarded(client: &HeaderMap, host: &str, scheme: &str) -> String {
    let address = client.get(CF_CONNECTING_IP).and_then(|ip| ip.to_str().ok());
    let node = match address {
        None => String::new(),
        // RFC 7239 section 6: IPv6 in brackets, and so in quotes.
        Some(ip) if ip.contains(':') => format!("for=\"[{ip}]\";"),
        Some(ip) => format!("for={ip};"),
    };
    // A port or an IPv6 address is no token (section 4).
    let quote = if host.contains(':') { "\"" } else { "" };
    format!("{node}host={quote}{host}{quote};proto={scheme}")
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Appends a member to a list field, and joins the field to one line.
fn append(headers: &mut HeaderMap, name: HeaderName, member: &str) {
    // A hop must not remove the members of others, even invalid ones (RFC 8586 section 2).
    let lines: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    let mut lists: Vec<&[u8]> = lines.into_iter().filter(|list| !list.trim_ascii().is_empty()).collect();
    lists.push(member.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&lists.join(&b", "[..])) {
        headers.insert(name, value);
    }
}

pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use shared_keys::Normaliser;

    use super::*;
    use crate::policy::testing::headers;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn path_and_query_are_the_requests_and_the_rest_is_the_origins() {
        for (origin, request, expected) in [
            ("http://127.0.0.1:4001", "https://shop.example/a?b=c", "http://127.0.0.1:4001/a?b=c"),
            ("http://127.0.0.1:4001/", "https://shop.example/", "http://127.0.0.1:4001/"),
            ("https://o.example/base/", "https://shop.example/a%2Fb?", "https://o.example/base/a%2Fb?"),
        ] {
            assert_eq!(origin_url(Some(&url(origin)), &url(request)).as_str(), expected);
        }
        assert_eq!(origin_url(None, &url("https://shop.example/a")).as_str(), "https://shop.example/a");
    }

    #[test]
    fn a_fill_contains_nothing_outside_the_key() {
        let client = headers(&[
            ("accept-encoding", "gzip, deflate, br"),
            ("if-none-match", "\"a\""),
            ("cache-control", "only-if-cached"),
            ("range", "bytes=0-1"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=192.0.2.1;host=evil.example"),
            ("x-original-url", "/admin"),
            ("x-http-method-override", "DELETE"),
            ("strata-position", "9-9"),
            ("host", "shop.example"),
            ("cookie", "a=b"),
        ]);
        let expected = headers(&[
            ("accept-encoding", "br, gzip"),
            ("cookie", "a=b"),
            ("cdn-loop", "shop.example:8443"),
            ("via", "1.1 shop.example:8443 (strata-edge)"),
            ("forwarded", "host=\"shop.example:8443\";proto=https"),
            ("x-forwarded-host", "shop.example:8443"),
            ("x-forwarded-proto", "https"),
            ("cache-control", "max-age=0"),
            ("pragma", "max-age=0"),
        ]);
        assert_eq!(
            fill_headers(&client, &VaryRules::default(), &[], &url("https://shop.example:8443/")),
            expected
        );
    }

    #[test]
    fn the_origin_gets_selecting_fields_as_the_variant_key_contains_them() {
        let rules = VaryRules::default()
            .field("Accept-Language", Normaliser::language(["en", "de"]).unwrap())
            .field("Cookie", Normaliser::cookies(["group"]).unwrap())
            .field("User-Agent", Normaliser::dropped());
        let client = headers(&[
            ("accept-language", "fr"),
            ("accept-language", "de-AT;q=0.5"),
            ("cookie", "sid=1; group=b"),
            ("user-agent", "x"),
        ]);
        let forwarded = fill_headers(&client, &rules, &[], &url("https://shop.example/"));
        let values = |name: &str| forwarded.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("accept-language"), ["de"]);
        assert_eq!(values("cookie"), ["group=b"]);
        assert_eq!(values("accept-encoding"), ["identity"]);
        assert!(values("user-agent").is_empty() && values("accept").is_empty());
    }

    /// Outside Cloudflare a client states its address itself.
    #[test]
    fn a_fill_states_a_clients_address_only_if_the_platform_states_it() {
        let client = headers(&[("cf-connecting-ip", "192.0.2.1"), ("x-forwarded-for", "198.51.100.1")]);
        let of = |unkeyed: &[HeaderName]| {
            let forwarded =
                fill_headers(&client, &VaryRules::default(), unkeyed, &url("https://shop.example/"));
            ["cf-connecting-ip", "x-forwarded-for"].map(|name| forwarded.get(name).cloned())
        };
        let address = Some(HeaderValue::from_static("192.0.2.1"));
        assert_eq!(of(&[]), [address.clone(), address]);
        assert_eq!(of(&[CF_CONNECTING_IP]), [None, None]);
    }

    #[test]
    fn a_bypassing_request_has_the_clients_directives_and_otherwise_validates() {
        for (sent, cache_control, pragma) in [
            (&[][..], "max-age=0", "max-age=0"),
            (&[("cache-control", "no-cache")][..], "no-cache", "max-age=0"),
            (&[("pragma", "no-cache")][..], "max-age=0", "no-cache"),
        ] {
            let forwarded = bypass_headers(&headers(sent), &url("https://a.example/"));
            assert_eq!(
                (&forwarded["cache-control"], &forwarded["pragma"]),
                (&cache_control.parse().unwrap(), &pragma.parse().unwrap())
            );
        }
    }

    #[test]
    fn the_clients_address_is_appended_once() {
        let row = |fields: &[(&str, &str)]| {
            let forwarded = bypass_headers(&headers(fields), &url("https://a.example/"));
            forwarded.get("x-forwarded-for").map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(row(&[]), None);
        assert_eq!(row(&[("cf-connecting-ip", "192.0.2.1")]).as_deref(), Some("192.0.2.1"));
        let both = [("cf-connecting-ip", "192.0.2.1"), ("x-forwarded-for", "198.51.100.1")];
        assert_eq!(row(&both).as_deref(), Some("198.51.100.1, 192.0.2.1"));
        let there = [("cf-connecting-ip", "192.0.2.1"), ("x-forwarded-for", "198.51.100.1,  192.0.2.1")];
        assert_eq!(row(&there).as_deref(), Some("198.51.100.1,  192.0.2.1"));
        let longer = [("cf-connecting-ip", "2.0.2.1"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(row(&longer).as_deref(), Some("192.0.2.1, 2.0.2.1"));
    }

    #[test]
    fn rfc7239_4_forwarded_is_this_hops_alone_in_every_request() {
        for (site, address, expected) in [
            ("https://a.example/", None, "host=a.example;proto=https"),
            ("http://a.example:8080/", Some("192.0.2.1"), "for=192.0.2.1;host=\"a.example:8080\";proto=http"),
            ("http://[::1]/", Some("2001:db8::1"), "for=\"[2001:db8::1]\";host=\"[::1]\";proto=http"),
        ] {
            let mut client = headers(&[("forwarded", "host=evil.example"), ("forwarded", "for=_hidden")]);
            client.extend(address.map(|ip| (CF_CONNECTING_IP, ip.parse().unwrap())));
            for sent in [
                bypass_headers(&client, &url(site)),
                fill_headers(&client, &VaryRules::default(), &[], &url(site)),
            ] {
                assert!(sent.get_all(header::FORWARDED).iter().eq([expected]), "{sent:?}");
            }
        }
    }

    #[test]
    fn only_a_get_for_a_websocket_is_an_upgrade() {
        let upgrade = |method: Method, value| is_websocket(&method, &headers(&[("upgrade", value)]));
        assert!(upgrade(Method::GET, "WebSocket"));
        assert!(!upgrade(Method::GET, "h2c") && !upgrade(Method::POST, "websocket"));
        assert!(!is_websocket(&Method::GET, &headers(&[])));
    }

    #[test]
    fn rfc8586_2_and_rfc9110_7_6_3_a_request_that_names_this_cache_is_a_loop() {
        let site = url("https://shop.example:8443/a");
        for (fields, looped) in [
            (&[("cdn-loop", "other; a=b, Shop.example:8443;x")][..], true),
            (&[("via", "1.0 fred, HTTP/2 shop.example:8443 (strata-edge)")][..], true),
            (&[("via", "1.1 shop.example:8443, 1.1 shop.example:8443 (haproxy)")][..], false),
            (&[("via", "1.1 other.example (strata-edge)")][..], false),
            (&[("cdn-loop", "other"), ("cdn-loop", "shop.example:8443")][..], true),
            (&[("cdn-loop", "cloudflare; subreqs=1, shop.example"), ("via", "1.1 shop.example")][..], false),
            (&[("cdn-loop", "other; shop.example:8443")][..], false),
            (&[("cdn-loop", "é, shop.example:8443")][..], true),
            (&[][..], false),
        ] {
            assert_eq!(is_loop(&headers(fields), &site), looped, "{fields:?}");
        }
        assert!(is_loop(&bypass_headers(&headers(&[]), &site), &site));
        let chained = bypass_headers(&headers(&[("via", "1.1 a"), ("cdn-loop", "a")]), &site);
        assert_eq!(
            (&chained["via"], &chained["cdn-loop"]),
            (
                &HeaderValue::from_static("1.1 a, 1.1 shop.example:8443 (strata-edge)"),
                &HeaderValue::from_static("a, shop.example:8443"),
            )
        );
    }

    #[test]
    fn rfc8586_2_the_members_of_others_are_retained_even_if_invalid() {
        let client = headers(&[("cdn-loop", "é, other"), ("cdn-loop", ""), ("cdn-loop", "another")]);
        let forwarded = bypass_headers(&client, &url("https://shop.example/"));
        assert!(
            forwarded.get_all("cdn-loop").iter().eq(headers(&[(
                "cdn-loop",
                "é, other, another, shop.example"
            )])
            .values())
        );
    }

    #[test]
    fn rfc9110_7_6_2_only_options_counts_its_hops() {
        let hops = |method, value| max_forwards(&method, &headers(&[("max-forwards", value)]));
        assert_eq!((hops(Method::OPTIONS, "0"), hops(Method::OPTIONS, "7")), (Some(0), Some(7)));
        assert_eq!((hops(Method::OPTIONS, "x"), hops(Method::GET, "0")), (None, None));
        assert_eq!(hops(Method::OPTIONS, "99999999999999999999"), Some(u64::MAX));
    }

    #[test]
    fn a_fill_states_the_clients_address_as_the_runtime_does() {
        let named = |fields| {
            let filled =
                fill_headers(&headers(fields), &VaryRules::default(), &[], &url("https://a.example/"));
            filled.get(X_FORWARDED_FOR).cloned()
        };
        assert_eq!(named(&[("x-forwarded-for", "127.0.0.1")]), None);
        let both = [("x-forwarded-for", "127.0.0.1"), ("cf-connecting-ip", "192.0.2.1")];
        assert_eq!(named(&both), Some(HeaderValue::from_static("192.0.2.1")));
    }
}
