//! Cloudflare's purge API of a zone as a [`Target`]: removes covered responses from every data
//! centre at once.
//!
//! A zone purge frees space at the edge and reaches responses that Cloudflare caches without the
//! worker. Correctness does not depend on it: a response in transit is stored after the purge, and
//! only the journal refuses it then.
//!
//! Sources, read in November 2026: `developers.cloudflare.com/cache/how-to/purge-cache/` (limits),
//! `…/api/resources/cache/` (requests and responses), `…/fundamentals/api/reference/limits/` (429
//! and `Retry-After`).

use std::fmt;
use std::str::FromStr;

use futures_util::future::{BoxFuture, FutureExt};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use shared_keys::{Mode, Scope};

use super::pacing::Rate;
use super::target::{Call, Failure, Target, client, read};
use crate::error::BuildError;
use crate::store::FeedRecord;
use crate::web_url::{self, UrlText};

/// The base URL of Cloudflare's API.
pub(crate) const CLOUDFLARE_API: &str = "https://api.cloudflare.com/client/v4/";
/// The most tags in one call, on every plan.
const MAX_OPERATIONS: usize = 100;
/// The endpoint that removes responses from the caches.
const PURGE: &str = "purge_cache";
/// The endpoint that marks responses as stale.
const INVALIDATE: &str = "invalidate_cache";

/// A Cloudflare zone to purge on every invalidation.
///
/// Scopes are sent as the tags that may represent them in `Cache-Tag` ([`Scope::edge_tokens`]): a
/// simple tag as it is, any other scope as a hash. A record that covers everything purges the
/// **whole zone**, including responses that do not come from Strata.
///
/// ```
/// use origin_sdk::Cache;
/// use origin_sdk::cloudflare::{ApiToken, Plan, Zone};
///
/// let token = ApiToken::new("a token that may purge the zone");
/// let zone = Zone::new("023e105f4ecef8ad9ca31a8372d0c353", token).plan(Plan::Pro);
/// let builder = Cache::builder("shop").zone(zone);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Zone {
    id: String,
    token: ApiToken,
    plan: Plan,
    invalidates_expired: bool,
    api: UrlText,
}

impl Zone {
    /// Creates a zone from its ID (32 hexadecimal digits) and a token with the permission *Cache
    /// Purge* for it. Both are checked when the cache is built.
    pub fn new(id: impl Into<String>, token: ApiToken) -> Self {
        Self {
            id: id.into(),
            token,
            plan: Plan::Free,
            invalidates_expired: false,
            api: UrlText(CLOUDFLARE_API.to_owned()),
        }
    }

    /// Sets the zone's plan, which limits the rate of purge calls. Default [`Plan::Free`].
    pub fn plan(mut self, plan: Plan) -> Self {
        self.plan = plan;
        self
    }

    /// Sets whether *expire* records are sent to the zone, as `invalidate_cache` calls. Default
    /// `false`: the worker reads from the journal that its copies are stale, and may still serve
    /// them. Use `true` for a zone that has no worker in front of its cache.
    pub fn invalidate_expired(mut self, invalidate: bool) -> Self {
        self.invalidates_expired = invalidate;
        self
    }

    /// Sets the base URL of the API, for tests or a proxy. Default
    /// `https://api.cloudflare.com/client/v4/`.
    pub fn api(mut self, base: impl Into<String>) -> Self {
        self.api = UrlText(base.into());
        self
    }
}

impl fmt::Debug for Zone {
    /// Hides the ID, which may be a token in the wrong place, unless it has the form of an ID.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, token, plan, invalidates_expired, api } = self;
        let id = if is_zone_id(id) { id } else { "a malformed ID" };
        let mut zone = f.debug_struct("Zone");
        zone.field("id", &id).field("token", token).field("plan", plan);
        zone.field("invalidates_expired", invalidates_expired).field("api", api).finish()
    }
}

/// Returns whether a text has the form of a zone's ID.
fn is_zone_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A token for Cloudflare's API. Its `Debug` output hides the text, so it never appears in logs.
#[derive(Clone)]
pub struct ApiToken(String);

impl ApiToken {
    /// Creates a token from its text, which must be valid in an HTTP field value. That is checked
    /// when the token is used.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the value of `Authorization`.
    pub(crate) fn authorization(&self) -> Result<HeaderValue, BuildError> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", self.0)).map_err(|_| BuildError::ApiToken)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Returns a text with every occurrence of the token replaced by `…`.
    pub(crate) fn hidden_in(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "…") }
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(…)")
    }
}

/// A zone's Cloudflare plan, which limits the rate of purge calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Plan {
    /// 5 calls per minute, bursts of 25.
    Free,
    /// 5 calls per second, bursts of 25.
    Pro,
    /// 10 calls per second, bursts of 50.
    Business,
    /// 50 calls per second, bursts of 500.
    Enterprise,
}

impl Plan {
    pub(crate) const fn rate(self) -> Rate {
        match self {
            Self::Free => Rate { per_second: 5.0 / 60.0, burst: 25 },
            Self::Pro => Rate { per_second: 5.0, burst: 25 },
            Self::Business => Rate { per_second: 10.0, burst: 50 },
            Self::Enterprise => Rate { per_second: 50.0, burst: 500 },
        }
    }
}

impl FromStr for Plan {
    type Err = BuildError;

    /// Parses Cloudflare's name of a plan: `free`, `pro`, `business` or `enterprise`.
    fn from_str(name: &str) -> Result<Self, BuildError> {
        match name {
            "free" => Ok(Self::Free),
            "pro" => Ok(Self::Pro),
            "business" => Ok(Self::Business),
            "enterprise" => Ok(Self::Enterprise),
            _ => Err(BuildError::Plan { length: name.chars().count() }),
        }
    }
}

/// The purge API of a zone: a checked [`Zone`] with its URL and HTTP client.
pub(crate) struct ZoneApi {
    name: String,
    url: Url,
    authorization: HeaderValue,
    token: ApiToken,
    plan: Plan,
    invalidates_expired: bool,
    client: reqwest::Client,
}

impl ZoneApi {
    pub(crate) fn new(zone: &Zone) -> Result<Self, BuildError> {
        let Zone { id, token, plan, invalidates_expired, api } = zone;
        if !is_zone_id(id) {
            return Err(BuildError::ZoneId { length: id.chars().count() });
        }
        let base = format!("{}/zones/{id}/", api.0.trim_end_matches('/'));
        let url = web_url::parse(&base).map_err(|problem| BuildError::ZoneApi { problem })?;
        let authorization = token.authorization()?;
        Ok(Self {
            name: format!("zone:{id}"),
            client: client("zone", &url)?,
            url,
            authorization,
            token: token.clone(),
            plan: *plan,
            invalidates_expired: *invalidates_expired,
        })
    }

    async fn post(&self, call: &Call) -> Result<(), Failure> {
        let url = self.url.join(call.path).map_err(|error| Failure::new(error.to_string()))?;
        let request = self.client.post(url).header(AUTHORIZATION, &self.authorization);
        let response =
            request.header("content-type", "application/json").body(call.body.clone()).send().await?;
        let (head, body) = read(response).await;
        // An error shows the body, and another service at this address may echo the request.
        let body = self.token.hidden_in(&body);
        // The status alone proves nothing: the API answers 200 to a call that it refused in part.
        match serde_json::from_str::<ApiResponse>(&body) {
            Ok(ApiResponse { success: true, .. }) if head.status.is_success() => Ok(()),
            Ok(refused) if !refused.errors.is_empty() => {
                let errors = refused.errors.iter().map(|error| format!("{} {}", error.code, error.message));
                let errors = errors.collect::<Vec<_>>().join("; ");
                Err(Failure::unexpected("the zone to accept the purge", &head, &errors))
            }
            _ => Err(Failure::unexpected("the zone to accept the purge", &head, &body)),
        }
    }
}

#[derive(Deserialize)]
struct ApiResponse {
    success: bool,
    #[serde(default)]
    errors: Vec<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    code: i64,
    message: String,
}

impl Target for ZoneApi {
    fn name(&self) -> &str {
        &self.name
    }

    fn rate(&self) -> Rate {
        self.plan.rate()
    }

    fn calls(&self, records: &[FeedRecord]) -> Vec<Call> {
        let mut calls = calls_of(PURGE, scopes_of(records, Mode::Remove));
        if self.invalidates_expired {
            calls.extend(calls_of(INVALIDATE, scopes_of(records, Mode::Expire)));
        }
        if let Some(last) = calls.last_mut() {
            last.completes = records.len();
        }
        calls
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<(), Failure>> {
        self.post(call).boxed()
    }
}

fn scopes_of(records: &[FeedRecord], mode: Mode) -> Vec<&Scope> {
    records.iter().filter(|record| record.mode == mode).flat_map(|record| &record.scopes).collect()
}

/// Returns the calls that purge these scopes. A purge covers everything stored when it is made, so
/// the order does not matter and each tag is sent once.
fn calls_of(path: &'static str, scopes: Vec<&Scope>) -> Vec<Call> {
    let call =
        |body: serde_json::Value, operations| Call { path, body: body.to_string(), operations, completes: 0 };
    if scopes.contains(&&Scope::All) {
        return vec![call(json!({ "purge_everything": true }), 1)];
    }
    let mut tags: Vec<String> = scopes.into_iter().flat_map(Scope::edge_tokens).collect();
    tags.sort_unstable();
    tags.dedup();
    tags.chunks(MAX_OPERATIONS).map(|tags| call(json!({ "tags": tags }), tags.len())).collect()
}

#[cfg(test)]
mod tests {
    use shared_keys::{Position, Tag};

    use super::*;

    const ID: &str = "023e105f4ecef8ad9ca31a8372d0c353";

    fn zone() -> Zone {
        Zone::new(ID, ApiToken::new("secret-token")).api("http://api.example/client/v4/")
    }

    fn record(mode: Mode, scopes: &[&str]) -> FeedRecord {
        let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        FeedRecord { position: Position::new(1, 0), mode, scopes }
    }

    fn bodies(zone: &Zone, records: &[FeedRecord]) -> Vec<(&'static str, String)> {
        let calls = ZoneApi::new(zone).unwrap().calls(records);
        assert_eq!(
            calls.iter().map(|call| call.completes).max(),
            Some(records.len()).filter(|_| !calls.is_empty())
        );
        calls.into_iter().map(|call| (call.path, call.body)).collect()
    }

    #[test]
    fn scopes_are_sent_as_the_tags_that_represent_them_in_cache_tag() {
        let records = [record(
            Mode::Remove,
            &["tag:category:7", "tag:Größe 42", "key:shop:v1:{a}:1", "path:shop.example/a"],
        )];
        let mut tags: Vec<_> = records[0].scopes.iter().flat_map(Scope::edge_tokens).collect();
        tags.sort();
        assert_eq!(bodies(&zone(), &records), [(PURGE, json!({ "tags": tags }).to_string())]);
        // Three scopes as hashes, and two prefixes of the key, into which the key may have been
        // folded.
        assert!(
            tags.contains(&"category:7".to_owned())
                && tags.iter().filter(|tag| tag.starts_with('~')).count() == 5
        );
    }

    #[test]
    fn a_call_names_at_most_a_hundred_tags_and_each_once() {
        let scope = |n: usize| Scope::Tag(Tag::new(&format!("t:{}", n % 250)).unwrap());
        let record = |n| FeedRecord {
            position: Position::new(n, 0),
            mode: Mode::Remove,
            scopes: (0..300).map(scope).collect(),
        };
        let calls = ZoneApi::new(&zone()).unwrap().calls(&[record(1), record(2)]);
        assert_eq!(calls.iter().map(|call| call.operations).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(calls.iter().map(|call| call.completes).collect::<Vec<_>>(), [0, 0, 2]);
    }

    #[test]
    fn a_record_of_all_is_one_call() {
        let records = [
            record(Mode::Remove, &["tag:a"]),
            record(Mode::Remove, &["all"]),
            record(Mode::Remove, &["tag:b"]),
        ];
        assert_eq!(bodies(&zone(), &records), [(PURGE, r#"{"purge_everything":true}"#.to_owned())]);
    }

    #[test]
    fn expire_records_are_sent_only_on_request() {
        let records = [record(Mode::Expire, &["tag:a"]), record(Mode::Remove, &["tag:b"])];
        let purge = (PURGE, r#"{"tags":["b"]}"#.to_owned());
        assert_eq!(bodies(&zone(), &records), std::slice::from_ref(&purge));
        let invalidate = (INVALIDATE, r#"{"tags":["a"]}"#.to_owned());
        assert_eq!(bodies(&zone().invalidate_expired(true), &records), [purge, invalidate]);
        assert!(bodies(&zone(), &records[..1]).is_empty());
    }

    #[test]
    fn an_invalid_zone_is_refused_and_its_token_never_shown() {
        let text = |zone: Zone| ZoneApi::new(&zone).err().unwrap().to_string();
        let misplaced = text(Zone::new("secret-token", ApiToken::new("secret-token")));
        assert!(misplaced.contains("32 hexadecimal digits, ") && misplaced.contains("got 12 characters"));
        assert!(text(zone().api("secret.api.cloudflare.com")).contains("the scheme is missing"));
        assert!(
            !misplaced.contains("secret") && !text(zone().api("secret.cloudflare.com")).contains("secret")
        );
        let refused = text(Zone::new(ID, ApiToken::new("secret-token\n")).api("http://api.example/"));
        assert!(!refused.contains("secret") && !format!("{:?}", zone()).contains("secret"));
    }
}
