//! The checks, in the order in which one that fails explains the next.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use shared_keys::purge::{CLOCK_WINDOW, Nonce, PURGE_PATH, SIGNATURE_HEADER, Secret, SignedParts, sign};

use super::probe::{Probe, Seen};
use super::{Check, Verdict, Verify};
use crate::error::BoxError;
use crate::shipping::{ApiToken, Plan};

/// How often a page is asked for until it must be a hit.
const TRIES: u32 = 10;
/// What the promise allows on top of the lag.
const SLACK: Duration = Duration::from_secs(5);
/// How long a zone's purge may take.
const ZONE_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A check's own outcome; an error is a failed one.
type Outcome = Result<(Verdict, String), BoxError>;

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
    pub(super) async fn run(&self) -> Vec<Check> {
        vec![
            check("the worker answers", self.worker_answers().await),
            check("the secret matches", self.secret_matches().await),
            check("the clocks are close, and old messages are refused", self.clocks_fit().await),
            check("a page is stored, and hit twice in one data centre", self.page_is_hit().await),
            check("variants stay apart", self.variants_stay_apart().await),
            check("a purge by the journal is seen within the bound", self.journal_purge_is_seen().await),
            check("a zone purge by tag reaches what the worker stores", self.zone_purge_reaches_entries().await),
            check("the zone's plan has the limits that services are told", self.plan_has_limits().await),
        ]
    }

    async fn worker_answers(&self) -> Outcome {
        let seen = self.probe.get(&self.probe.at("/__strata/health"), &[]).await?;
        match serde_json::from_str::<Value>(&seen.body) {
            Ok(body) if seen.status.is_success() && body["ok"] == true => pass("/__strata/health says so"),
            _ => fail(format!(
                "expected {{\"ok\":true}} from /__strata/health, got {}: is the worker routed there?",
                seen.status
            )),
        }
    }

    async fn secret_matches(&self) -> Outcome {
        let Some(secret) = &self.verify.secret else { return not_checkable("no secret was given") };
        // Nothing carries this tag.
        let scope = format!("tag:strata-verify-{}", crate::random::process_id());
        match self.purge(secret, &scope, 0).await? {
            (200, answer) if answer["accepted"] == 1 => pass("the worker took a purge that was signed with it"),
            (status, answer) => fail(format!("a signed purge got {status}: {}", answer["message"])),
        }
    }

    async fn clocks_fit(&self) -> Outcome {
        let Some(secret) = &self.verify.secret else { return not_checkable("no secret was given") };
        let window = i64::try_from(CLOCK_WINDOW.as_secs())?;
        let half = window / 2;
        // If both are taken, the clocks are at most half a window apart.
        for offset in [-half, half] {
            match self.purge(secret, "tag:strata-verify", offset).await? {
                (200, _) => {}
                (401, answer) if answer["error"] == "outside-clock-window" => {
                    return fail(format!("a message {offset} s from now was refused: set this machine's clock"));
                }
                (status, answer) => return fail(format!("a signed purge got {status}: {}", answer["message"])),
            }
        }
        let too_old = window + half + 1;
        match self.purge(secret, "tag:strata-verify", -too_old).await? {
            (401, answer) if answer["error"] == "outside-clock-window" => {
                pass(format!("less than {half} s apart, of {window} allowed; a message {too_old} s old was refused"))
            }
            (status, answer) => fail(format!("a message {too_old} s old got {status}: {answer}")),
        }
    }

    async fn page_is_hit(&self) -> Outcome {
        let page = self.probe.fresh_page();
        let first = self.probe.until_hit(&page, &[], TRIES).await?;
        if !first.is_hit() {
            return fail(format!(
                "after {TRIES} requests still {}: give the URL of a page that may be stored",
                first.shown()
            ));
        }
        // Requests can end at several data centres, each of which stores it for itself.
        for _ in 0..TRIES {
            let again = self.probe.until_hit(&page, &[], TRIES).await?;
            if again.is_hit() && again.colo == first.colo {
                return pass(match &first.colo {
                    Some(colo) => format!("in {colo}: {}", again.shown()),
                    None => format!("no CF-Ray, so this is one runtime: {}", again.shown()),
                });
            }
        }
        fail(format!("it was hit in {:?} once, and not again", first.colo.unwrap_or_default()))
    }

    async fn variants_stay_apart(&self) -> Outcome {
        let page = self.probe.fresh_page();
        let vary = self.probe.get(&page, &[]).await?.vary;
        let Some(field) = vary.first().filter(|field| *field != "*") else {
            return not_checkable("the page has no Vary: give the URL of one that has");
        };
        let (one, other) = two_values(field);
        let page = self.probe.fresh_page();
        let stored = self.probe.until_hit(&page, &[(field, one)], TRIES).await?;
        if !stored.is_hit() {
            return not_checkable(format!("the page is not stored: {}", stored.shown()));
        }
        let seen = self.probe.get(&page, &[(field, other)]).await?;
        if seen.is_hit() {
            return fail(format!("with {field}: {other} the variant of {one} was served: {}", seen.shown()));
        }
        let same = |seen: &Seen| seen.etag == stored.etag && seen.body == stored.body;
        let again = self.probe.until_hit(&page, &[(field, one)], TRIES).await?;
        if !again.is_hit() || !same(&again) {
            return fail(format!("once {other} was stored, {one} got {}", again.shown()));
        }
        pass(format!("{field}: {one} and {other} were stored each for itself"))
    }

    async fn journal_purge_is_seen(&self) -> Outcome {
        let Some(secret) = &self.verify.secret else { return not_checkable("no secret was given") };
        let page = self.probe.fresh_page();
        let stored = self.probe.until_hit(&page, &[], TRIES).await?;
        if !stored.is_hit() {
            return not_checkable(format!("the page is not stored: {}", stored.shown()));
        }
        let scope = self.probe.path_scope();
        let (status, answer) = self.purge(secret, &scope, 0).await?;
        if status != 200 {
            return fail(format!("the purge got {status}: {}", answer["message"]));
        }
        let bound = self.verify.max_lag + SLACK;
        match self.until_missed(&page, bound).await? {
            Some(took) => pass(format!("{scope} after {:.1} s, of {} allowed", took.as_secs_f64(), bound.as_secs())),
            None => fail(format!("{scope} was still served {} s after its purge", bound.as_secs())),
        }
    }

    async fn zone_purge_reaches_entries(&self) -> Outcome {
        let page = self.probe.fresh_page();
        let stored = self.probe.until_hit(&page, &[], TRIES).await?;
        if stored.colo.is_none() {
            return not_checkable("needs a real zone, and there is no CF-Ray in the answers");
        }
        let Some((id, token)) = &self.verify.zone else { return not_checkable("no zone and token were given") };
        let Some(tag) = &self.verify.tag else { return not_checkable("no tag of the page was given") };
        if !stored.is_hit() {
            return not_checkable(format!("the page is not stored: {}", stored.shown()));
        }
        let purge = self.probe.client.post(self.api(id, "/purge_cache")?).json(&json!({ "tags": [tag] }));
        let answer: ApiAnswer<Value> = answer_of(token, purge).await?;
        if !answer.success {
            return fail(format!("the zone refused the purge: {}", answer.why()));
        }
        match self.until_missed(&page, ZONE_PATIENCE).await? {
            Some(took) => pass(format!("{tag} after {:.1} s", took.as_secs_f64())),
            None => fail(format!(
                "{tag} was still served {} s after the zone's purge: the journal alone purges, unless the page has another tag",
                ZONE_PATIENCE.as_secs()
            )),
        }
    }

    async fn plan_has_limits(&self) -> Outcome {
        let Some((id, token)) = &self.verify.zone else { return not_checkable("no zone and token were given") };
        let answer: ApiAnswer<ZoneInfo> = answer_of(token, self.probe.client.get(self.api(id, "")?)).await?;
        let Some(zone) = answer.result.as_ref().filter(|_| answer.success) else {
            return fail(format!("the API refused to show the zone: {}", answer.why()));
        };
        let has = &zone.plan.legacy_id;
        match (has.parse::<Plan>(), self.verify.plan) {
            (Err(_), _) => not_checkable(format!("the zone's plan is {has}, whose limits are not known here")),
            (Ok(has), told) if told.rate().per_second > has.rate().per_second => fail(format!(
                "services are told {told:?}, and the zone has {has:?}: they would run into 429 again and again"
            )),
            (Ok(has), told) => pass(format!("services are told {told:?}, and the zone has {has:?}")),
        }
    }

    /// How long it took until the page was not answered from the store any more; `None` if it always was.
    async fn until_missed(&self, page: &Url, patience: Duration) -> Result<Option<Duration>, BoxError> {
        let since = Instant::now();
        loop {
            let asked_at = since.elapsed();
            if !self.probe.get(page, &[]).await?.is_hit() {
                return Ok(Some(asked_at));
            }
            if asked_at > patience {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The worker's answer to a purge that is signed `offset` seconds from now.
    async fn purge(&self, secret: &Secret, scope: &str, offset: i64) -> Result<(u16, Value), BoxError> {
        let body = json!({ "v": 1, "records": [{ "scope": scope, "mode": "remove" }] }).to_string();
        let at = unix_secs().saturating_add_signed(offset);
        let parts = SignedParts { method: "POST", path: PURGE_PATH, body: body.as_bytes() };
        let signature = sign(secret, parts, at, &Nonce::from_random(crate::random::system_bytes()));
        let request = self.probe.client.post(self.probe.at(PURGE_PATH)).header(SIGNATURE_HEADER, signature);
        let response = request.body(body).send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status().as_u16();
        Ok((status, serde_json::from_str(&response.text().await?).unwrap_or_default()))
    }

    fn api(&self, zone: &str, path: &str) -> Result<Url, BoxError> {
        let base = self.verify.api.trim_end_matches('/');
        Ok(Url::parse(&format!("{base}/zones/{zone}{path}"))?)
    }
}

fn check(rule: &'static str, outcome: Outcome) -> Check {
    let (verdict, detail) = outcome.unwrap_or_else(|error| (Verdict::Fail, error.to_string()));
    Check { rule, verdict, detail }
}

/// Two values of a request field that no sensible normalisation takes for one.
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
struct ApiAnswer<T> {
    success: bool,
    #[serde(default)]
    errors: Vec<Value>,
    result: Option<T>,
}

impl<T> ApiAnswer<T> {
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

async fn answer_of<T: for<'de> Deserialize<'de>>(
    token: &ApiToken,
    request: reqwest::RequestBuilder,
) -> Result<ApiAnswer<T>, BoxError> {
    let response =
        request.header("authorization", token.authorization()?).send().await.map_err(reqwest::Error::without_url)?;
    Ok(response.json().await.map_err(reqwest::Error::without_url)?)
}
