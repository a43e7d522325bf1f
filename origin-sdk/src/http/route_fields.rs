//! The fields that a layer adds to every response of its routes.

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use shared_keys::{CACHE_GROUP_INVALIDATION_HEADER, CACHE_GROUPS_HEADER, CacheGroup, NoVarySearch};

const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// The values of the fields; `None` for those that the layer does not set.
#[derive(Debug, Clone)]
pub(super) struct RouteFields {
    vary: Option<HeaderValue>,
    groups: Option<HeaderValue>,
    invalidated_groups: Option<HeaderValue>,
    no_vary_search: Option<HeaderValue>,
}

impl RouteFields {
    pub(super) fn new(
        vary: &[HeaderName],
        groups: &[CacheGroup],
        invalidated_groups: &[CacheGroup],
        no_vary_search: &NoVarySearch,
    ) -> Self {
        // All are printable ASCII, and so valid values.
        let value = |text: &str| HeaderValue::from_str(text).ok().filter(|value| !value.is_empty());
        Self {
            vary: value(&vary.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ")),
            groups: value(&CacheGroup::to_field(groups)),
            invalidated_groups: value(&CacheGroup::to_field(invalidated_groups)),
            no_vary_search: value(&no_vary_search.to_field()),
        }
    }

    /// Adds the fields of a response to `GET` or `HEAD`.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        if let Some(vary) = &self.vary {
            headers.append(header::VARY, vary.clone());
        }
        if let Some(groups) = &self.groups {
            headers.append(CACHE_GROUPS_HEADER, groups.clone());
        }
        if let Some(no_vary_search) = &self.no_vary_search {
            headers.entry(NO_VARY_SEARCH).or_insert_with(|| no_vary_search.clone());
        }
    }

    /// Adds `Cache-Group-Invalidation` to the successful response to an unsafe request.
    pub(super) fn add_invalidation<B>(&self, response: &mut Response<B>) {
        let is_success = response.status().is_success() || response.status().is_redirection();
        if let Some(groups) = self.invalidated_groups.as_ref().filter(|_| is_success) {
            response.headers_mut().append(CACHE_GROUP_INVALIDATION_HEADER, groups.clone());
        }
    }
}
