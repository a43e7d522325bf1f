//! The request fields that the model's origin acts on, although no cache key contains them.

/// Fields that frameworks, servers and proxies act on, or that belong to one connection or request.
pub const ACTED_ON: [&str; 52] = [
    "base-url",
    "client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "http-url",
    "proxy",
    "remote-user",
    "request-uri",
    "ssl-client-cert",
    "ssl-client-verify",
    "surrogate-capability",
    "true-client-ip",
    "x-accel-mapping",
    "x-amzn-oidc-identity",
    "x-auth-request-user",
    "x-client-ip",
    "x-consumer-username",
    "x-envoy-original-path",
    "x-forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-host",
    "x-http-host-override",
    "x-http-path-override",
    "x-invoke-path",
    "x-matched-path",
    "x-middleware-subrequest",
    "x-ms-client-principal-name",
    "x-nextjs-data",
    "x-original-host",
    "x-real-ip",
    "x-remote-user",
    "x-scheme",
    "x-script-name",
    "x-sendfile-type",
    "x-ssl-client-verify",
    "x-webauth-user",
    // Of one connection, one request, or Strata's own.
    "expect",
    "keep-alive",
    "proxy-authorization",
    "strata-position",
    "strata-range",
    "te",
    "trailer",
];

/// The fields that change the path or the method of a request.
pub const OVERRIDES: [&str; 5] =
    ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"];

/// Returns whether the origin shows a field of this name on its page about them.
#[must_use]
pub fn is_acted_on(name: &str) -> bool {
    ACTED_ON.contains(&name) || OVERRIDES.contains(&name)
}

/// Returns a name with `-` in place of all other marks.
#[must_use]
pub fn with_hyphens(name: &str) -> String {
    name.replace(|character: char| !character.is_ascii_alphanumeric(), "-")
}
