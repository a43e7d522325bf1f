//! Cache groups (RFC 9875): the scopes of a response's groups, and those that the response to an
//! unsafe request invalidates.
//!
//! A group is a tag of its origin, so the journal carries its invalidations to all isolates.

use http::{HeaderMap, HeaderName, Method};
use shared_keys::{
    CACHE_GROUP_INVALIDATION_HEADER, CACHE_GROUPS_HEADER, CacheGroup, Scope, ScopeHash, TargetKey,
};

use super::directives::joined;
use super::invalidate::is_safe;

/// The number of groups that a response invalidates separately. A longer list invalidates the whole
/// host, which is one record of the journal.
const MAX_INVALIDATED: usize = 256;

/// Returns the scopes of the groups in `Cache-Groups`. A field that is not a list of strings is
/// ignored.
pub fn group_scopes(headers: &HeaderMap, target: &TargetKey) -> impl Iterator<Item = ScopeHash> {
    groups(headers, CACHE_GROUPS_HEADER).into_iter().map(move |group| Scope::Tag(group.tag(target)).hash())
}

/// Returns the scopes that the response to a request invalidates by `Cache-Group-Invalidation`,
/// whatever its status. The field is ignored after a safe method (RFC 9875 section 3).
pub fn invalidated_scopes(method: &Method, headers: &HeaderMap, target: &TargetKey) -> Vec<Scope> {
    if is_safe(method) {
        return Vec::new();
    }
    let mut scopes: Vec<Scope> = Vec::new();
    for group in groups(headers, CACHE_GROUP_INVALIDATION_HEADER) {
        let scope = Scope::Tag(group.tag(target));
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
        if scopes.len() > MAX_INVALIDATED {
            return vec![host_scope(target)];
        }
    }
    scopes
}

fn groups(headers: &HeaderMap, name: &'static str) -> Vec<CacheGroup> {
    let name = HeaderName::from_static(name);
    if !headers.contains_key(&name) {
        return Vec::new();
    }
    CacheGroup::parse_field(&joined(headers, &name)).unwrap_or_default()
}

fn host_scope(target: &TargetKey) -> Scope {
    let host = target.origin().split_once("://").map_or("", |(_, host)| host);
    // The host of a target always forms a scope.
    Scope::path(host).unwrap_or(Scope::All)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    fn target() -> TargetKey {
        TargetKey::parse("https://shop.example:8443/a?b").unwrap()
    }

    fn invalidated(method: &str, fields: &[(&str, &str)]) -> Vec<String> {
        let scopes = invalidated_scopes(&method.parse().unwrap(), &headers(fields), &target());
        scopes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rfc9875_2_the_groups_of_a_response_are_tags_of_its_origin() {
        let fields = headers(&[("cache-groups", "\"a\";x, \"B c\""), ("cache-groups", "\"a\"")]);
        let scopes: Vec<_> = group_scopes(&fields, &target()).collect();
        for name in ["a", "B c"] {
            let scope: Scope = format!("tag:group:https://shop.example:8443/{name}").parse().unwrap();
            assert!(scopes.contains(&scope.hash()), "{name}");
        }
        for malformed in ["a", "\"a\",", "\"a\" \"b\"", "\"a\", b"] {
            assert_eq!(group_scopes(&headers(&[("cache-groups", malformed)]), &target()).count(), 0);
        }
    }

    #[test]
    fn rfc9875_3_unsafe_methods_invalidate_groups_and_safe_ones_do_not() {
        let fields = [("cache-group-invalidation", "\"a\", \"b\", \"a\"")];
        let expected = ["a", "b"].map(|name| format!("tag:group:https://shop.example:8443/{name}"));
        for method in ["POST", "PUT", "DELETE", "PATCH", "FROBNICATE"] {
            assert_eq!(invalidated(method, &fields), expected, "{method}");
        }
        for method in ["GET", "HEAD", "OPTIONS", "QUERY", "PROPFIND", "TRACE"] {
            assert!(invalidated(method, &fields).is_empty(), "{method}");
        }
        assert!(invalidated("POST", &[("cache-group-invalidation", "a")]).is_empty());
        assert!(invalidated("POST", &[("cache-groups", "\"a\"")]).is_empty());
    }

    #[test]
    fn more_groups_than_the_bound_invalidate_the_whole_host() {
        let list = |count: usize| (0..count).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
        let invalidated = |count| invalidated("POST", &[("cache-group-invalidation", &list(count))]);
        assert_eq!(invalidated(MAX_INVALIDATED).len(), MAX_INVALIDATED);
        assert_eq!(invalidated(MAX_INVALIDATED + 1), ["path:shop.example:8443"]);
        let host: Scope = "path:shop.example:8443".parse().unwrap();
        assert!(target().scopes().contains(&host.hash()));
    }
}
