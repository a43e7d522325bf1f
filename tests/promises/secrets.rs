//! Passwords, tokens and secrets appear in no error, `Debug` output or log.

use std::error::Error;
use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use origin_sdk::admin::{Admin, edge_copy};
use origin_sdk::cloudflare::{ApiToken, Zone};
use origin_sdk::verify::Verify;
use origin_sdk::{Cache, Secret, Topology};
use strata_tests::{CLOUDFLARE_ZONE, Origin, OriginReply, RedisServer, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The password in every setting. Its letters are in no message.
const PASSWORD: &str = "hunter2-hunter2-hunter2";

/// URLs that hold the password, well-formed and not.
const REDIS_URLS: &[&str] = &[
    "redis://:hunter2@127.0.0.1:1",
    "redis://user:hunter2@127.0.0.1:1/2",
    "redis://hunter2@127.0.0.1:1",
    "redis://:p@ss-hunter2@127.0.0.1:1",
    "redis://:hunter2@ss@127.0.0.1:1",
    "redis://:p/hunter2@127.0.0.1:1",
    "redis://user:1/hunter2@127.0.0.1:1",
    "redis://user:1/?hunter2@127.0.0.1:1",
    "redis://user:p#hunter2@127.0.0.1:1",
    "redis://user:p?hunter2@127.0.0.1:1",
    "redis://:hunter2@127.0.0.1:port",
    "redis://:hunter2@",
    "redis://:hunter2",
    "redis://user:hunter2@:1",
    "redis://127.0.0.1:1?password=hunter2",
    "redis://127.0.0.1:1/hunter2",
    "redis://127.0.0.1:1/?protocol=hunter2",
    "redis://0.0.0.0:1/hunter2",
    "redis//:hunter2@127.0.0.1:1",
    "redis:/:hunter2@127.0.0.1:1",
    "redis:hunter2@127.0.0.1:1",
    "rediss://user:hunter2@127.0.0.1:1",
    "rediss://user:hunter2@127.0.0.1:1/#hunter2",
    "http://user:hunter2@127.0.0.1:1",
    "hunter2://127.0.0.1:1",
    "redis-sentinel://:hunter2@127.0.0.1:1",
    " redis://:hunter2@127.0.0.1:1",
    "default:hunter2@127.0.0.1:1",
    ":hunter2@127.0.0.1:1",
    "hunter2@127.0.0.1",
    "hunter2",
    "unix:///run/redis.sock?pass=hunter2",
    "redis+unix:///run/redis.sock?user=u&pass=hunter2",
    "unix:///run/redis.sock&pass=hunter2",
    "unix:///run/redis.sock?db=hunter2",
    "unix://:hunter2@/run/redis.sock",
    "unix:hunter2",
];

const HTTP_URLS: &[&str] = &[
    "https://user:hunter2@127.0.0.1:1",
    "http://user:hunter2@127.0.0.1:1/path?token=hunter2",
    "http://hunter2@127.0.0.1:1",
    "http://user:1/hunter2@127.0.0.1:1/",
    "http://127.0.0.1:1/?token=hunter2#hunter2",
    "ftp://user:hunter2@127.0.0.1:1",
    "hunter2://127.0.0.1:1",
    "http//user:hunter2@127.0.0.1:1",
    "user:hunter2@127.0.0.1:1",
    "http://user:hunter2@127.0.0.1:port/",
    "http://user:hunter2@",
    "http://user:hunter2/@127.0.0.1:1/",
    "hunter2",
];

#[track_caller]
fn assert_hidden(text: &str, of: &str) {
    assert!(!text.contains(PASSWORD), "{of:?} shows the password: {text}");
}

/// Checks an error in both forms, with all its causes.
#[track_caller]
fn assert_error_hides(error: &(dyn Error + 'static), of: &str) {
    assert_hidden(&format!("{error:?}"), of);
    let mut cause = Some(error);
    while let Some(error) = cause {
        assert_hidden(&error.to_string(), of);
        cause = error.source();
    }
}

#[track_caller]
fn assert_debug_hides(value: &impl Debug, of: &str) {
    assert_hidden(&format!("{value:?}"), of);
    assert_hidden(&format!("{value:#?}"), of);
}

/// The lines that were logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn start(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        tracing::subscriber::set_default(subscriber.with_writer(move || log.clone()).finish())
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_redis_url_of_any_form_shows_no_password() {
    let log = Log::default();
    let _logging = log.start();
    for &url in REDIS_URLS {
        let topology = Topology::Standalone { url: url.to_owned() };
        assert_debug_hides(&topology, url);
        let builder = Cache::builder("test").redis(url).connect_timeout(Duration::from_millis(50));
        assert_debug_hides(&builder, url);
        match builder.build().await {
            Ok(cache) => assert_debug_hides(&cache, url),
            Err(error) => assert_error_hides(&error, url),
        }
        let error = match Admin::connect(&topology, Some("test")).await {
            Ok(admin) => admin.ship_status().await.unwrap_err(),
            Err(error) => error,
        };
        assert_error_hides(&error, url);
        assert_hidden(&log.text(), url);
    }
    assert!(log.text().contains("starting without the journal"), "a connection was attempted");
}

#[tokio::test]
async fn a_url_error_names_the_wrong_part_and_how_to_mend_it() {
    for (url, part) in [
        ("default:hunter2@redis.internal:6379", "`redis://`"),
        ("redis//:hunter2@host", "`redis://`"),
        ("http://user:hunter2@host", "scheme"),
        ("redis://:hunter2@host:port", "port"),
        ("redis://:hunter2@", "host"),
        ("redis://host/hunter2", "database"),
        ("redis://host/?protocol=hunter2", "protocol"),
        ("redis://user:1/?hunter2@host", "%40"),
        ("unix://:hunter2@/run/redis.sock", "path"),
    ] {
        let error = Cache::builder("test").redis(url).build().await.unwrap_err().to_string();
        assert!(error.starts_with("redis: expected a URL") && error.contains(part), "{url}: {error}");
        assert_hidden(&error, url);
    }
}

/// A proxy or an old server quotes the arguments of a command that it does not know, and the
/// password is an argument of `AUTH` and `HELLO`.
#[tokio::test]
async fn a_server_that_quotes_the_password_does_not_bring_it_into_the_log() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while client.read(&mut buffer).await.is_ok_and(|length| length > 0) {
                    let answer =
                        "-ERR unknown command 'AUTH', with args beginning with: 'user' 'hunter2' \r\n";
                    if client.write_all(answer.repeat(4).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let log = Log::default();
    let _logging = log.start();
    for url in ["redis://user:hunter2@127.0.0.1:PORT", "redis://:hunt%65r2@127.0.0.1:PORT/?protocol=resp3"] {
        let topology = Topology::Standalone { url: url.replace("PORT", &port.to_string()) };
        let admin = Admin::connect(&topology, Some("test")).await.unwrap();
        let error = admin.ship_status().await.unwrap_err();
        assert_error_hides(&error, url);
        Cache::builder("test").topology(topology).build().await.unwrap();
    }
    assert!(log.text().contains("starting without the journal"));
    assert_hidden(&log.text(), "the log");
}

#[tokio::test]
async fn a_worker_or_zone_url_of_any_form_shows_no_password() {
    let redis = RedisServer::start().await;
    let log = Log::default();
    let _logging = log.start();
    for (number, &url) in HTTP_URLS.iter().enumerate() {
        // Each cache has a journal and a shipping lease of its own.
        let cache = |what| Cache::builder(&format!("{what}{number}")).redis(redis.url());
        let zone = || Zone::new(CLOUDFLARE_ZONE, ApiToken::new(PASSWORD)).api(url);
        assert_debug_hides(&zone(), url);
        let secret = || Secret::new(PASSWORD.repeat(5)).unwrap();
        for builder in [cache("edge").edge(url, secret()), cache("zone").zone(zone())] {
            assert_debug_hides(&builder, url);
            match builder.build().await {
                Ok(cache) => {
                    eventually("a call has failed", async || cache.stats().ship_errors > 0).await;
                    for status in cache.ship_status().await.unwrap() {
                        assert_debug_hides(&status, url);
                    }
                }
                Err(error) => assert_error_hides(&error, url),
            }
        }
        let verify =
            || Verify::url(url).api(url).secret(secret()).zone(CLOUDFLARE_ZONE, ApiToken::new(PASSWORD));
        assert_debug_hides(&verify(), url);
        match verify().run().await {
            Ok(checks) => assert_debug_hides(&checks, url),
            Err(error) => assert_error_hides(&*error, url),
        }
        if let Err(error) = edge_copy(url).await {
            assert_error_hides(&error, url);
        }
        assert_hidden(&log.text(), url);
    }
}

/// An API token in the place of the zone's ID is a usual mistake.
#[tokio::test]
async fn a_token_in_the_place_of_another_setting_is_not_quoted() {
    let zone = Zone::new(PASSWORD, ApiToken::new("a token"));
    assert_debug_hides(&zone, "id");
    let error = Cache::builder("test").zone(zone).build().await.unwrap_err();
    assert_error_hides(&error, "id");
    assert_error_hides(&PASSWORD.parse::<origin_sdk::cloudflare::Plan>().unwrap_err(), "plan");
}

/// A proxy in front of the API may answer with a page that shows the request's fields.
#[tokio::test]
async fn an_answer_that_echoes_the_token_does_not_bring_it_into_the_status() {
    let redis = RedisServer::start().await;
    let echo = Origin::start(|request| OriginReply {
        status: 403,
        headers: Vec::new(),
        body: format!("refused {}", request.headers["authorization"].to_str().unwrap()),
    });
    let echo = echo.await;
    let log = Log::default();
    let _logging = log.start();
    let zone = Zone::new(CLOUDFLARE_ZONE, ApiToken::new(PASSWORD)).api(echo.url());
    let cache = redis.cache().zone(zone).build().await.unwrap();
    let shown = async || {
        let status = cache.ship_status().await.unwrap();
        status.iter().find_map(|target| target.last_error.clone())
    };
    eventually("the error is shown", async || shown().await.is_some()).await;
    let error = shown().await.unwrap();
    assert!(error.contains("refused Bearer"), "the rest of the answer is shown: {error}");
    assert_hidden(&error, "the answer");
    assert_hidden(&log.text(), "the log");
}
