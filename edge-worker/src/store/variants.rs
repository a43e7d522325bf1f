//! Lookup and storing by two levels of keys (RFC 9111 section 4.1), over any [`Store`]. See `policy::select` for the scheme.

use std::time::Duration;

use http::HeaderMap;
use shared_keys::{TargetKey, VaryRules};

use super::metadata::unix_ms;
use super::{Entry, Store};
use crate::error::Error;
use crate::policy::StoredResponse;
use crate::policy::select::{Selected, VaryMarker, variant_key, vary_fields};

/// How long a marker is kept. Without it its variants are misses, so those that are kept longer cost a request each.
const KEEP_MARKER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What the store holds for a request.
#[derive(Debug)]
pub struct Found<B> {
    /// The response that its selecting fields lead to.
    pub stored: Option<Stored<B>>,
    /// What stands under the target key, if that is a marker.
    pub marker: Option<VaryMarker>,
}

/// A response and where it stands.
#[derive(Debug)]
pub struct Stored<B> {
    /// The key that it was found under.
    pub key: String,
    /// All but the body.
    pub response: StoredResponse,
    /// The body, if it has one.
    pub body: Option<B>,
}

impl<B> Found<B> {
    /// Nothing.
    pub fn nothing() -> Self {
        Self { stored: None, marker: None }
    }

    /// The same for the policy.
    pub fn selected(&self) -> Selected<'_> {
        match (&self.stored, &self.marker) {
            (Some(stored), _) => Selected::Response(&stored.response),
            (None, Some(_)) => Selected::VaryMiss,
            (None, None) => Selected::UriMiss,
        }
    }
}

/// What is stored for a request with these fields.
///
/// # Errors
/// If the store cannot be asked or read.
pub async fn lookup<S: Store>(
    store: &S,
    target: &TargetKey,
    rules: &VaryRules,
    request: &HeaderMap,
) -> Result<Found<S::Body>, Error> {
    let marker = match store.get(target.as_str()).await? {
        None => return Ok(Found::nothing()),
        Some(Entry::Response { response, body, .. }) => {
            let stored = Stored { key: target.as_str().to_owned(), response, body };
            return Ok(Found { stored: Some(stored), marker: None });
        }
        Some(Entry::Marker(marker)) => marker,
    };
    let Some(key) = variant_key(target, &marker.fields, rules, request) else {
        return Ok(Found { stored: None, marker: Some(marker) });
    };
    let stored = match store.get(key.as_str()).await? {
        Some(Entry::Response { response, generation, body }) if generation == Some(marker.generation) => {
            Some(Stored { key: key.as_str().to_owned(), response, body })
        }
        _ => None,
    };
    Ok(Found { stored, marker: Some(marker) })
}

/// Puts the response to a request with these fields where [`lookup`] finds it, if it can; `marker` is what the lookup found.
///
/// # Errors
/// If the store refuses it.
pub async fn keep<S: Store>(
    store: &S,
    target: &TargetKey,
    rules: &VaryRules,
    request: &HeaderMap,
    marker: Option<VaryMarker>,
    (response, body): (StoredResponse, Option<S::Body>),
    keep_for: Duration,
) -> Result<(), Error> {
    let fields = vary_fields(&response.headers).unwrap_or_default();
    if fields.is_empty() {
        return store.put(target.as_str(), Entry::Response { response, generation: None, body }, keep_for).await;
    }
    let Some(key) = variant_key(target, &fields, rules, request) else { return Ok(()) };
    let known = marker.filter(|marker| marker.fields == fields);
    let generation = known.as_ref().map_or_else(|| unix_ms(response.response_time), |marker| marker.generation);
    let entry = Entry::Response { response, generation: Some(generation), body };
    store.put(key.as_str(), entry, keep_for).await?;
    if known.is_none() {
        store.put(target.as_str(), Entry::Marker(VaryMarker { fields, generation }), KEEP_MARKER).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{at, headers, stored};
    use crate::store::fake::{FakeStore, ready};

    fn target() -> TargetKey {
        TargetKey::parse("https://shop.example/a").unwrap()
    }

    /// Looks up, and as a fill does, keeps the response if nothing was found; the body that was found comes back.
    fn get_or_fill(store: &FakeStore, language: &str, vary: &str, at_secs: u64) -> Option<String> {
        let (request, rules) = (headers(&[("accept-language", language)]), VaryRules::default());
        let found = ready(lookup(store, &target(), &rules, &request)).unwrap();
        if let Some(stored) = found.stored {
            return stored.body;
        }
        let response = StoredResponse { response_time: at(at_secs), ..stored(&[("vary", vary)]) };
        let body = Some(format!("{language} at {at_secs}"));
        ready(keep(store, &target(), &rules, &request, found.marker, (response, body), Duration::from_secs(60)))
            .unwrap();
        None
    }

    #[test]
    fn rfc9111_4_1_variants_stay_apart() {
        let store = FakeStore::default();
        assert_eq!(get_or_fill(&store, "de", "Accept-Language", 1), None);
        assert_eq!(get_or_fill(&store, "en", "Accept-Language", 2), None);
        assert_eq!(get_or_fill(&store, "de", "Accept-Language", 3).as_deref(), Some("de at 1"));
        assert_eq!(get_or_fill(&store, "en", "Accept-Language", 3).as_deref(), Some("en at 2"));
    }

    #[test]
    fn rfc9111_4_1_a_response_that_does_not_vary_is_for_all() {
        let store = FakeStore::default();
        assert_eq!(get_or_fill(&store, "de", "", 1), None);
        assert_eq!(get_or_fill(&store, "en", "", 2).as_deref(), Some("de at 1"));
    }

    #[test]
    fn rfc9111_4_4_a_removed_marker_takes_its_variants_with_it() {
        let store = FakeStore::default();
        get_or_fill(&store, "de", "Accept-Language", 1);
        get_or_fill(&store, "en", "Accept-Language", 2);
        ready(store.delete(target().as_str())).unwrap();
        assert_eq!(get_or_fill(&store, "de", "Accept-Language", 3), None);
        assert_eq!(get_or_fill(&store, "en", "Accept-Language", 4), None, "the new marker does not bring it back");
        assert_eq!(get_or_fill(&store, "en", "Accept-Language", 5).as_deref(), Some("en at 4"));
    }

    #[test]
    fn rfc9111_4_1_the_latest_response_says_which_fields_select() {
        let store = FakeStore::default();
        get_or_fill(&store, "de", "Accept-Language", 1);
        get_or_fill(&store, "en", "Accept-Language, Cookie", 2);
        assert_eq!(get_or_fill(&store, "de", "Accept-Language, Cookie", 3), None);
        assert_eq!(get_or_fill(&store, "de", "Accept-Language, Cookie", 4).as_deref(), Some("de at 3"));
    }
}
