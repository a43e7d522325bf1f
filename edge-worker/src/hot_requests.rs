//! The requests that an isolate answers most from its store, for a refill after a purge.
//!
//! A *space-saving* sketch counts them (Metwally, Agrawal and El Abbadi, 2005): it holds a bounded
//! number of requests, and a new one takes the place and the count of the least frequent one. A
//! request that is sent often stays, however many others are sent once.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use shared_keys::{TargetKey, VaryFields};
use url::Url;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The number of requests that are counted.
pub const CAPACITY: usize = 256;

/// The longest URL, and the most bytes of fields, of a request that is counted. Bounds the memory
/// to about 0.5 MB.
const MAX_BYTES: usize = 1024;

/// How often all counts are halved, so that they say what is requested often now.
const HALVED_EVERY: Duration = Duration::from_secs(600);

/// The smallest number of requests of which a refill fetches one again.
const MIN_COUNT: u32 = 2;

/// The fields by which an origin negotiates, beside those that the response varies by. A refill
/// without them could get what no client gets.
const NEGOTIATION: [HeaderName; 4] =
    [header::ACCEPT, header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE, header::USER_AGENT];

/// A request without anything of its client's own: a GET of a key's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotRequest {
    /// The URL, in the key's spelling.
    pub url: Box<str>,
    /// The fields by which the response was negotiated.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

impl HotRequest {
    /// Returns the request by which a refill may fetch the response to this client's request again;
    /// `None` if the request has credentials, is not a GET of the whole, or spells the URL in
    /// another way than the key. `selecting` are the fields that the response varies by.
    pub fn of_client(
        method: &Method,
        url: &Url,
        target: &TargetKey,
        headers: &HeaderMap,
        selecting: Option<&VaryFields>,
    ) -> Option<Self> {
        let is_plain = method == Method::GET
            && url.as_str() == target.as_str()
            && url.as_str().len() <= MAX_BYTES
            && ![header::COOKIE, header::AUTHORIZATION, header::RANGE]
                .iter()
                .any(|name| headers.contains_key(name));
        if !is_plain {
            return None;
        }
        let selecting = selecting.into_iter().flat_map(VaryFields::iter);
        let mut names: Vec<HeaderName> = selecting.filter_map(|name| name.parse().ok()).collect();
        names.extend(NEGOTIATION.into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
        let lines =
            |name: HeaderName| headers.get_all(&name).iter().map(move |value| (name.clone(), value.clone()));
        let fields: Vec<_> = names.into_iter().flat_map(lines).collect();
        let bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        (bytes <= MAX_BYTES).then(|| Self { url: url.as_str().into(), fields })
    }
}

/// The counts of one isolate.
#[derive(Debug)]
pub struct HotRequests {
    counters: Vec<Counter>,
    halved_at: SystemTime,
}

#[derive(Debug)]
struct Counter {
    /// The hash of the key that the response is stored under.
    key: u64,
    count: u32,
    /// The count of the request whose place this one took: `count` is too high by at most this.
    inherited: u32,
    request: HotRequest,
}

impl Default for HotRequests {
    fn default() -> Self {
        Self { counters: Vec::new(), halved_at: SystemTime::UNIX_EPOCH }
    }
}

impl HotRequests {
    /// Counts a request that the response under `key` answers. Calls `request` if the key is not
    /// counted yet; without a result it is not.
    pub fn count(&mut self, key: &str, now: SystemTime, request: impl FnOnce() -> Option<HotRequest>) {
        self.halve(now);
        let key = xxh3_64_with_seed(key.as_bytes(), 0);
        if let Some(counter) = self.counters.iter_mut().find(|counter| counter.key == key) {
            counter.count = counter.count.saturating_add(1);
            return;
        }
        let Some(request) = request() else { return };
        if self.counters.len() < CAPACITY {
            self.counters.push(Counter { key, count: 1, inherited: 0, request });
        } else if let Some(least) = self.counters.iter_mut().min_by_key(|counter| counter.count) {
            *least = Counter { key, count: least.count.saturating_add(1), inherited: least.count, request };
        }
    }

    /// Returns the requests that were certainly sent twice or more, the most frequent first.
    pub fn most_frequent(&self) -> Vec<HotRequest> {
        let mut counters: Vec<&Counter> =
            self.counters.iter().filter(|counter| counter.count - counter.inherited >= MIN_COUNT).collect();
        counters.sort_by_key(|counter| std::cmp::Reverse(counter.count));
        counters.into_iter().map(|counter| counter.request.clone()).collect()
    }

    fn halve(&mut self, now: SystemTime) {
        if now.duration_since(self.halved_at).is_ok_and(|age| age < HALVED_EVERY) {
            return;
        }
        self.halved_at = now;
        for counter in &mut self.counters {
            counter.count /= 2;
            counter.inherited /= 2;
        }
        self.counters.retain(|counter| counter.count > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{at, headers};

    fn of_client(method: &Method, url: &str, fields: &[(&str, &str)], vary: &str) -> Option<HotRequest> {
        let (target, url) = (TargetKey::parse(url).unwrap(), Url::parse(url).unwrap());
        let selecting = VaryFields::parse([vary]).unwrap();
        HotRequest::of_client(method, &url, &target, &headers(fields), Some(&selecting))
    }

    fn hot(url: &str) -> HotRequest {
        HotRequest { url: url.into(), fields: Vec::new() }
    }

    fn count(hot_requests: &mut HotRequests, url: &str, times: usize) {
        for _ in 0..times {
            hot_requests.count(url, at(100), || Some(hot(url)));
        }
    }

    fn urls(hot_requests: &HotRequests) -> Vec<Box<str>> {
        hot_requests.most_frequent().into_iter().map(|request| request.url).collect()
    }

    #[test]
    fn a_request_with_credentials_or_in_another_spelling_is_not_repeated() {
        const URL: &str = "https://shop.example/a?b=1&c=2";
        assert!(of_client(&Method::GET, URL, &[], "").is_some());
        assert_eq!(of_client(&Method::HEAD, URL, &[], ""), None);
        for field in ["cookie", "authorization", "range"] {
            assert_eq!(of_client(&Method::GET, URL, &[(field, "x=y")], ""), None, "{field}");
        }
        for url in ["https://shop.example/%61", "https://shop.example/a#b"] {
            assert_eq!(of_client(&Method::GET, url, &[], ""), None, "{url}");
        }
        let long = format!("https://shop.example/{}", "x".repeat(MAX_BYTES));
        assert_eq!(of_client(&Method::GET, &long, &[], ""), None);
        assert_eq!(of_client(&Method::GET, URL, &[("accept", &"x".repeat(MAX_BYTES))], ""), None);
    }

    #[test]
    fn only_fields_by_which_the_response_was_negotiated_are_repeated() {
        let client = [
            ("accept-encoding", "br"),
            ("x-device", "phone"),
            ("x-other", "1"),
            ("referer", "https://a.example/secret"),
            ("x-forwarded-for", "192.0.2.1"),
            ("if-none-match", "\"a\""),
            ("user-agent", "browser"),
        ];
        let request = of_client(&Method::GET, "https://shop.example/", &client, "X-Device, Accept-Encoding");
        let mut names: Vec<String> = request
            .unwrap()
            .fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        names.sort();
        assert_eq!(names, ["accept-encoding: br", "user-agent: browser", "x-device: phone"]);
    }

    #[test]
    fn the_most_frequent_are_first_and_what_was_requested_once_is_not_among_them() {
        let mut hot_requests = HotRequests::default();
        for (url, times) in [("a", 3), ("once", 1), ("b", 9), ("c", 2)] {
            count(&mut hot_requests, url, times);
        }
        assert_eq!(urls(&hot_requests), ["b", "a", "c"].map(Box::from));
    }

    /// Any client can send a stream of URLs that no other client requests.
    #[test]
    fn a_stream_of_other_requests_does_not_displace_what_is_requested_often() {
        let mut hot_requests = HotRequests::default();
        count(&mut hot_requests, "popular", 100);
        for number in 0..20_000 {
            count(&mut hot_requests, &format!("stranger {number}"), 1);
        }
        assert_eq!(hot_requests.counters.len(), CAPACITY);
        assert_eq!(urls(&hot_requests), [Box::from("popular")]);
    }

    #[test]
    fn counts_are_halved_so_that_the_past_is_forgotten() {
        let mut hot_requests = HotRequests::default();
        count(&mut hot_requests, "a", 4);
        for (secs, is_hot) in [(700, true), (1300, false)] {
            hot_requests.count("b", at(secs), || Some(hot("b")));
            assert_eq!(urls(&hot_requests).contains(&Box::from("a")), is_hot, "{secs}");
        }
    }
}
