//! The documented functions that send a purge, in each language.

use std::collections::HashSet;
use std::process::Output;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use libtest_mimic::Trial;
use shared_keys::purge::{CLOCK_WINDOW, PURGE_PATH, SignedParts, verify};
use strata_tests::{Edge, Origin, OriginReply, eventually};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::runtime::Runtime;

/// A program that calls the function of one language, with the site, the mode and the scopes as
/// arguments.
#[derive(Clone, Copy)]
struct Caller {
    language: &'static str,
    command: &'static [&'static str],
}

const CALLERS: [Caller; 4] = [
    Caller { language: "node", command: &["node", "run.mjs"] },
    Caller { language: "python", command: &["python3", "run.py"] },
    Caller { language: "php", command: &["php", "run.php"] },
    Caller { language: "go", command: &["go", "run", "run.go", "purge.go"] },
];

impl Caller {
    async fn call(self, site: &str, scopes: &[&str]) -> Output {
        let (program, arguments) = self.command.split_first().expect("a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args([site, "remove"])
            .args(scopes)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/purge"))
            .env("PURGE_SECRET", Edge::SECRET)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .kill_on_drop(true);
        command.output().await.unwrap_or_else(|error| panic!("{program}: {error}"))
    }
}

pub(crate) fn trials(runtime: &Arc<Runtime>) -> Vec<Trial> {
    let trial = |caller: Caller, name: &str, run: fn(&Runtime, Caller)| {
        let runtime = Arc::clone(runtime);
        Trial::test(format!("purge::{}::{name}", caller.language), move || {
            run(&runtime, caller);
            Ok(())
        })
    };
    let of_caller = |caller| {
        [
            trial(caller, "a_purge_ends_a_stored_page", |runtime, caller| {
                runtime.block_on(a_purge_ends_a_stored_page(caller));
            }),
            trial(caller, "a_purge_is_repeated_until_it_is_accepted", |runtime, caller| {
                runtime.block_on(a_purge_is_repeated_until_it_is_accepted(caller));
            }),
            trial(caller, "a_refused_purge_fails_at_once", |runtime, caller| {
                runtime.block_on(a_refused_purge_fails_at_once(caller));
            }),
        ]
    };
    CALLERS.into_iter().flat_map(of_caller).collect()
}

/// By a tag and by a path, on the real worker.
async fn a_purge_ends_a_stored_page(caller: Caller) {
    let origin = Origin::start(|request| {
        let fields = [("cache-control", "max-age=600"), ("cache-tag", "category:7")];
        OriginReply::ok(&fields, request.number.to_string())
    })
    .await;
    let edge = Edge::start_with(origin.url(), &["--var", "JOURNAL_MAX_LAG_SECS:1"]).await;
    let path = format!("path:{}/shelf", edge.host());
    for (page, scope) in [("/page", "tag:category:7"), ("/shelf/1", &path)] {
        let body = async || edge.get(page).await.text().await.expect("the body arrives");
        let first = body().await;
        let is_stored = async || body().await == body().await;
        eventually("the page is stored", is_stored).await;
        let called = caller.call(edge.url(), &[scope, "tag:other"]).await;
        assert!(called.status.success(), "{called:?}");
        eventually("the page is fetched again", async || body().await != first).await;
    }
}

/// Each attempt needs a nonce of its own, since the worker may have accepted one whose answer was
/// lost.
async fn a_purge_is_repeated_until_it_is_accepted(caller: Caller) {
    let worker = Worker::start(&[None, Some(503), Some(429), Some(200)]).await;
    let called = caller.call(&worker.url, &["tag:a", "tag:b"]).await;
    assert!(called.status.success(), "{called:?}");
    let attempts = worker.attempts();
    let nonces: HashSet<&str> = attempts.iter().map(String::as_str).collect();
    assert_eq!((attempts.len(), nonces.len()), (4, 4), "{attempts:?}");
}

async fn a_refused_purge_fails_at_once(caller: Caller) {
    for status in [401, 413] {
        let worker = Worker::start(&[Some(status)]).await;
        let called = caller.call(&worker.url, &["tag:a"]).await;
        assert!(!called.status.success(), "{status}: {called:?}");
        assert_eq!(worker.attempts().len(), 1, "{status}");
    }
    // Another site's page is no answer to a purge.
    let worker = Worker::start(&[Some(301), Some(200)]).await;
    let called = caller.call(&worker.url, &["tag:a"]).await;
    assert!(!called.status.success(), "a redirect: {called:?}");
}

/// A purge endpoint that answers one request after the other as it is scripted.
struct Worker {
    url: String,
    /// The nonces of the received messages. All have been verified.
    nonces: Arc<Mutex<Vec<String>>>,
}

impl Worker {
    /// Starts it with these statuses. `None` closes the connection without an answer. The last
    /// status answers all further requests.
    async fn start(statuses: &[Option<u16>]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let host = listener.local_addr().expect("a bound listener has an address").to_string();
        let worker = Self { url: format!("http://{host}"), nonces: Arc::default() };
        let (nonces, statuses) = (Arc::clone(&worker.nonces), statuses.to_vec());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = nonces.lock().unwrap_or_else(PoisonError::into_inner).len();
                let status = statuses[number.min(statuses.len() - 1)];
                let nonce = answer(stream, &host, status).await;
                nonces.lock().unwrap_or_else(PoisonError::into_inner).push(nonce);
            }
        });
        worker
    }

    fn attempts(&self) -> Vec<String> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads a request, answers with `status`, and returns the nonce of the signature, or the reason
/// why it does not verify.
async fn answer(mut stream: TcpStream, host: &str, status: Option<u16>) -> String {
    let mut reader = BufReader::new(&mut stream);
    let (mut length, mut signature, mut is_purge) = (0, String::new(), false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.expect("a line");
        is_purge |= line.starts_with("POST /__strata/purge ");
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() { break } else { continue }
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a length"),
            "strata-signature" => value.clone_into(&mut signature),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.expect("the body arrives");
    if let Some(status) = status {
        let head = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nLocation: /login\r\n\r\n");
        let body = if is_purge { r#"{"accepted":2,"seq":1}"# } else { "<p>Log in</p>" };
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let parts = SignedParts { method: "POST", host, path: PURGE_PATH, body: &body };
    match verify(&Edge::secret(), &signature, parts, now, CLOCK_WINDOW, |_| false) {
        Ok(nonce) => nonce.to_string(),
        Err(error) => error.to_string(),
    }
}
