//! The traces of a real process, as a collector receives them by OTLP.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustix::process::{Pid, Signal, kill_process};
use strata_harness::{Placement, RedisServer};

/// The spans that the collector has received.
type Received = Arc<Mutex<Vec<Span>>>;

async fn collector() -> (String, Received) {
    let received = Received::default();
    let store = Arc::clone(&received);
    let receive = async move |body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        store.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().route("/v1/traces", post(receive));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::BoolValue(value) => Some(value.to_string()),
        Value::IntValue(value) => Some(value.to_string()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_a_request_has_its_reads_their_loads_and_the_operations_of_redis() {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::var("STRATA_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let redis = RedisServer::start(Path::new(&program), &[], Placement::CallersGroup, None).await.unwrap();
    let (url, received) = collector().await;
    let mut shop = Command::new(env!("CARGO_BIN_EXE_shop"));
    shop.args(["--port", "0", "--redis", &redis.url(), "--database"]).arg(folder.path().join("shop.db"));
    let mut shop = shop.env("OTEL_EXPORTER_OTLP_ENDPOINT", url).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(shop.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let mut connection =
        TcpStream::connect(first.trim().strip_prefix("listening on http://").unwrap()).unwrap();
    write!(connection, "GET /api/users/4242/profile HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    kill_process(Pid::from_child(&shop), Signal::TERM).unwrap();
    assert!(shop.wait().unwrap().success());

    let spans = received.lock().unwrap().clone();
    let request = spans.iter().find(|span| span.name == "GET /api/users/{id}/profile").unwrap();
    let ids: HashMap<_, _> = spans.iter().map(|span| (&span.span_id, span)).collect();
    let of_trace: Vec<_> = spans.iter().filter(|span| span.trace_id == request.trace_id).collect();
    let find = |name: &str| *of_trace.iter().find(|span| span.name == name).unwrap();
    let parent = |span: &Span| ids[&span.parent_span_id].name.as_str();
    assert_eq!(parent(find("cache.get")), request.name);
    assert_eq!(parent(find("cache.load")), "cache.get");
    assert_eq!(parent(find("cache.store")), "cache.load");
    assert_eq!(attribute(find("cache.get"), "cache.hit").as_deref(), Some("false"));
    assert_eq!(attribute(find("cache.get"), "cache.layer").as_deref(), Some("loader"));
    assert_eq!(attribute(request, "http.response.status_code").as_deref(), Some("200"));
    let operations: Vec<_> = of_trace.iter().filter_map(|span| attribute(span, "cache.operation")).collect();
    assert!(operations.contains(&"claim".to_owned()), "{operations:?}");
    assert!(!format!("{of_trace:?}").contains("4242"), "no span has the key");
}
