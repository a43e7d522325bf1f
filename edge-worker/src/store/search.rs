//! Lookup and storing of responses that several URLs share, over any [`Store`]. See
//! `policy::search` for the scheme.

use std::time::{Duration, SystemTime};

use shared_keys::{NoVarySearch, TargetKey};

use super::variants::{self, Found, Selecting};
use super::{Entry, Store};
use crate::error::Error;
use crate::policy::search::SearchMarker;
use crate::time::unix_ms;

/// How long a marker is stored. Without it the responses of its path are misses.
const MARKER_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The key of a response that other URLs share.
#[derive(Debug)]
pub struct SharedKey {
    /// The key.
    pub key: TargetKey,
    /// Whether the path's marker has just learned of it.
    pub is_new: bool,
}

/// Looks up the response that a request with these fields selects: first under its own key, then
/// under the keys that it shares with other URLs.
///
/// # Errors
/// If the store fails, or an entry cannot be read.
pub async fn lookup<S: Store>(
    store: &S,
    target: &TargetKey,
    selecting: Selecting<'_>,
) -> Result<Found<S::Body>, Error> {
    let found = variants::lookup(store, target, selecting).await?;
    if found.stored.is_some() {
        return Ok(found);
    }
    // A marker that cannot be read counts as none, as in `shared_key`.
    let marker = store.recent_search_marker(&target.search_marker()).await.unwrap_or_default();
    let Some(marker) = marker else { return Ok(found) };
    let mut expected = None;
    for (key, statement) in marker.keys(target) {
        let shared = variants::lookup(store, &key, selecting).await?;
        let stored = shared.stored.filter(|stored| statement.permits(&stored.response, target, &key));
        let shared = Found { stored, marker: shared.marker, shared_key: Some(key) };
        if shared.stored.is_some() {
            return Ok(shared);
        }
        // The next response is most likely to be stored where the latest statement says.
        expected.get_or_insert(shared);
    }
    Ok(expected.unwrap_or(found))
}

/// Returns the key under which a response for `target` with this statement is stored; `None` for
/// its own. Records the statement in the path's marker.
///
/// # Errors
/// If the store fails.
pub async fn shared_key<S: Store>(
    store: &S,
    target: &TargetKey,
    variation: NoVarySearch,
    now: SystemTime,
) -> Result<Option<SharedKey>, Error> {
    // A marker that cannot be read is replaced. Otherwise nothing could be shared until it expires.
    let known = marker(store, target).await.unwrap_or_default();
    if let Some(statement) = known.as_ref().and_then(|marker| marker.statement(&variation)) {
        let key = target.equivalent(&variation, statement.generation);
        return Ok(key.map(|key| SharedKey { key, is_new: false }));
    }
    let marker = known.unwrap_or(SearchMarker { statements: Vec::new() }).with(variation, unix_ms(now));
    let Some((key, _)) = marker.keys(target).next() else { return Ok(None) };
    store.put(&target.search_marker(), Entry::SearchMarker(marker), MARKER_RETENTION).await?;
    Ok(Some(SharedKey { key, is_new: true }))
}

/// Returns the keys that `target` shares with other URLs.
///
/// # Errors
/// If the store fails.
pub async fn shared_keys<S: Store>(store: &S, target: &TargetKey) -> Result<Vec<TargetKey>, Error> {
    let marker = marker(store, target).await?;
    Ok(marker.iter().flat_map(|marker| marker.keys(target)).map(|(key, _)| key).collect())
}

async fn marker<S: Store>(store: &S, target: &TargetKey) -> Result<Option<SearchMarker>, Error> {
    Ok(store.get(&target.search_marker()).await?.and_then(Entry::into_search_marker))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::StoredResponse;
    use crate::policy::search::{MAX_STATEMENTS, variation};
    use crate::policy::testing::{at, headers, stored};
    use crate::store::fake::{FakeStore, ready, selecting};

    fn target(url: &str) -> TargetKey {
        TargetKey::parse(&format!("https://shop.example{url}")).unwrap()
    }

    fn find(store: &FakeStore, url: &str, language: &str) -> Found<String> {
        let request = headers(&[("accept-language", language)]);
        ready(lookup(store, &target(url), selecting(&request))).unwrap()
    }

    /// Returns the stored body, or stores the URL as the body of a response with these fields.
    fn get_or_fill(store: &FakeStore, url: &str, fields: &[(&str, &str)], at_secs: u64) -> Option<String> {
        let found = find(store, url, "de");
        if let Some(stored) = found.stored {
            return stored.body;
        }
        let response = StoredResponse { response_time: at(at_secs), ..stored(fields) };
        let own = target(url);
        let shared = variation(&response.headers)
            .and_then(|variation| ready(shared_key(store, &own, variation, at(at_secs))).unwrap());
        let key = shared.map_or(own, |shared| shared.key);
        let request = headers(&[("accept-language", "de")]);
        let response = (response, Some(url.to_owned()));
        let minute = Duration::from_secs(60);
        ready(variants::store(store, &key, selecting(&request), response, minute, |_| 1)).unwrap();
        None
    }

    const IGNORING: &[(&str, &str)] = &[("no-vary-search", "params=(\"utm\")")];

    #[test]
    fn urls_that_the_origin_declares_equivalent_share_a_response() {
        let store = FakeStore::default();
        assert_eq!(get_or_fill(&store, "/x?utm=1&id=1", IGNORING, 1), None);
        for url in ["/x?id=1", "/x?id=1&utm=2", "/x?%75tm&id=1", "/x?id=1&utm=1"] {
            assert_eq!(get_or_fill(&store, url, IGNORING, 2).as_deref(), Some("/x?utm=1&id=1"), "{url}");
        }
        for url in ["/x?id=2", "/x?id=1&UTM=1", "/x", "/y?id=1", "/x?id=1&id=1"] {
            assert_eq!(get_or_fill(&store, url, &[], 2), None, "{url}");
        }
    }

    #[test]
    fn a_response_without_a_statement_is_for_its_own_url_alone() {
        let store = FakeStore::default();
        get_or_fill(&store, "/x?id=1&utm=1", IGNORING, 1);
        assert_eq!(get_or_fill(&store, "/x?id=2&utm=1", &[], 2), None);
        assert_eq!(get_or_fill(&store, "/x?id=2&utm=2", &[], 2), None);
        assert_eq!(get_or_fill(&store, "/x?id=2&utm=1", &[], 3).as_deref(), Some("/x?id=2&utm=1"));
    }

    #[test]
    fn a_lost_marker_does_not_come_back_with_its_responses() {
        let store = FakeStore::default();
        get_or_fill(&store, "/x?id=1", IGNORING, 1);
        ready(store.delete(&target("/x").search_marker())).unwrap();
        assert_eq!(get_or_fill(&store, "/x?id=2", IGNORING, 2), None, "a new marker");
        assert_eq!(get_or_fill(&store, "/x?id=1&utm=1", IGNORING, 3), None);
    }

    #[test]
    fn a_deleted_shared_key_ends_the_response_for_all_its_urls() {
        let store = FakeStore::default();
        get_or_fill(&store, "/x?id=1&utm=1", IGNORING, 1);
        get_or_fill(&store, "/x?id=2&utm=1", IGNORING, 1);
        for key in ready(shared_keys(&store, &target("/x?utm=7&id=1"))).unwrap() {
            ready(store.delete(key.as_str())).unwrap();
        }
        assert!(find(&store, "/x?id=1&utm=1", "de").stored.is_none());
        assert!(find(&store, "/x?id=2", "de").stored.is_some());
    }

    #[test]
    fn variants_of_a_shared_response_are_separate() {
        let store = FakeStore::default();
        let fields = [("no-vary-search", "params=(\"utm\")"), ("vary", "accept-language")];
        get_or_fill(&store, "/x?utm=1", &fields, 1);
        assert!(find(&store, "/x?utm=2", "de").stored.is_some());
        assert!(find(&store, "/x?utm=2", "en").stored.is_none());
    }

    /// A client chooses URLs for which the origin states something else.
    #[test]
    fn other_statements_of_a_path_do_not_displace_a_response() {
        let store = FakeStore::default();
        get_or_fill(&store, "/x?id=1&utm=1", IGNORING, 1);
        for number in 1..MAX_STATEMENTS {
            let field = format!("params=(\"utm\" \"x{number}\")");
            get_or_fill(&store, &format!("/x?id={}", number + 1), &[("no-vary-search", &field)], 2);
        }
        assert!(find(&store, "/x?id=1&utm=2", "de").stored.is_some());
        let expected = find(&store, "/x?id=9", "de").shared_key.unwrap();
        let latest = ready(shared_keys(&store, &target("/x?id=9"))).unwrap();
        assert_eq!((&expected, latest.len()), (&latest[0], MAX_STATEMENTS));
    }
}
