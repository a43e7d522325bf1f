//! A fake of Cloudflare's purge API, with the routes that the shipper uses and answers in the
//! shapes of the real API.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use origin_sdk::cloudflare::{ApiToken, Plan, Zone};
use serde_json::{Value, json};

/// The identifier of its zone.
pub const CLOUDFLARE_ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";
/// The token that it accepts.
pub const CLOUDFLARE_TOKEN: &str = "a token of the tests alone";

/// The answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudAnswer {
    /// 200: purged.
    Success,
    /// 429, with the seconds to wait.
    RateLimited(u64),
    /// This status, with an HTML page as the network in front of the API sends it.
    ServerError(u16),
    /// 200, and the body reports a partial failure. Nothing counts as purged.
    PartialFailure,
    /// Success after this many milliseconds.
    Slow(u64),
    /// The purge succeeds, and the connection breaks in the middle of the answer.
    CutOff,
    /// 403: the token has no permission to purge.
    Forbidden,
    /// The call is received and never answered.
    Silent,
}

/// A call that the API received.
#[derive(Debug, Clone)]
pub struct CloudCall {
    /// `purge_cache` or `invalidate_cache`.
    pub action: String,
    /// The body.
    pub body: Value,
    /// The time of its arrival.
    pub at: Instant,
    /// The answer that it received.
    pub answer: CloudAnswer,
}

impl CloudCall {
    /// Returns whether the answer reports the whole purge as done.
    #[must_use]
    pub fn was_accepted(&self) -> bool {
        matches!(self.answer, CloudAnswer::Success | CloudAnswer::Slow(_))
    }

    /// Returns the tags of the call.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        let tags = self.body["tags"].as_array().into_iter().flatten();
        tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
    }

    /// Returns whether the call purges the whole zone.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.body["purge_everything"] == true
    }
}

/// A running API with one zone. Stops with the runtime of the test.
#[derive(Clone)]
pub struct FakeCloudflare {
    url: String,
    state: Arc<Mutex<CloudState>>,
}

#[derive(Default)]
struct CloudState {
    answers: VecDeque<CloudAnswer>,
    calls: Vec<CloudCall>,
}

impl FakeCloudflare {
    /// Starts an API that answers every call with success.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(CloudState::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url =
            format!("http://{}/client/v4", listener.local_addr().expect("a bound listener has an address"));
        let app = Router::new()
            .route("/client/v4/zones/{zone}", get(axum::Json(zone_info())))
            .route("/client/v4/zones/{zone}/{action}", post(answer))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, state }
    }

    /// Returns the zone as a service configures it.
    pub fn zone(&self) -> Zone {
        Zone::new(CLOUDFLARE_ZONE, ApiToken::new(CLOUDFLARE_TOKEN)).api(&self.url).plan(Plan::Enterprise)
    }

    /// Returns the base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sets the answers to the next calls, one each. Later calls succeed.
    pub fn answers_next(&self, answers: impl IntoIterator<Item = CloudAnswer>) {
        self.lock().answers = answers.into_iter().collect();
    }

    /// Returns all calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<CloudCall> {
        self.lock().calls.clone()
    }

    /// Returns the tags of each accepted call.
    #[must_use]
    pub fn accepted_tags(&self) -> Vec<Vec<String>> {
        self.calls().iter().filter(|call| call.was_accepted()).map(CloudCall::tags).collect()
    }

    fn lock(&self) -> MutexGuard<'_, CloudState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the description of the zone.
fn zone_info() -> Value {
    let plan = json!({ "id": "94f3b7b768b0458b56d2cac4fe5ec0f9", "name": "Enterprise Website", "legacy_id": "enterprise" });
    let zone = json!({ "id": CLOUDFLARE_ZONE, "name": "shop.example", "plan": plan });
    json!({ "success": true, "errors": [], "messages": [], "result": zone })
}

async fn answer(
    State(state): State<Arc<Mutex<CloudState>>>,
    Path((zone, action)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorised =
        headers.get("authorization").is_some_and(|value| value == &format!("Bearer {CLOUDFLARE_TOKEN}"));
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let operations = body["tags"].as_array().map_or(usize::from(body["purge_everything"] == true), Vec::len);
    let answer = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match (zone == CLOUDFLARE_ZONE && authorised, operations) {
            (false, _) => CloudAnswer::Forbidden,
            // The limit of the real API.
            (true, 1..=100) => state.answers.pop_front().unwrap_or(CloudAnswer::Success),
            (true, _) => CloudAnswer::ServerError(400),
        };
        state.calls.push(CloudCall { action, body, at: Instant::now(), answer });
        answer
    };
    render(answer).await
}

async fn render(answer: CloudAnswer) -> Response {
    match answer {
        CloudAnswer::Success => success(),
        CloudAnswer::RateLimited(secs) => {
            let headers =
                [("retry-after", secs.to_string()), ("ratelimit", format!("\"purge\";r=0;t={secs}"))];
            let error = refused(&[(971, "Please wait and consider throttling your request speed")]);
            (StatusCode::TOO_MANY_REQUESTS, headers, error).into_response()
        }
        CloudAnswer::ServerError(status) => {
            let status = StatusCode::from_u16(status).expect("a status");
            (status, "<html><head><title>error code</title></head></html>").into_response()
        }
        CloudAnswer::PartialFailure => {
            let errors = [
                (1100, "Tag exceeds maximum length of 1024 characters: …"),
                (1016, "One or more cache purge errors"),
            ];
            (StatusCode::OK, refused(&errors)).into_response()
        }
        CloudAnswer::Slow(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            success()
        }
        CloudAnswer::CutOff => {
            let half =
                futures_util::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{\"success\":true,"))]);
            // The body ends before the declared length, so the server closes the connection.
            ([("content-length", "400")], Body::from_stream(half)).into_response()
        }
        CloudAnswer::Forbidden => {
            (StatusCode::FORBIDDEN, refused(&[(10000, "Authentication error")])).into_response()
        }
        CloudAnswer::Silent => std::future::pending().await,
    }
}

fn success() -> Response {
    let body = json!({ "success": true, "errors": [], "messages": [], "result": { "id": CLOUDFLARE_ZONE } });
    axum::Json(body).into_response()
}

fn refused(errors: &[(u32, &str)]) -> axum::Json<Value> {
    let errors: Vec<_> =
        errors.iter().map(|(code, message)| json!({ "code": code, "message": message })).collect();
    axum::Json(json!({ "success": false, "errors": errors, "messages": [], "result": null }))
}
