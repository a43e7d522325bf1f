//! Requests by which a stranger could make the worker forget, hold or compute much. Each test sends
//! many of them, and then shows that other clients are served as before.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use reqwest::Method;
use shared_keys::purge::PURGE_PATH;
use strata_tests::{Edge, OriginReply, WAIT_LIMIT, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{SHARED, Stack};

/// More than the isolate remembers separately.
const UNSAFE_REQUESTS: usize = 1_100;
/// Requests whose bodies do not end.
const OPEN_BODIES: usize = 150;
/// The bytes of each that arrive: almost a whole message.
const OPEN_BYTES: usize = 900 << 10;

pub(crate) async fn unsafe_requests_do_not_empty_the_store(stack: &Stack) {
    let path = "/costs/unsafe/page";
    stack.origin_answers("/costs/unsafe/", |_| OriginReply::ok(&[SHARED], "x"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let requests = stack.origin_requests(path);
    for first in (0..UNSAFE_REQUESTS).step_by(50) {
        let sent = (first..first + 50)
            .map(|number| stack.edge.request(Method::POST, &format!("/costs/unsafe/{number}")).send());
        for answer in join_all(sent).await {
            assert_eq!(answer.unwrap().status(), 200);
        }
    }
    assert!(stack.get(path).await.is_hit());
    assert_eq!(stack.origin_requests(path), requests);
    // The latest ones are still obeyed.
    let path = format!("/costs/unsafe/{}", UNSAFE_REQUESTS - 1);
    eventually("it is stored", async || stack.get(&path).await.is_hit()).await;
    assert_eq!(stack.edge.request(Method::POST, &path).send().await.unwrap().status(), 200);
    assert!(!stack.get(&path).await.is_hit());
}

/// Sends a purge whose body does not end, with this signature. Returns the connection.
async fn open_purge(stack: &Stack, signature: &str, length: &str, bytes: usize) -> TcpStream {
    let host = stack.edge.host();
    let mut connection = TcpStream::connect(host).await.unwrap();
    let head = format!("POST {PURGE_PATH} HTTP/1.1\r\nHost: {host}\r\n{signature}{length}\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    // A refused request may close the connection before all of it is sent.
    let _ = connection.write_all(&vec![b' '; bytes]).await;
    connection
}

/// Returns the status of the answer, or an empty text if no answer arrives within the time.
async fn status(connection: &mut TcpStream, limit: Duration) -> String {
    let mut answer = [0; 16];
    let _ = tokio::time::timeout(limit, connection.read(&mut answer)).await;
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
}

fn forged(nonce: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    format!("Strata-Signature: v=2,t={now},n={nonce},s={}\r\n", "0".repeat(64))
}

pub(crate) async fn an_unsigned_purge_is_refused_before_its_body_is_read(stack: &Stack) {
    let length = "Content-Length: 1000000\r\n";
    for (signature, length, expected) in [
        ("", length, "401"),
        ("Strata-Signature: x\r\n", length, "401"),
        (&*forged("nonce-of-an-old-purge").replace(",t=", ",t=1"), length, "401"),
        ("", "Transfer-Encoding: chunked\r\n", "401"),
        (&*forged("nonce-of-a-huge-purge"), "Content-Length: 2000000\r\n", "413"),
    ] {
        let mut connection = open_purge(stack, signature, length, 10).await;
        assert_eq!(status(&mut connection, WAIT_LIMIT).await, expected, "{signature}{length}");
    }
}

/// The signature covers the body, so a forged one is found out only at its end.
pub(crate) async fn unfinished_purges_delay_no_real_one_and_end(stack: &Stack) {
    let mut open = Vec::new();
    for number in 0..OPEN_BODIES {
        let signature = forged(&format!("nonce-of-a-slow-purge-{number}"));
        open.push(open_purge(stack, &signature, "Content-Length: 1000000\r\n", OPEN_BYTES).await);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let body =
        format!(r#"{{"v":1,"records":[{{"scope":"tag:costs","mode":"remove"}}]}}{}"#, " ".repeat(900_000));
    let began = Instant::now();
    // A slow body that the worker begins to read later makes this one give way. Its sender retries.
    for attempt in 0.. {
        let nonce = format!("nonce-beside-slow-purges-{attempt}");
        let answer = stack.edge.purge(&Edge::secret(), now, &nonce, &body).await;
        if answer.status() == 200 {
            break;
        }
        assert_eq!(answer.status(), 503);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for connection in &mut open {
        let status = status(connection, WAIT_LIMIT).await;
        assert!(matches!(&*status, "408" | "503"), "{status}");
    }
}

pub(crate) async fn a_url_that_is_too_long_is_refused(stack: &Stack) {
    stack.origin_answers("/costs/long", |_| OriginReply::ok(&[SHARED], "x"));
    let path = format!("/costs/long{}", "/a".repeat(8 << 10));
    for method in [Method::GET, Method::POST] {
        let answer = stack.edge.request(method, &path).send().await.unwrap();
        assert_eq!(answer.status(), 414);
    }
    assert_eq!(stack.origin_requests(&path), 0);
    let path = format!("/costs/long{}", "/a".repeat(7 << 10));
    eventually("it is stored", async || stack.get(&path).await.is_hit()).await;
}
