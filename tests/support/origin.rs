//! An origin server behind the worker. It records its requests and answers by a script of the test.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::StreamExt;

/// A request that the origin received.
#[derive(Debug, Clone)]
pub struct OriginRequest {
    /// The method.
    pub method: Method,
    /// The path and query.
    pub target: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The number of requests before it.
    pub number: usize,
}

/// The answer of the origin.
#[derive(Debug, Clone)]
pub struct OriginReply {
    /// The status code.
    pub status: u16,
    /// The header fields, sent in Latin-1.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl OriginReply {
    /// Returns a 200 with these header fields and this body.
    #[must_use]
    pub fn ok(headers: &[(&'static str, &str)], body: impl Into<String>) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { status: 200, headers, body: body.into() }
    }
}

/// The sender of the rest of a body. Each message is a chunk, an error aborts the body, and
/// dropping the sender ends it.
pub type Rest = tokio::sync::mpsc::UnboundedSender<io::Result<Bytes>>;

type Script = dyn Fn(&OriginRequest) -> OriginReply + Send + Sync;

/// An HTTP server that follows a script. Stops with the runtime of the test.
#[derive(Clone)]
pub struct Origin {
    url: String,
    state: Arc<OriginState>,
}

struct OriginState {
    script: Mutex<Arc<Script>>,
    requests: Mutex<Vec<OriginRequest>>,
    rests: Mutex<HashMap<String, tokio::sync::mpsc::UnboundedReceiver<io::Result<Bytes>>>>,
    uploads: Mutex<HashMap<String, String>>,
}

impl Origin {
    /// Starts an origin that answers every request by `script`.
    pub async fn start(script: impl Fn(&OriginRequest) -> OriginReply + Send + Sync + 'static) -> Self {
        let state = Arc::new(OriginState {
            script: Mutex::new(Arc::new(script)),
            requests: Mutex::default(),
            rests: Mutex::default(),
            uploads: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let app = Router::new().route("/websocket/echo", any(echo)).route("/uploads/{name}", any(upload));
        let app = app.fallback(answer).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, state }
    }

    /// Returns the base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Replaces the script.
    pub fn follow(&self, script: impl Fn(&OriginRequest) -> OriginReply + Send + Sync + 'static) {
        *self.state.script.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(script);
    }

    /// Continues the body of the next answer to `target`, after the script's own part, with the
    /// chunks that the returned sender receives.
    #[must_use]
    pub fn body_goes_on(&self, target: &str) -> Rest {
        let (send, receive) = tokio::sync::mpsc::unbounded_channel();
        self.state.rests.lock().unwrap_or_else(PoisonError::into_inner).insert(target.to_owned(), receive);
        send
    }

    /// Returns the requests whose path and query are `target`, in their order.
    #[must_use]
    pub fn requests(&self, target: &str) -> Vec<OriginRequest> {
        let requests = self.state.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|request| request.target == target).cloned().collect()
    }

    /// Returns the received part of the body of a request for `/uploads/{name}`. The origin answers
    /// such a request with 200 once its body has ended.
    #[must_use]
    pub fn uploaded(&self, name: &str) -> String {
        let uploads = self.state.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.get(name).cloned().unwrap_or_default()
    }
}

/// Echoes each text message.
async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            if let Message::Text(_) = message
                && socket.send(message).await.is_err()
            {
                return;
            }
        }
    })
}

async fn upload(State(state): State<Arc<OriginState>>, Path(name): Path<String>, body: Body) {
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        let mut uploads = state.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.entry(name.clone()).or_default().push_str(&String::from_utf8_lossy(&piece));
    }
}

async fn answer(
    State(state): State<Arc<OriginState>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    _body: Bytes,
) -> Response {
    let request = {
        let mut requests = state.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let target = uri.path_and_query().map_or_else(String::new, ToString::to_string);
        let request = OriginRequest { method, target, headers, number: requests.len() };
        requests.push(request.clone());
        request
    };
    let script = Arc::clone(&state.script.lock().unwrap_or_else(PoisonError::into_inner));
    let reply = script(&request);
    let rest = state.rests.lock().unwrap_or_else(PoisonError::into_inner).remove(&request.target);
    let mut response = match rest {
        None => reply.body.into_response(),
        Some(mut rest) => {
            let rest = futures_util::stream::poll_fn(move |context| rest.poll_recv(context));
            let first = futures_util::stream::once(std::future::ready(Ok(reply.body.into())));
            Body::from_stream(first.chain(rest)).into_response()
        }
    };
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("a status code");
    response.headers_mut().remove("content-type");
    for (name, value) in reply.headers {
        response.headers_mut().append(name, latin_1(&value));
    }
    response
}

fn latin_1(value: &str) -> HeaderValue {
    let bytes: Vec<u8> =
        value.chars().map(|char| u8::try_from(char).expect("a character of Latin-1")).collect();
    HeaderValue::from_bytes(&bytes).expect("a header value")
}
