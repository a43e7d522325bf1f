//! Lookup and storing by two levels of keys (RFC 9111 section 4.1), over any [`Store`]. See `policy::select` for the scheme.

use std::time::Duration;

use http::HeaderMap;
use shared_keys::{TargetKey, VariantKey, VaryFields, VaryRules};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Entry, Store};
use crate::error::Error;
use crate::policy::StoredResponse;
use crate::policy::select::{Selected, VaryMarker, variant_key, vary_fields};
use crate::time::unix_ms;

/// No URL has more variants stored: what varies by a field that has another value in each request would only fill the store.
pub const MAX_VARIANTS: usize = 50;

/// How long a marker of so many is kept: then others have their turn.
const FULL_MARKER_RETENTION: Duration = Duration::from_secs(60 * 60);

/// How long a marker is kept. Without it its variants are misses, so those that are kept longer cost a request each.
const MARKER_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

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

/// Puts the response to a request with these fields where [`lookup`] finds it, if it can.
///
/// The marker is read again, since others may have changed it while this response was on its way: several that wrote one from what each had
/// found before would forget each other's variants, or bring back what was removed with it.
///
/// # Errors
/// If the store refuses it.
pub async fn store<S: Store>(
    store: &S,
    target: &TargetKey,
    rules: &VaryRules,
    request: &HeaderMap,
    (response, body): (StoredResponse, Option<S::Body>),
    retention: Duration,
) -> Result<(), Error> {
    let fields = vary_fields(&response.headers).unwrap_or_default();
    let marker = match store.get(target.as_str()).await {
        Ok(Some(Entry::Marker(marker))) => Some(marker),
        // What cannot be read is replaced: else nothing could be stored here until it is gone.
        _ => None,
    };
    // Among responses that vary, one that names no field is the answer to its own request, not to all (RFC 9111 section 4.1).
    if fields.is_empty() && marker.is_none() {
        return store.put(target.as_str(), Entry::Response { response, generation: None, body }, retention).await;
    }
    let mut marker = widened(marker, fields, unix_ms(response.response_time));
    let Some(key) = variant_key(target, &marker.fields, rules, request) else { return Ok(()) };
    let id = id_of(&key);
    let is_new = !marker.variants.contains(&id);
    if is_new && marker.variants.len() >= MAX_VARIANTS {
        return Ok(());
    }
    let entry = Entry::Response { response, generation: Some(marker.generation), body };
    store.put(key.as_str(), entry, retention).await?;
    if is_new {
        marker.variants.push(id);
        let retention = if marker.variants.len() < MAX_VARIANTS { MARKER_RETENTION } else { FULL_MARKER_RETENTION };
        store.put(target.as_str(), Entry::Marker(marker), retention).await?;
    }
    Ok(())
}

/// Whether a response that varies by `fields` may be stored for a request: it is one of the variants, or there is room for one more.
pub fn has_room(
    target: &TargetKey,
    rules: &VaryRules,
    request: &HeaderMap,
    marker: &VaryMarker,
    fields: VaryFields,
) -> bool {
    if marker.variants.len() < MAX_VARIANTS {
        return true;
    }
    let widened = widened(Some(marker.clone()), fields, 0);
    let key = variant_key(target, &widened.fields, rules, request);
    widened.variants.is_empty() || key.is_some_and(|key| widened.variants.contains(&id_of(&key)))
}

/// The marker for a response that varies by `fields`: the one that is there if it tells them apart, else a new one, by all fields of both.
/// So responses of one URL that name different fields do not take turns in replacing each other.
fn widened(marker: Option<VaryMarker>, fields: VaryFields, generation: u64) -> VaryMarker {
    let Some(marker) = marker else { return VaryMarker { fields, generation, variants: Vec::new() } };
    let both = VaryFields::parse([marker.fields.to_header().as_str(), fields.to_header().as_str()]);
    match both {
        Some(both) if both != marker.fields => VaryMarker { fields: both, generation, variants: Vec::new() },
        _ => marker,
    }
}

/// What a marker knows a variant by. If two have one, one variant more is stored than the marker counts.
fn id_of(key: &VariantKey) -> u32 {
    xxh3_64_with_seed(key.as_str().as_bytes(), 0) as u32
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
        ready(super::store(store, &target(), &rules, &request, (response, body), Duration::from_secs(60))).unwrap();
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
    fn rfc9111_4_1_a_response_that_omits_vary_is_for_its_own_request_where_others_vary() {
        let store = FakeStore::default();
        get_or_fill(&store, "de", "Accept-Language", 1);
        assert_eq!(get_or_fill(&store, "en", "", 2), None);
        assert_eq!(get_or_fill(&store, "de", "", 3).as_deref(), Some("de at 1"));
        assert_eq!(get_or_fill(&store, "en", "", 3).as_deref(), Some("en at 2"));
        assert_eq!(get_or_fill(&store, "fr", "", 3), None);
    }

    #[test]
    fn rfc9111_4_1_a_response_that_omits_vary_does_not_take_the_place_of_many() {
        let store = FakeStore::default();
        for number in 0..MAX_VARIANTS {
            get_or_fill(&store, &format!("x-{number}"), "Accept-Language", 1);
        }
        get_or_fill(&store, "one-more", "", 2);
        assert_eq!(get_or_fill(&store, "x-7", "", 3).as_deref(), Some("x-7 at 1"));
    }

    #[test]
    fn fills_that_ran_at_the_same_time_know_of_each_others_variants() {
        let (store, rules) = (FakeStore::default(), VaryRules::default());
        // All of them had looked up before any of them kept.
        for number in 0..2 * MAX_VARIANTS {
            let request = headers(&[("accept-language", &format!("x-{number}"))]);
            let response = (stored(&[("vary", "Accept-Language")]), None);
            ready(super::store(&store, &target(), &rules, &request, response, Duration::from_secs(60))).unwrap();
        }
        let is_stored = |number: usize| {
            let request = headers(&[("accept-language", &format!("x-{number}"))]);
            ready(lookup(&store, &target(), &rules, &request)).unwrap().stored.is_some()
        };
        assert_eq!((0..2 * MAX_VARIANTS).filter(|number| is_stored(*number)).count(), MAX_VARIANTS);
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
    fn rfc9111_4_1_responses_that_name_different_fields_do_not_replace_each_other() {
        let store = FakeStore::default();
        get_or_fill(&store, "de", "Accept-Language, Cookie", 1);
        get_or_fill(&store, "en", "Accept-Language", 2);
        assert_eq!(get_or_fill(&store, "de", "Accept-Language, Cookie", 3).as_deref(), Some("de at 1"));
        assert_eq!(get_or_fill(&store, "en", "Accept-Language", 3).as_deref(), Some("en at 2"));
    }

    #[test]
    fn a_url_has_a_bounded_number_of_variants() {
        let (store, rules) = (FakeStore::default(), VaryRules::default());
        let room = |language: &str, vary: &str| {
            let request = headers(&[("accept-language", language)]);
            let marker = ready(lookup(&store, &target(), &rules, &request)).unwrap().marker.unwrap();
            has_room(&target(), &rules, &request, &marker, VaryFields::parse([vary]).unwrap())
        };
        for number in 0..MAX_VARIANTS {
            get_or_fill(&store, &format!("x-{number}"), "Accept-Language", number as u64);
            assert_eq!(room("one-more", "Accept-Language"), number + 1 < MAX_VARIANTS);
        }
        assert!(room("x-7", "Accept-Language"), "one of them is replaced");
        assert!(room("x-7", "") && !room("one-more", ""), "one that does not vary is for its own request too");
        assert!(room("one-more", "Accept-Language, Cookie"), "those that vary by more take the place of all");
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
