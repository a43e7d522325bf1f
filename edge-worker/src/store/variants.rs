//! Lookup and storing of variants by two levels of keys (RFC 9111 section 4.1), over any [`Store`].
//! See `policy::select` for the scheme.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use shared_keys::{TargetKey, VariantKey, VaryFields, VaryRules};

use super::{Entry, Store};
use crate::error::Error;
use crate::policy::StoredResponse;
use crate::policy::select::{Selected, VaryMarker, variant_key, vary_fields};
use crate::policy::usage::{Variant, least_used};
use crate::time::unix_ms;

/// The largest number of stored variants per URL. A response that varies by a field with a new
/// value in each request would otherwise fill the store. Beyond it, the variant that is used least
/// gives way.
pub const MAX_VARIANTS: usize = 50;

/// The digits of a variant's hash, with which its key ends.
const ID_DIGITS: usize = 32;

/// How long a marker is stored. Without it its variants are misses; a variant that is stored for
/// longer costs one request.
pub const MARKER_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The result of a lookup.
#[derive(Debug)]
pub struct Found<B> {
    /// The response that the request's selecting fields select.
    pub stored: Option<Stored<B>>,
    /// The marker under the target key, if there is one.
    pub marker: Option<VaryMarker>,
    /// The key that the URL shares with others, if the response was looked for there; `None` for
    /// the URL's own key. See [`search`](super::search).
    pub shared_key: Option<TargetKey>,
}

/// A stored response and its key.
#[derive(Debug)]
pub struct Stored<B> {
    /// The key under which it is stored.
    pub key: String,
    /// The response without its body.
    pub response: StoredResponse,
    /// The body, if it has one.
    pub body: Option<B>,
}

/// The fields of a request that select among the responses of a URL.
#[derive(Debug, Clone, Copy)]
pub struct Selecting<'a> {
    /// The normalisation of selecting fields.
    pub rules: &'a VaryRules,
    /// The fields that select besides those that `Vary` names. A response that was stored without
    /// them is not selected.
    pub required: &'a VaryFields,
    /// The client's fields.
    pub request: &'a HeaderMap,
}

impl<B> Found<B> {
    /// Returns the result of a lookup that finds nothing.
    pub fn nothing() -> Self {
        Self { stored: None, marker: None, shared_key: None }
    }

    /// Returns the result as the policy sees it.
    pub fn selected(&self) -> Selected<'_> {
        match (&self.stored, &self.marker) {
            (Some(stored), _) => Selected::Response(&stored.response),
            (None, Some(_)) => Selected::VaryMiss,
            (None, None) => Selected::UriMiss,
        }
    }
}

/// Looks up the response that a request with these fields selects.
///
/// # Errors
/// If the store fails, or an entry cannot be read.
pub async fn lookup<S: Store>(
    store: &S,
    target: &TargetKey,
    Selecting { rules, required, request }: Selecting<'_>,
) -> Result<Found<S::Body>, Error> {
    let marker = match store.get(target.as_str()).await? {
        None => return Ok(Found::nothing()),
        // Stored before a rule required a field.
        Some(Entry::Response { .. }) if !required.is_empty() => return Ok(Found::nothing()),
        Some(Entry::Marker(marker)) if !has_all(&marker.fields, required) => return Ok(Found::nothing()),
        Some(Entry::Response { response, body, .. }) => {
            let stored = Stored { key: target.as_str().to_owned(), response, body };
            return Ok(Found { stored: Some(stored), ..Found::nothing() });
        }
        Some(Entry::Marker(marker)) => marker,
        // Only the marker of a path, which is under no target key.
        Some(Entry::SearchMarker(_)) => return Ok(Found::nothing()),
    };
    let Some(key) = variant_key(target, &marker.fields, rules, request) else {
        return Ok(Found { marker: Some(marker), ..Found::nothing() });
    };
    let stored = match store.get(key.as_str()).await? {
        Some(Entry::Response { response, generation, body }) if generation == Some(marker.generation) => {
            Some(Stored { key: key.as_str().to_owned(), response, body })
        }
        _ => None,
    };
    Ok(Found { stored, marker: Some(marker), shared_key: None })
}

/// Stores the response to a request with these fields where [`lookup`] finds it. Stores nothing if
/// a selecting field cannot be read. `magnitude_of` returns the magnitude of the requests for a key
/// so far.
///
/// The marker is read again, because other requests may have changed it during the fetch. If each
/// wrote the marker from its own earlier lookup, they would lose each other's variants, or restore
/// deleted ones.
///
/// # Errors
/// If the store fails.
pub async fn store<S: Store>(
    store: &S,
    target: &TargetKey,
    Selecting { rules, required, request }: Selecting<'_>,
    (response, body): (StoredResponse, Option<S::Body>),
    retention: Duration,
    magnitude_of: impl Fn(&str) -> u8,
) -> Result<(), Error> {
    let fields = with(vary_fields(&response.headers).unwrap_or_default(), required);
    let marker = match store.get(target.as_str()).await {
        Ok(Some(Entry::Marker(marker))) => Some(marker),
        // An entry that cannot be read is replaced. Otherwise nothing could be stored here until it
        // expires.
        _ => None,
    };
    // Among responses that vary, one without `Vary` answers its own request, not all (RFC 9111
    // section 4.1).
    if fields.is_empty() && marker.is_none() {
        return store
            .put(target.as_str(), Entry::Response { response, generation: None, body }, retention)
            .await;
    }
    let now = response.response_time;
    let mut marker = widened(marker, fields, unix_ms(now));
    let Some((key, id)) = variant_key(target, &marker.fields, rules, request).and_then(|key| with_id(&key))
    else {
        return Ok(());
    };
    let entry = Entry::Response { response, generation: Some(marker.generation), body };
    store.put(&key, entry, retention).await?;
    let magnitude = magnitude_of(&key);
    if let Some(variant) = marker.variants.iter_mut().find(|variant| variant.id == id) {
        if !variant.record(magnitude, now) {
            return Ok(());
        }
    } else {
        while marker.variants.len() >= MAX_VARIANTS
            && let Some(index) = least_used(&marker.variants, now)
        {
            let evicted = marker.variants.remove(index);
            store.delete(&key_with_id(&key, evicted.id)).await?;
        }
        marker.variants.push(Variant { id, magnitude, recorded_ms: unix_ms(now) });
    }
    store.put(target.as_str(), Entry::Marker(marker), MARKER_RETENTION).await
}

/// Records in the marker of `target` that the variant under `key` is in use, after requests of this
/// magnitude.
///
/// # Errors
/// If the store fails.
pub async fn record_use<S: Store>(
    store: &S,
    target: &TargetKey,
    key: &str,
    magnitude: u8,
    now: SystemTime,
) -> Result<(), Error> {
    let Some(id) = id_of(key) else { return Ok(()) };
    if let Some(Entry::Marker(mut marker)) = store.get(target.as_str()).await?
        && marker.variants.iter_mut().any(|variant| variant.id == id && variant.record(magnitude, now))
    {
        store.put(target.as_str(), Entry::Marker(marker), MARKER_RETENTION).await?;
    }
    Ok(())
}

/// Returns the marker for a response that varies by `fields`: the existing one if it contains these
/// fields, or a new one with the fields of both. So responses of one URL with different `Vary`
/// fields do not keep replacing each other.
fn widened(marker: Option<VaryMarker>, fields: VaryFields, generation: u64) -> VaryMarker {
    let Some(marker) = marker else { return VaryMarker { fields, generation, variants: Vec::new() } };
    let both = with(fields, &marker.fields);
    if both == marker.fields { marker } else { VaryMarker { fields: both, generation, variants: Vec::new() } }
}

/// Returns the fields of both.
fn with(fields: VaryFields, more: &VaryFields) -> VaryFields {
    if has_all(&fields, more) {
        return fields;
    }
    let lines = [fields.to_header(), more.to_header()];
    VaryFields::parse(lines.iter().map(String::as_str)).unwrap_or_default()
}

fn has_all(fields: &VaryFields, required: &VaryFields) -> bool {
    required.iter().all(|name| fields.iter().any(|known| known == name))
}

/// Returns the text of a key, and the hash with which it ends.
fn with_id(key: &VariantKey) -> Option<(String, u128)> {
    let id = id_of(key.as_str())?;
    Some((key.as_str().to_owned(), id))
}

fn id_of(key: &str) -> Option<u128> {
    u128::from_str_radix(key.get(key.len().checked_sub(ID_DIGITS)?..)?, 16).ok()
}

/// Returns the key of another variant of the same target.
fn key_with_id(key: &str, id: u128) -> String {
    format!("{}{id:032x}", key.get(..key.len().saturating_sub(ID_DIGITS)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{at, headers, stored};
    use crate::store::fake::{FakeStore, ready, selecting};

    fn target() -> TargetKey {
        TargetKey::parse("https://shop.example/a").unwrap()
    }

    /// Looks a request up and returns the body. On a miss stores a response, as a fill does.
    fn get_or_fill(store: &FakeStore, language: &str, vary: &str, at_secs: u64) -> Option<String> {
        let request = headers(&[("accept-language", language)]);
        let found = ready(lookup(store, &target(), selecting(&request))).unwrap();
        if let Some(stored) = found.stored {
            return stored.body;
        }
        let response = StoredResponse { response_time: at(at_secs), ..stored(&[("vary", vary)]) };
        let body = Some(format!("{language} at {at_secs}"));
        let response = (response, body);
        ready(super::store(store, &target(), selecting(&request), response, Duration::from_secs(60), |_| 1))
            .unwrap();
        None
    }

    #[test]
    fn rfc9111_4_1_each_variant_answers_its_own_requests() {
        let store = FakeStore::default();
        assert_eq!(get_or_fill(&store, "de", "Accept-Language", 1), None);
        assert_eq!(get_or_fill(&store, "en", "Accept-Language", 2), None);
        assert_eq!(get_or_fill(&store, "de", "Accept-Language", 3).as_deref(), Some("de at 1"));
        assert_eq!(get_or_fill(&store, "en", "Accept-Language", 3).as_deref(), Some("en at 2"));
    }

    #[test]
    fn rfc9111_4_1_a_response_that_does_not_vary_answers_all_requests() {
        let store = FakeStore::default();
        assert_eq!(get_or_fill(&store, "de", "", 1), None);
        assert_eq!(get_or_fill(&store, "en", "", 2).as_deref(), Some("de at 1"));
    }

    #[test]
    fn rfc9111_4_1_a_response_without_vary_answers_its_own_request_if_others_vary() {
        let store = FakeStore::default();
        get_or_fill(&store, "de", "Accept-Language", 1);
        assert_eq!(get_or_fill(&store, "en", "", 2), None);
        assert_eq!(get_or_fill(&store, "de", "", 3).as_deref(), Some("de at 1"));
        assert_eq!(get_or_fill(&store, "en", "", 3).as_deref(), Some("en at 2"));
        assert_eq!(get_or_fill(&store, "fr", "", 3), None);
    }

    #[test]
    fn rfc9111_4_1_a_response_without_vary_does_not_replace_all_variants() {
        let store = FakeStore::default();
        for number in 0..MAX_VARIANTS {
            get_or_fill(&store, &format!("x-{number}"), "Accept-Language", 1);
        }
        get_or_fill(&store, "one-more", "", 2);
        assert_eq!(get_or_fill(&store, "x-7", "", 3).as_deref(), Some("x-7 at 1"));
    }

    #[test]
    fn concurrent_fills_do_not_lose_each_others_variants() {
        let store = FakeStore::default();
        // All lookups precede all stores.
        for number in 0..2 * MAX_VARIANTS {
            let request = headers(&[("accept-language", &format!("x-{number}"))]);
            let response = (stored(&[("vary", "Accept-Language")]), None);
            let minute = Duration::from_secs(60);
            ready(super::store(&store, &target(), selecting(&request), response, minute, |_| 1)).unwrap();
        }
        let is_stored = |number: usize| {
            let request = headers(&[("accept-language", &format!("x-{number}"))]);
            ready(lookup(&store, &target(), selecting(&request))).unwrap().stored.is_some()
        };
        assert_eq!((0..2 * MAX_VARIANTS).filter(|number| is_stored(*number)).count(), MAX_VARIANTS);
    }

    #[test]
    fn rfc9111_4_4_deleting_a_marker_deletes_its_variants() {
        let store = FakeStore::default();
        get_or_fill(&store, "de", "Accept-Language", 1);
        get_or_fill(&store, "en", "Accept-Language", 2);
        ready(store.delete(target().as_str())).unwrap();
        assert_eq!(get_or_fill(&store, "de", "Accept-Language", 3), None);
        assert_eq!(
            get_or_fill(&store, "en", "Accept-Language", 4),
            None,
            "the new marker does not restore it"
        );
        assert_eq!(get_or_fill(&store, "en", "Accept-Language", 5).as_deref(), Some("en at 4"));
    }

    #[test]
    fn rfc9111_4_1_responses_with_different_vary_fields_do_not_replace_each_other() {
        let store = FakeStore::default();
        get_or_fill(&store, "de", "Accept-Language, Cookie", 1);
        get_or_fill(&store, "en", "Accept-Language", 2);
        assert_eq!(get_or_fill(&store, "de", "Accept-Language, Cookie", 3).as_deref(), Some("de at 1"));
        assert_eq!(get_or_fill(&store, "en", "Accept-Language", 3).as_deref(), Some("en at 2"));
    }

    #[test]
    fn the_least_used_variant_gives_way_and_is_deleted() {
        let store = FakeStore::default();
        let find = |number: usize| {
            let request = headers(&[("accept-language", &format!("x-{number}"))]);
            ready(lookup(&store, &target(), selecting(&request))).unwrap()
        };
        for number in 0..MAX_VARIANTS {
            get_or_fill(&store, &format!("x-{number}"), "Accept-Language", 100 + number as u64);
        }
        let popular = find(0).stored.unwrap().key;
        ready(record_use(&store, &target(), &popular, 3, at(200))).unwrap();
        for number in MAX_VARIANTS..3 * MAX_VARIANTS {
            get_or_fill(&store, &format!("x-{number}"), "Accept-Language", 200 + number as u64);
        }
        let stored: Vec<_> = (0..3 * MAX_VARIANTS).filter(|number| find(*number).stored.is_some()).collect();
        let expected: Vec<_> = std::iter::once(0).chain(2 * MAX_VARIANTS + 1..3 * MAX_VARIANTS).collect();
        assert_eq!(stored, expected, "the one in use, and the latest");
        assert_eq!(find(0).marker.unwrap().variants.len(), MAX_VARIANTS);
    }

    #[test]
    fn a_use_is_recorded_for_a_stored_variant_only() {
        let store = FakeStore::default();
        let record = |key: &str| ready(record_use(&store, &target(), key, 9, at(200))).unwrap();
        record("https://shop.example/a?__strata_variant=00000000000000000000000000000000");
        assert!(ready(store.get(target().as_str())).unwrap().is_none(), "no marker is made");
        get_or_fill(&store, "de", "Accept-Language", 100);
        record("https://shop.example/a?__strata_variant=00000000000000000000000000000000");
        record("short");
        let Some(Entry::Marker(marker)) = ready(store.get(target().as_str())).unwrap() else {
            panic!("a marker")
        };
        assert_eq!(marker.variants.iter().map(|variant| variant.magnitude).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn rfc9111_4_1_the_latest_response_determines_the_selecting_fields() {
        let store = FakeStore::default();
        get_or_fill(&store, "de", "Accept-Language", 1);
        get_or_fill(&store, "en", "Accept-Language, Cookie", 2);
        assert_eq!(get_or_fill(&store, "de", "Accept-Language, Cookie", 3), None);
        assert_eq!(get_or_fill(&store, "de", "Accept-Language, Cookie", 4).as_deref(), Some("de at 3"));
    }

    /// A response may have been stored before a rule required a field.
    #[test]
    fn a_response_that_was_stored_without_a_required_field_is_not_selected() {
        let required = VaryFields::parse(["strata-rule"]).unwrap();
        for vary in ["", "Accept-Language"] {
            let store = FakeStore::default();
            get_or_fill(&store, "de", vary, 1);
            let request = headers(&[("accept-language", "de"), ("strata-rule", "a")]);
            let by_rule = Selecting { required: &required, ..selecting(&request) };
            let found = ready(lookup(&store, &target(), by_rule)).unwrap();
            assert!(found.stored.is_none() && found.marker.is_none(), "{vary}");
            let response = (StoredResponse { response_time: at(2), ..stored(&[]) }, None);
            let minute = Duration::from_secs(60);
            ready(super::store(&store, &target(), by_rule, response, minute, |_| 1)).unwrap();
            assert!(ready(lookup(&store, &target(), by_rule)).unwrap().stored.is_some());
            let other = headers(&[("accept-language", "de"), ("strata-rule", "b")]);
            let by_other = Selecting { required: &required, ..selecting(&other) };
            assert!(ready(lookup(&store, &target(), by_other)).unwrap().stored.is_none());
            assert_eq!(get_or_fill(&store, "de", vary, 3), None, "nor by one without the field");
        }
    }
}
