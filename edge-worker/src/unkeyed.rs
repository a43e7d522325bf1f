//! The unkeyed fields: request fields that frameworks, servers and proxies act on although no cache
//! key contains them.
//!
//! A client could choose with them what all clients receive. They are removed from each request
//! whose response may be stored; requests that bypass the store retain them. A rule adds the fields
//! that an origin of its own acts on (`unkeyed`). Each group names its source.

use http::{HeaderMap, HeaderName};

use crate::headers::INTERNAL_PREFIX;

/// The unkeyed fields, by what they change.
const UNKEYED: [&[&str]; 13] = [
    // The path. Symfony and Zend read these two, as IIS's rewrite modules set them
    // (portswigger.net/research/practical-web-cache-poisoning).
    &["x-original-url", "x-rewrite-url"],
    // The path, for gateways and access checks: Ingress NGINX and oauth2-proxy (X-Original-URI),
    // Envoy, and the lists of PortSwigger's Param Miner and of OWASP's access control tests.
    &[
        "base-url",
        "http-url",
        "request-uri",
        "x-envoy-original-path",
        "x-http-destinationurl",
        "x-http-path-override",
        "x-override-url",
        "x-proxy-url",
        "x-rewrite-uri",
    ],
    // The prefix of the path: WSGI servers (flask.pocoo.org/snippets/35), Home Assistant.
    &["x-ingress-path", "x-script-name"],
    // The method: Rack::MethodOverride, Symfony, Express's method-override, OData.
    &["x-http-method", "x-http-method-override", "x-method-override"],
    // The host: Param Miner, and the guides of Rails, Laravel and Django for proxies.
    &["x-backend-host", "x-forwarded", "x-gateway-host", "x-host", "x-http-host-override", "x-real-host"],
    // The scheme: Outlook Web Access, Rack, IIS's request routing, WebLogic, CloudFront.
    &[
        "cloudfront-forwarded-proto",
        "front-end-https",
        "wl-proxy-ssl",
        "x-arr-ssl",
        "x-scheme",
        "x-url-scheme",
    ],
    // The client's address, by the CDN or server that sets it: Akamai and Cloudflare Enterprise
    // (True-Client-IP), Fastly, Fly.io, Azure, Netlify, DigitalOcean, Imperva, Sucuri, Envoy,
    // WebLogic, and the defaults of ipware and request-ip.
    &[
        "client-ip",
        "do-connecting-ip",
        "fastly-client-ip",
        "fly-client-ip",
        "incap-client-ip",
        "proxy-client-ip",
        "true-client-ip",
        "wl-proxy-client-ip",
        "x-appengine-user-ip",
        "x-azure-clientip",
        "x-azure-socketip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-nf-client-connection-ip",
        "x-originating-ip",
        "x-real-ip",
        "x-remote-addr",
        "x-remote-ip",
        "x-sucuri-clientip",
    ],
    // The user, as a proxy in front states it: Apache and Nginx (REMOTE_USER), Django's
    // RemoteUserMiddleware, Kubernetes, Kong, Traefik's forwardAuth and Authelia. These fields
    // identify a user, and a client may have forged them.
    &[
        "remote-email",
        "remote-groups",
        "remote-name",
        "remote-user",
        "x-authenticated-user",
        "x-authenticated-userid",
        "x-remote-group",
        "x-remote-groups",
        "x-remote-user",
    ],
    // The file that a response is sent from: Rack::Sendfile (CVE-2025-61780).
    &["x-sendfile-type"],
    // The proxy of requests that the origin sends, as the variable HTTP_PROXY (httpoxy.org).
    &["proxy"],
    // Whether the response has instructions for another cache: Edge Side Includes (W3C Edge
    // Architecture), as Symfony, Drupal and Magento write them.
    &["surrogate-capability"],
    // A framework's own proxy states them: Next.js (CVE-2024-46982), React Router (CVE-2025-43864,
    // CVE-2025-43865), Astro's adapter for Vercel (GHSA-mr6q-rp88-fx84), Nuxt's renderer.
    &[
        "x-astro-locals",
        "x-astro-path",
        "x-invoke-output",
        "x-invoke-path",
        "x-invoke-query",
        "x-invoke-status",
        "x-matched-path",
        "x-next-revalidate-tag-token",
        "x-next-revalidated-tags",
        "x-nextjs-data",
        "x-now-route-matches",
        "x-nuxt-no-ssr",
        "x-prerender-revalidate",
        "x-react-router-prerender-data",
        "x-react-router-spa-mode",
    ],
    // The TLS client: Azure and IIS, and the names that guides of Nginx and HAProxy use.
    &["ssl-client-cert", "x-arr-clientcert", "x-client-cert", "x-client-verify"],
];

/// The families of unkeyed fields, of which a framework or proxy trusts almost every member.
const FAMILIES: [&str; 12] = [
    // Sendfile of Nginx, read by Rack::Sendfile (CVE-2025-61780).
    "x-accel-",
    // The user by Amazon's load balancer, oauth2-proxy, Kong, Google's IAP and Azure's Easy Auth.
    "x-amzn-oidc-",
    "x-auth-request-",
    "x-consumer-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
    // Proxies of all kinds (Spring, ASP.NET, Rails), with and without `ed`.
    "x-forward",
    // Next.js (CVE-2025-29927).
    "x-middleware-",
    // ASP.NET's ForwardedHeaders middleware keeps the former values here; gateways send them.
    "x-original-",
    // The TLS client, as guides of Nginx, Apache and HAProxy name it.
    "ssl-client-",
    "x-ssl-",
    // The user by Grafana's and Gitea's proxy authentication.
    "x-webauth-",
];

/// The families and fields, besides the unkeyed ones, that a request must not state with `_` in
/// place of `-`: this cache, or most gateways, act on them.
const ACTED_ON_FAMILIES: [&str; 3] = ["cf-", "if-", INTERNAL_PREFIX];
const ACTED_ON: [&str; 24] = [
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "available-dictionary",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-websocket-key",
    "transfer-encoding",
    "user-agent",
    "x-requested-with",
];

/// The fields in which Cloudflare states what it knows of a client. Elsewhere a client states them
/// itself, so [`Rules::distrust_platform_fields`](crate::rules::Rules::distrust_platform_fields)
/// makes them unkeyed.
pub const PLATFORM_FIELDS: [&str; 18] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-device-type",
    "cf-ew-via",
    "cf-ipcity",
    "cf-ipcontinent",
    "cf-ipcountry",
    "cf-iplatitude",
    "cf-iplongitude",
    "cf-metro-code",
    "cf-postal-code",
    "cf-pseudo-ipv4",
    "cf-ray",
    "cf-region",
    "cf-region-code",
    "cf-timezone",
    "cf-visitor",
    "cf-worker",
];

/// The fields that this worker sets itself.
const SET_HERE: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// Removes the unkeyed fields, and those of `more` that this worker does not set itself.
///
/// Gateways that pass fields as variables (CGI, WSGI, PHP) read `_`, and some all other marks, as
/// `-`. A name with such a mark is removed if it could thus be taken for an unkeyed field, for one
/// that this cache acts on, or for another field of the request.
pub fn remove_unkeyed(headers: &mut HeaderMap, more: &[HeaderName]) {
    let is_unkeyed = |name: &str| {
        FAMILIES.iter().any(|family| name.starts_with(family))
            || UNKEYED.iter().any(|group| group.contains(&name))
            || more.iter().any(|other| other == name)
    };
    let is_removed = |name: &&HeaderName| match with_hyphens(name.as_str()) {
        Some(other) => {
            is_unkeyed(&other)
                || ACTED_ON_FAMILIES.iter().any(|family| other.starts_with(family))
                || ACTED_ON.contains(&&*other)
                || headers.contains_key(&other)
        }
        None => is_unkeyed(name.as_str()) && !SET_HERE.contains(&name.as_str()),
    };
    for name in headers.keys().filter(is_removed).cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Returns the name that a gateway may take `name` for, with `-` in place of all other marks;
/// `None` if it has no other.
pub fn with_hyphens(name: &str) -> Option<String> {
    let is_mark = |character: char| character != '-' && !character.is_ascii_alphanumeric();
    name.contains(is_mark).then(|| name.replace(is_mark, "-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    #[test]
    fn unkeyed_fields_are_removed_in_either_spelling() {
        for name in UNKEYED.into_iter().flatten() {
            for name in [(*name).to_owned(), name.replace('-', "_"), name.replace('-', ".")] {
                let mut fields = headers(&[(name.as_str(), "x")]);
                remove_unkeyed(&mut fields, &[]);
                assert!(fields.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn each_group_is_sorted_and_no_field_is_listed_twice() {
        let all: Vec<_> = UNKEYED.into_iter().flatten().collect();
        for (index, name) in all.iter().enumerate() {
            assert!(!all[..index].contains(name), "{name}");
        }
        assert!(UNKEYED.iter().all(|group| group.is_sorted()));
    }

    #[test]
    fn of_the_families_only_the_fields_that_the_worker_sets_remain() {
        let mut fields = headers(&[
            ("forwarded", "host=shop.example"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-ssl", "on"),
            ("x-forwarded-anything", "1"),
            ("x-original-host", "evil.example"),
            ("x_forwarded_host", "evil.example"),
            ("X_Original_URL", "/admin"),
        ]);
        remove_unkeyed(&mut fields, &[]);
        assert_eq!(fields.len(), 4);
        assert!(SET_HERE.iter().all(|name| fields.contains_key(*name)));
    }

    #[test]
    fn a_rule_adds_fields_but_none_that_the_worker_sets() {
        let mut fields =
            headers(&[("x-theme", "dark"), ("x-other", "1"), ("x-forwarded-host", "shop.example")]);
        let more = ["x-theme", "x-forwarded-host"].map(HeaderName::from_static);
        remove_unkeyed(&mut fields, &more);
        assert_eq!(fields, headers(&[("x-other", "1"), ("x-forwarded-host", "shop.example")]));
    }

    #[test]
    fn fields_that_frameworks_and_proxies_act_on_are_unkeyed() {
        for name in [
            "X-Sendfile-Type",
            "X-Accel-Mapping",
            "Request-URI",
            "X-HTTP-Path-Override",
            "X-Remote-User",
            "Remote-User",
            "Fastly-Client-IP",
            "X-Forward-For",
            "X-Original-Prefix",
            "X-WebAuth-User",
            "X-Auth-Request-Email",
            "X-MS-Client-Principal",
            "X-Goog-Authenticated-User-Email",
            "Surrogate-Capability",
            "X-Astro-Path",
            "X-Nuxt-No-SSR",
            "SSL-Client-Verify",
            "X.Original.URL",
            "X~Forwarded~Host",
        ] {
            let mut fields = headers(&[(name, "x")]);
            remove_unkeyed(&mut fields, &[]);
            assert!(fields.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_field_with_an_underscore_is_removed_only_if_it_could_be_taken_for_another() {
        for (name, removed) in [
            ("api_key", false),
            ("x_tenant", true),
            ("x_other", false),
            ("content_length", true),
            ("if_none_match", true),
            ("cf_connecting_ip", true),
            ("strata_position", true),
            ("x_forwarded_anything", true),
            ("x_http_method-override", true),
        ] {
            let mut fields = headers(&[("x-tenant", "a"), (name, "b")]);
            remove_unkeyed(&mut fields, &[]);
            assert_eq!(fields.contains_key(name), !removed, "{name}");
            assert!(fields.contains_key("x-tenant"));
        }
    }
}
