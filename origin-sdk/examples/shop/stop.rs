//! The end of a real process on SIGTERM: what it has changed reaches the other processes.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use strata_harness::{Placement, RedisServer};

const WAIT_LIMIT: Duration = Duration::from_secs(20);
const PRODUCT: &str = "/api/products/7";

struct Shop {
    process: Child,
    address: String,
}

impl Shop {
    fn start(redis: &RedisServer, database: &Path) -> Self {
        Self::start_with(redis, database, &[])
    }

    fn start_with(redis: &RedisServer, database: &Path, arguments: &[&OsStr]) -> Self {
        let mut shop = Command::new(env!("CARGO_BIN_EXE_shop"));
        shop.args(["--port", "0", "--redis", &redis.url(), "--database"]).arg(database);
        shop.args(arguments);
        let mut process = shop.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { process, address }
    }

    fn send(&self, method: &str, json: &str) -> String {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        let head = format!("{method} {PRODUCT} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n");
        let body = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{json}", json.len());
        connection.write_all([head, body].concat().as_bytes()).unwrap();
        let mut response = String::new();
        connection.read_to_string(&mut response).unwrap();
        response
    }

    /// Sends SIGTERM.
    fn request_stop(&self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
    }

    /// Waits for the end of the process.
    fn output(self) -> Output {
        self.process.wait_with_output().unwrap()
    }
}

async fn eventually_shows(shop: &Shop, text: &str) {
    let deadline = Instant::now() + WAIT_LIMIT;
    while !shop.send("GET", "").contains(text) {
        assert!(Instant::now() < deadline, "the other process still serves the old price");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One test, because the database takes seconds to generate.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_sends_its_queued_invalidations_or_says_how_many_are_lost() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.db");
    let prepared =
        Command::new(env!("CARGO_BIN_EXE_shop")).arg("--prepare").arg("--database").arg(&database).status();
    assert!(prepared.unwrap().success());
    let program = std::env::var("STRATA_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let mut redis =
        RedisServer::start(Path::new(&program), &[], Placement::CallersGroup, None).await.unwrap();
    let (first, second, third) =
        (Shop::start(&redis, &database), Shop::start(&redis, &database), Shop::start(&redis, &database));

    assert!(!second.send("GET", "").contains("\"price_cents\":990,"));
    redis.freeze();
    assert!(first.send("PUT", r#"{"price_cents": 990}"#).starts_with("HTTP/1.1 200"));
    first.request_stop();
    redis.thaw();
    let ended = first.output();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    eventually_shows(&second, "\"price_cents\":990,").await;

    let queue = folder.path().join("queue");
    let mut killed = Shop::start_with(&redis, &database, &["--queue".as_ref(), queue.as_os_str()]);
    redis.freeze();
    assert!(killed.send("PUT", r#"{"price_cents": 992}"#).starts_with("HTTP/1.1 200"));
    killed.process.kill().unwrap();
    killed.process.wait().unwrap();
    redis.thaw();
    let restarted = Shop::start_with(&redis, &database, &["--queue".as_ref(), queue.as_os_str()]);
    eventually_shows(&second, "\"price_cents\":992,").await;

    redis.kill();
    assert!(second.send("PUT", r#"{"price_cents": 991}"#).starts_with("HTTP/1.1 200"));
    second.request_stop();
    let ended = second.output();
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{log}");
    assert!(
        log.contains("the cache could not be closed in order: ") && log.contains("scopes not sent"),
        "{log}"
    );
    assert!(log.contains("queued invalidations are not sent"), "the log of the cache's end: {log}");
    for idle in [third, restarted] {
        idle.request_stop();
        assert!(idle.output().status.success(), "nothing is queued here");
    }
}
