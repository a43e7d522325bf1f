//! The checks, in an order in which an earlier failure explains the later ones.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use shared_keys::purge::{
    CLOCK_WINDOW, Nonce, PURGE_PATH, SIGNATURE_HEADER, Secret, SignedParts, sign, signed_host,
};

use super::probe::{PageResponse, Probe};
use super::{Check, Verdict, Verify};
use crate::error::BoxError;
use crate::shipping::{ApiToken, Plan};
use crate::web_url;

/// The number of requests after which a page must be a hit.
const MAX_ATTEMPTS: u32 = 10;
/// The time that a purge may take in addition to the worker's lag.
const SLACK: Duration = Duration::from_secs(5);
/// The longest time that a zone's purge may take.
const ZONE_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval of requests while a check waits for a purge.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The outcome of a check. An error counts as a failure.
type Outcome = Result<(Verdict, String), BoxError>;

/// The checks of one verification.
pub(super) struct Checks<'a> {
    pub(super) verify: &'a Verify,
    pub(super) probe: &'a Probe,
}

fn pass(detail: impl Into<String>) -> Outcome {
    Ok((Verdict::Pass, detail.into()))
}

fn fail(detail: impl Into<String>) -> Outcome {
    Ok((Verdict::Fail, detail.into()))
}

fn not_checkable(detail: impl Into<String>) -> Outcome {
    Ok((Verdict::NotCheckable, detail.into()))
}

impl Checks<'_> {
    /// Runs all checks, one after the other.
    pub(super) async fn run(&self) -> Vec<Check> {
        vec![
            check("the worker answers", self.worker_answers().await),
            check("the secret matches", self.secret_matches().await),
            check("the clocks are close, and old messages are refused", self.clocks_fit().await),
            check("a page is stored, and hit twice in one data centre", self.page_is_hit().await),
            check("variants stay apart", self.variants_stay_apart().await),
            check("a purge by the journal is seen within the bound", self.journal_purge_takes_effect().await),
            check(
                "a zone purge by tag reaches what the worker stores",
                self.zone_purge_reaches_entries().await,
            ),
            check(
                "the zone's plan has the limits that services are configured with",
                self.plan_has_limits().await,
            ),
        ]
    }

    async fn worker_answers(&self) -> Outcome {
        let response = self.probe.get(&self.probe.at("/__strata/health"), &[]).await?;
        match serde_json::from_str::<Value>(&response.body) {
            Ok(body) if response.status.is_success() && body["ok"] == true => {
                pass("/__strata/health returned {\"ok\":true}")
            }
            _ => fail(format!(
                "expected {{\"ok\":true}} from /__strata/health, got {}: route this host to the worker",
                response.status
            )),
        }
    }

    async fn secret_matches(&self) -> Outcome {
        let Some(secret) = &self.verify.secret else { return not_checkable("no secret was given") };
        // No entry has this tag, so the purge changes nothing.
        let scope = format!("tag:strata-verify-{}", crate::random::process_id());
        match self.purge(secret, &scope, 0).await? {
            (200, answer) if answer["accepted"] == 1 => pass("the worker accepted a purge signed with it"),
            (status, answer) => fail(format!(
                "expected 200 for a signed purge, got {status}: {}; give the worker and this command the same secret",
                answer["message"]
            )),
        }
    }

    async fn clocks_fit(&self) -> Outcome {
        let Some(secret) = &self.verify.secret else { return not_checkable("no secret was given") };
        let window = i64::try_from(CLOCK_WINDOW.as_secs())?;
        let half = window / 2;
        // If the worker accepts both, the clocks differ by at most half the window.
        for offset in [-half, half] {
            match self.purge(secret, "tag:strata-verify", offset).await? {
                (200, _) => {}
                (401, answer) if answer["error"] == "outside-clock-window" => {
                    return fail(format!(
                        "a message dated {offset} s from now was refused: synchronise this machine's clock"
                    ));
                }
                (status, answer) => {
                    return fail(format!(
                        "expected 200 for a signed purge, got {status}: {}",
                        answer["message"]
                    ));
                }
            }
        }
        let too_old = window + half + 1;
        match self.purge(secret, "tag:strata-verify", -too_old).await? {
            (401, answer) if answer["error"] == "outside-clock-window" => pass(format!(
                "at most {half} s apart, of {window} s allowed; a message {too_old} s old was refused"
            )),
            (status, answer) => {
                fail(format!("expected 401 for a message {too_old} s old, got {status}: {answer}"))
            }
        }
    }

    async fn page_is_hit(&self) -> Outcome {
        let page = self.probe.fresh_page();
        let first = self.probe.until_hit(&page, &[], MAX_ATTEMPTS).await?;
        if !first.is_hit() {
            return fail(format!(
                "expected a hit within {MAX_ATTEMPTS} requests, got {}: give the URL of a page that may be stored",
                first.summary()
            ));
        }
        // Requests can reach several data centres, each of which stores the page separately.
        for _ in 0..MAX_ATTEMPTS {
            let again = self.probe.until_hit(&page, &[], MAX_ATTEMPTS).await?;
            if again.is_hit() && again.colo == first.colo {
                return pass(match &first.colo {
                    Some(colo) => format!("in {colo}: {}", again.summary()),
                    None => format!("in one runtime, since there is no CF-Ray: {}", again.summary()),
                });
            }
        }
        fail(format!("expected a second hit in {:?}, got none", first.colo.unwrap_or_default()))
    }

    async fn variants_stay_apart(&self) -> Outcome {
        let page = self.probe.fresh_page();
        let vary = self.probe.get(&page, &[]).await?.vary;
        let Some(field) = vary.first().filter(|field| *field != "*") else {
            return not_checkable("the page has no Vary: give the URL of a page that has one");
        };
        let (one, other) = two_values(field);
        let page = self.probe.fresh_page();
        let stored = self.probe.until_hit(&page, &[(field, one)], MAX_ATTEMPTS).await?;
        if !stored.is_hit() {
            return not_checkable(format!("the page is not stored: {}", stored.summary()));
        }
        let response = self.probe.get(&page, &[(field, other)]).await?;
        if response.is_hit() {
            return fail(format!(
                "expected a miss with {field}: {other}, got the variant of {one}: {}",
                response.summary()
            ));
        }
        let same = |response: &PageResponse| response.etag == stored.etag && response.body == stored.body;
        let again = self.probe.until_hit(&page, &[(field, one)], MAX_ATTEMPTS).await?;
        if !again.is_hit() || !same(&again) {
            return fail(format!(
                "expected the variant of {one} after {other} was stored, got {}",
                again.summary()
            ));
        }
        pass(format!("{field}: {one} and {other} were stored separately"))
    }

    async fn journal_purge_takes_effect(&self) -> Outcome {
        let Some(secret) = &self.verify.secret else { return not_checkable("no secret was given") };
        let page = self.probe.fresh_page();
        let stored = self.probe.until_hit(&page, &[], MAX_ATTEMPTS).await?;
        if !stored.is_hit() {
            return not_checkable(format!("the page is not stored: {}", stored.summary()));
        }
        let scope = self.probe.path_scope();
        let (status, answer) = self.purge(secret, &scope, 0).await?;
        if status != 200 {
            return fail(format!("expected 200 for a signed purge, got {status}: {}", answer["message"]));
        }
        let bound = self.verify.max_lag + SLACK;
        match self.until_missed(&page, bound).await? {
            Some(took) => pass(format!(
                "{scope} was purged after {:.1} s, of {} s allowed",
                took.as_secs_f64(),
                bound.as_secs()
            )),
            None => fail(format!("{scope} was still served {} s after its purge", bound.as_secs())),
        }
    }

    async fn zone_purge_reaches_entries(&self) -> Outcome {
        let page = self.probe.fresh_page();
        let stored = self.probe.until_hit(&page, &[], MAX_ATTEMPTS).await?;
        if stored.colo.is_none() {
            return not_checkable("needs a real zone, and the responses have no CF-Ray");
        }
        let Some((id, token)) = &self.verify.zone else {
            return not_checkable("no zone and token were given");
        };
        let Some(tag) = &self.verify.tag else { return not_checkable("no tag of the page was given") };
        if !stored.is_hit() {
            return not_checkable(format!("the page is not stored: {}", stored.summary()));
        }
        let purge = self.probe.client.post(self.api(id, "/purge_cache")?).json(&json!({ "tags": [tag] }));
        let answer: ApiResponse<Value> = send_to_api(token, purge).await?;
        if !answer.success {
            return fail(format!("the zone refused the purge: {}", token.hidden_in(&answer.why())));
        }
        match self.until_missed(&page, ZONE_TIMEOUT).await? {
            Some(took) => pass(format!("{tag} was purged after {:.1} s", took.as_secs_f64())),
            None => fail(format!(
                "{tag} was still served {} s after the zone's purge: unless the page lacks this tag, zone purges \
                 do not reach the worker's cache, and only the journal invalidates it",
                ZONE_TIMEOUT.as_secs()
            )),
        }
    }

    async fn plan_has_limits(&self) -> Outcome {
        let Some((id, token)) = &self.verify.zone else {
            return not_checkable("no zone and token were given");
        };
        let answer: ApiResponse<ZoneInfo> =
            send_to_api(token, self.probe.client.get(self.api(id, "")?)).await?;
        let Some(zone) = answer.result.as_ref().filter(|_| answer.success) else {
            return fail(format!("the API refused to read the zone: {}", token.hidden_in(&answer.why())));
        };
        let has = &zone.plan.legacy_id;
        match (has.parse::<Plan>(), self.verify.plan) {
            (Err(_), _) => not_checkable(format!(
                "expected the plan free, pro, business or enterprise, got {has}, whose limits are unknown"
            )),
            (Ok(has), configured) if configured.rate().per_second > has.rate().per_second => fail(format!(
                "services are configured with {configured:?}, but the zone has {has:?}, whose lower limit answers 429: \
                 configure {has:?}"
            )),
            (Ok(has), configured) => {
                pass(format!("services are configured with {configured:?}, and the zone has {has:?}"))
            }
        }
    }

    /// Requests the page until it is a miss. Returns when the first such request was sent, or
    /// `None` if the page was a hit until the timeout.
    async fn until_missed(&self, page: &Url, timeout: Duration) -> Result<Option<Duration>, BoxError> {
        let since = Instant::now();
        loop {
            let requested_at = since.elapsed();
            if !self.probe.get(page, &[]).await?.is_hit() {
                return Ok(Some(requested_at));
            }
            if requested_at > timeout {
                return Ok(None);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Sends a purge whose signature is dated `offset` seconds from now. Returns the worker's
    /// status and JSON body, or `null` for a body that is not JSON.
    async fn purge(&self, secret: &Secret, scope: &str, offset: i64) -> Result<(u16, Value), BoxError> {
        let body = json!({ "v": 1, "records": [{ "scope": scope, "mode": "remove" }] }).to_string();
        let at = unix_secs().saturating_add_signed(offset);
        let url = self.probe.at(PURGE_PATH);
        let host = signed_host(&url);
        let parts = SignedParts { method: "POST", host: &host, path: PURGE_PATH, body: body.as_bytes() };
        let signature = sign(secret, parts, at, &Nonce::from_random(crate::random::system_bytes()));
        let request = self.probe.client.post(url).header(SIGNATURE_HEADER, signature);
        let response = request.body(body).send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status().as_u16();
        Ok((status, serde_json::from_str(&response.text().await?).unwrap_or_default()))
    }

    /// Returns the URL of a zone in Cloudflare's API.
    fn api(&self, zone: &str, path: &str) -> Result<Url, BoxError> {
        let base = self.verify.api.0.trim_end_matches('/');
        let url = web_url::parse(&format!("{base}/zones/{zone}{path}"));
        Ok(url.map_err(|problem| format!("expected the base URL of Cloudflare's API: {problem}"))?)
    }
}

fn check(rule: &'static str, outcome: Outcome) -> Check {
    let (verdict, detail) = outcome.unwrap_or_else(|error| (Verdict::Fail, error.to_string()));
    Check { rule, verdict, detail }
}

/// Returns two values of a request field that a reasonable normalisation does not merge.
fn two_values(field: &str) -> (&'static str, &'static str) {
    match field {
        "accept-language" => ("en", "de"),
        "accept-encoding" => ("gzip", "identity"),
        "accept" => ("text/html", "application/json"),
        _ => ("one", "other"),
    }
}

fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[derive(Deserialize)]
struct ApiResponse<T> {
    success: bool,
    #[serde(default)]
    errors: Vec<Value>,
    result: Option<T>,
}

impl<T> ApiResponse<T> {
    fn why(&self) -> String {
        self.errors.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Deserialize)]
struct ZoneInfo {
    plan: ZonePlan,
}

#[derive(Deserialize)]
struct ZonePlan {
    legacy_id: String,
}

/// Sends a request to Cloudflare's API and parses the response.
async fn send_to_api<T: for<'de> Deserialize<'de>>(
    token: &ApiToken,
    request: reqwest::RequestBuilder,
) -> Result<ApiResponse<T>, BoxError> {
    let response = request
        .header("authorization", token.authorization()?)
        .send()
        .await
        .map_err(reqwest::Error::without_url)?;
    Ok(response.json().await.map_err(reqwest::Error::without_url)?)
}
