//! Tests of the `cachectl` binary against a real Redis.

mod command;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use command::{CACHECTL, bare};
use origin_sdk::{Cache, Delivery, Lifetime, Namespace, Position, Scope, Tag};
use serde_json::Value;
use strata_tests::{Database, FakeWorker, Item, RedisServer, eventually, worker_secret};

const LIFETIME: Lifetime =
    Lifetime::fresh(Duration::from_secs(600)).stale_while_revalidate(Duration::from_secs(60));
const KEY: &str = "test:v1:{item:1}";

/// The exit code and output of one run.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }
}

fn finish(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

fn cachectl(redis: &RedisServer, arguments: &[&str]) -> Run {
    finish(bare(CACHECTL).args(["--redis", &redis.url()]).args(arguments))
}

/// Starts Redis and a process of the fleet that has cached item 1 before the database was updated.
async fn fleet() -> (RedisServer, Cache, Namespace<Item, u64>, Database) {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let cache = redis.cache().build().await.unwrap();
    let items = cache.namespace(LIFETIME).build();
    let load = {
        let database = database.clone();
        move |_, load: origin_sdk::LoadContext| async move {
            load.tag(Tag::new("shelf:1").unwrap());
            load.tag(Tag::new("colour:red").unwrap());
            Ok(database.read(1))
        }
    };
    items.get_or_load(&Item { id: 1 }, load).await.unwrap();
    database.write(1, 1);
    (redis, cache, items, database)
}

async fn read(items: &Namespace<Item, u64>, database: &Database) -> u64 {
    *items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_any_scope_that_covers_an_entry_reaches_the_fleet() {
    for what in [
        &["key", KEY][..],
        &["tag", "shelf:1"],
        &["tag", "shelf:1", "colour:red"],
        &["prefix", "test:v1:"],
        &["all"],
    ] {
        let (redis, _cache, items, database) = fleet().await;
        assert_eq!(read(&items, &database).await, 0, "it has not been purged");
        let run = cachectl(&redis, &[&["purge"], what].concat());
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{what:?}");
        eventually("the process follows", async || read(&items, &database).await == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_reports_the_position_of_its_record() {
    let (redis, cache, ..) = fleet().await;
    let report = cachectl(&redis, &["--json", "purge", "--expire", "path", "shop.example/api"]).json();
    assert_eq!((&report["mode"], &report["scope"]), (&"expire".into(), &"path:shop.example/api".into()));
    let position: Position = report["position"].as_str().unwrap().parse().unwrap();
    assert!(cache.invalidate([Scope::All]).await.position > Some(position));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_may_ask_for_a_refill() {
    let (redis, ..) = fleet().await;
    let report = cachectl(&redis, &["--json", "purge", "all"]).json();
    assert_eq!(report["refill"], false);
    let record = || cachectl(&redis, &["journal", "tail", "-n", "1"]).stdout;
    assert!(!record().contains("__strata_refill"), "{}", record());
    let report = cachectl(&redis, &["--json", "purge", "--refill", "tag", "a"]).json();
    assert_eq!((&report["scope"], &report["refill"]), (&"tag:a".into(), &true.into()));
    assert!(record().contains("tag:a") && record().contains("tag:__strata_refill"), "{}", record());
    let run = cachectl(&redis, &["purge", "all", "--refill", "--dry-run"]);
    assert_eq!(run.stdout, "would append to test's journal: remove all, with a refill\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_appends_nothing() {
    let (redis, ..) = fleet().await;
    let before = cachectl(&redis, &["--json", "journal", "tail"]).stdout;
    let run = cachectl(&redis, &["purge", "all", "--dry-run"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "would append to test's journal: remove all\n"));
    assert_eq!(cachectl(&redis, &["--json", "journal", "tail"]).stdout, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_invalidated_entries() {
    let (redis, cache, ..) = fleet().await;
    cache.invalidate([Tag::new("shelf:1").unwrap()]).await;
    let swept = cachectl(&redis, &["--json", "sweep"]).json();
    assert_eq!((&swept["dead"], &swept["unlinked"]), (&1.into(), &1.into()));
    assert!(!redis.run::<bool>(&["EXISTS", KEY]).await);
    let run = cachectl(&redis, &["--app", "shpo", "sweep"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("expected shpo's journal"), "{}", run.stderr);
    assert!(!redis.run::<bool>(&["EXISTS", "shpo:{journal}:feed"]).await, "a sweep creates no journal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_purge_ends_once_the_edge_has_confirmed() {
    let (redis, worker) = (RedisServer::start().await, FakeWorker::start().await);
    let _cache = redis.cache().edge(worker.url(), worker_secret()).build().await.unwrap();
    let run = cachectl(&redis, &["--app", "test", "purge", "tag", "a", "--wait"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let is_shipped =
        |tag: &str| worker.accepted().iter().any(|record| record.scope == Scope::Tag(Tag::new(tag).unwrap()));
    assert!(is_shipped("a"));
    worker.set_down(true);
    let run = cachectl(&redis, &["purge", "tag", "b", "--wait", "--timeout", "1"]);
    assert_eq!(run.code, 4);
    assert!(
        run.stdout.contains("worker has not confirmed it") && run.stdout.contains("503"),
        "{}",
        run.stdout
    );
    worker.set_down(false);
    eventually("the purge is shipped later", async || is_shipped("b")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inspection_shows_the_entry_and_the_records_that_cover_it() {
    let (redis, cache, ..) = fleet().await;
    let run = cachectl(&redis, &["--json", "inspect", KEY]);
    let report = &run.json()["redis"];
    assert_eq!((run.code, &report["verdict"]), (0, &"fresh".into()));
    assert_eq!(
        (&report["entry"]["fresh_ms"], &report["entry"]["stale_while_revalidate_ms"]),
        (&600_000.into(), &60_000.into())
    );
    let scopes: Vec<_> = report["scopes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(scopes.contains(&"tag:shelf:1") && scopes.contains(&format!("key:{KEY}").as_str()), "{scopes:?}");

    let position = cache.expire([Tag::new("shelf:1").unwrap()]).await.position.unwrap();
    let run = cachectl(&redis, &["--json", "inspect", KEY]);
    let report = &run.json()["redis"];
    assert_eq!((run.code, &report["verdict"]), (0, &"expired".into()));
    let covering: Vec<_> =
        report["records"].as_array().unwrap().iter().filter(|record| record["covers"] == true).collect();
    assert_eq!(covering.len(), 1, "{covering:?}");
    assert_eq!(covering[0]["position"], position.to_string());

    cachectl(&redis, &["purge", "tag", "shelf:1", "colour:blue"]);
    assert_eq!(cachectl(&redis, &["inspect", KEY]).code, 0, "it has only one of the tags");
    cachectl(&redis, &["purge", "tag", "shelf:1", "colour:red"]);
    let run = cachectl(&redis, &["inspect", KEY]);
    assert_eq!(run.code, 3);
    assert!(
        run.stdout.starts_with(&format!("{KEY}: removed\n")) && run.stdout.contains(": covers it"),
        "{}",
        run.stdout
    );
    let run = cachectl(&redis, &["--json", "inspect", "test:v1:{item:2}"]);
    assert_eq!((run.code, &run.json()["redis"]["verdict"]), (3, &"absent".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_is_in_the_order_of_the_journal() {
    let (redis, cache, ..) = fleet().await;
    for n in 0..5 {
        cache.invalidate([Tag::new(&format!("t:{n}")).unwrap()]).await;
    }
    let run = cachectl(&redis, &["--json", "journal", "tail", "-n", "3"]);
    let lines: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let scopes: Vec<_> = lines.iter().map(|line| line["scopes"][0].as_str().unwrap()).collect();
    assert_eq!(scopes, ["tag:t:2", "tag:t:3", "tag:t:4"]);
    assert!(cachectl(&redis, &["journal", "tail", "-n", "1"]).stdout.trim_end().ends_with("remove tag:t:4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_tail_continues_with_new_records() {
    let (redis, cache, ..) = fleet().await;
    let mut command = bare(CACHECTL);
    command.args(["--redis", &redis.url(), "--json", "journal", "tail", "-n", "1", "--follow"]);
    let mut tail = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"all\""), "the first record of a new journal");
    for n in 0..3 {
        cache.invalidate([Tag::new(&format!("t:{n}")).unwrap()]).await;
        assert!(lines.next().unwrap().unwrap().contains(&format!("tag:t:{n}")));
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_tail_survives_an_outage_of_redis() {
    let (redis, cache, ..) = fleet().await;
    let mut command = bare(CACHECTL);
    command.args(["--redis", &redis.url(), "--json", "journal", "tail", "-n", "1", "--follow"]);
    let mut tail = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut errors = BufReader::new(tail.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"all\""), "the first record of a new journal");
    redis.freeze();
    let error = errors.next().unwrap().unwrap();
    assert!(error.starts_with("trying again: redis did not answer"), "{error}");
    redis.thaw();
    eventually("an invalidation is appended", async || {
        cache.invalidate([Tag::new("t").unwrap()]).await.journal == Delivery::Done
    })
    .await;
    assert!(lines.next().unwrap().unwrap().contains("tag:t"));
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_each_target_until_it_is_forgotten() {
    let (redis, worker) = (RedisServer::start().await, FakeWorker::start().await);
    let cache = redis.cache().edge(worker.url(), worker_secret()).build().await.unwrap();
    cachectl(&redis, &["--app", "test", "purge", "tag", "a", "--wait"]);
    let status = cachectl(&redis, &["--json", "ship", "status"]).json();
    let target = &status["targets"][0];
    assert_eq!(
        (&target["target"], &target["queued"], &target["failures"]),
        (&"worker".into(), &0.into(), &0.into())
    );
    assert!(target["shipper"].as_str().unwrap().starts_with(&format!("{}-", std::process::id())));
    drop(cache);
    eventually("the process has ended", async || {
        cachectl(&redis, &["--json", "ship", "status"]).json()["targets"][0]["shipper"].is_null()
    })
    .await;
    assert_eq!(cachectl(&redis, &["ship", "forget", "worker"]).code, 0);
    assert_eq!(cachectl(&redis, &["ship", "forget", "worker"]).code, 1);
    assert_eq!(cachectl(&redis, &["--json", "ship", "status"]).json()["targets"], Value::Array(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_come_from_flags_then_the_environment_then_a_file() {
    let (redis, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("strata.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let app_of = |command: &mut Command| {
        let run = finish(command.current_dir(&folder).args(["--json", "purge", "all"]));
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.json()["app"].as_str().unwrap().to_owned()
    };
    write(&format!("redis = '{}'\napp = 'file'", redis.url()));
    assert_eq!(app_of(&mut bare(CACHECTL)), "file");
    assert_eq!(app_of(bare(CACHECTL).env("STRATA_APP", "environment")), "environment");
    assert_eq!(app_of(bare(CACHECTL).env("STRATA_APP", "environment").args(["--app", "flag"])), "flag");

    write("redis = 'redis://x'\n\napi_token = ['hunter2']");
    let run = finish(bare(CACHECTL).current_dir(&folder).args(["purge", "all"]));
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("strata.toml:3") && !run.stderr.contains("hunter2"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_act_on_the_environment_of_the_settings() {
    let (redis, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let (plain, staging) = (redis.cache().build().await.unwrap(), redis.cache().environment("staging"));
    let staging = staging.build().await.unwrap();
    let tail = |command: &mut Command| {
        let run = finish(command.args(["--redis", &redis.url(), "journal", "tail", "-n", "1"]));
        run.stdout.trim_end().rsplit(' ').next().unwrap().to_owned()
    };
    let run = cachectl(&redis, &["--environment", "staging", "purge", "tag", "a"]);
    assert!(
        run.stdout.trim_end().ends_with("remove tag:a  in staging/test's journal"),
        "{} {}",
        run.stdout,
        run.stderr
    );
    assert_eq!(tail(bare(CACHECTL).env("STRATA_ENVIRONMENT", "staging")), "tag:a");
    std::fs::write(folder.path().join("strata.toml"), "environment = 'staging'").unwrap();
    assert_eq!(tail(bare(CACHECTL).current_dir(&folder)), "tag:a");
    assert_eq!(tail(&mut bare(CACHECTL)), "all", "the journal of the environment without a name");
    let run = cachectl(&redis, &["--environment", "production", "purge", "tag", "a"]);
    assert!(run.code == 1 && run.stderr.contains("its environment"), "{}", run.stderr);
    drop((plain, staging));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_says_how_to_mend_it_and_contains_no_secret() {
    let (redis, _cache, ..) = fleet().await;
    let unreachable = finish(bare(CACHECTL).args([
        "--redis",
        "redis://user:hunter2@127.0.0.1:1",
        "--app",
        "x",
        "purge",
        "all",
    ]));
    assert_eq!(unreachable.code, 1);
    let help = finish(
        bare(CACHECTL)
            .env("STRATA_REDIS_URL", "redis://user:hunter2@h")
            .env("STRATA_API_TOKEN", "hunter2")
            .arg("--help"),
    );
    assert_eq!(help.code, 0);
    for run in [&unreachable, &help] {
        assert!(
            !run.stdout.contains("hunter2") && !run.stderr.contains("hunter2"),
            "{} {}",
            run.stdout,
            run.stderr
        );
    }
    let without = finish(bare(CACHECTL).args(["purge", "all"]));
    assert!(without.code == 1 && without.stderr.contains("--redis URL"), "{}", without.stderr);
    assert_eq!(cachectl(&redis, &["purge", "everything"]).code, 2);
    let malformed = cachectl(&redis, &["purge", "prefix", "test:v1"]);
    assert!(malformed.code == 1 && malformed.stderr.contains("expected"), "{}", malformed.stderr);

    redis.cache().build().await.unwrap();
    Cache::builder("other").redis(redis.url()).build().await.unwrap();
    let ambiguous = cachectl(&redis, &["journal", "tail"]);
    assert!(ambiguous.code == 1 && ambiguous.stderr.contains("other, test"), "{}", ambiguous.stderr);
}

/// Checks that a run failed and that its output contains no password.
#[track_caller]
fn assert_hidden(run: &Run, what: &str) {
    assert_ne!(run.code, 0, "{what}");
    let shown = format!("{}{}", run.stdout, run.stderr);
    assert!(!shown.contains("hunter2") && !shown.contains("31415926"), "{what} shows the password: {shown}");
}

#[test]
fn a_password_in_an_argument_of_any_form_is_not_shown() {
    for url in [
        "redis://:hunter2@127.0.0.1:1",
        "redis//:hunter2@127.0.0.1:1",
        "redis://:p/hunter2@127.0.0.1:1",
        "default:hunter2@127.0.0.1:1",
        "http://user:hunter2@127.0.0.1:1",
        "unix:///run/redis.sock&pass=hunter2",
        "unix:///run/none.sock?pass=hunter2",
        "hunter2",
    ] {
        assert_hidden(&finish(bare(CACHECTL).args(["--redis", url, "--app", "x", "purge", "all"])), url);
        assert_hidden(
            &finish(bare(CACHECTL).env("STRATA_REDIS_URL", url).args(["--app", "x", "journal", "tail"])),
            url,
        );
        assert_hidden(&finish(bare(CACHECTL).args(["verify", url])), url);
    }
    for arguments in [
        &["redis://:hunter2@127.0.0.1:1", "purge", "all"][..],
        &["purge", "redis://:hunter2@127.0.0.1:1"],
        &["purge", "all", "redis://:hunter2@127.0.0.1:1"],
        &["purge", "all", "user:hunter2@127.0.0.1"],
        &["purge", "all", "--timeout", "redis://:hunter2@127.0.0.1:1"],
        &["purge", "all", "--purge-secret=hunter2"],
        &["purge", "all", "--api-token", "hunter2"],
    ] {
        let run = finish(bare(CACHECTL).args(arguments));
        assert!(run.code == 2 && run.stderr.starts_with("error: "), "{}", run.stderr);
        assert_hidden(&run, &arguments.join(" "));
    }
}

#[test]
fn a_value_in_a_malformed_file_of_settings_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (text, line) in [
        ("app = 'x'\npurge_secret = 31415926", 2),
        ("api_token = 31415926.5", 1),
        ("api_token = { value = 'hunter2' }", 1),
        ("redis = ['redis://:hunter2@h']", 1),
        ("redis = redis://:hunter2@h", 1),
        ("\n\nredis = \"redis://:hunter2@h", 3),
        ("purge_secret = 'hunter2'x", 1),
        ("purge_secret = \"\\hunter2\"", 1),
        ("purge_secret hunter2", 1),
        ("hunter2", 1),
        ("hunter2 = 'x'", 1),
        ("[hunter2]\nx = 1", 1),
        ("redis = 'a'\nredis = 'hunter2'", 2),
        ("purge_secret = 'a\u{1b}hunter2'", 1),
    ] {
        std::fs::write(folder.path().join("strata.toml"), text).unwrap();
        let run = finish(bare(CACHECTL).current_dir(&folder).args(["purge", "all"]));
        assert!(
            run.code == 1 && run.stderr.contains(&format!("strata.toml:{line}: ")),
            "{text}: {}",
            run.stderr
        );
        assert_hidden(&run, text);
    }
}

/// Escape sequences in keys, tags and errors could change what a terminal shows, or run commands.
#[tokio::test(flavor = "multi_thread")]
async fn control_characters_from_elsewhere_do_not_reach_the_terminal() {
    const HOSTILE: &str = "a\u{1b}[2J\u{9b}2J\n\u{202e}b";
    let (redis, worker) = (RedisServer::start().await, FakeWorker::start().await);
    let cache = redis.cache().edge(worker.url(), worker_secret()).build().await.unwrap();
    cache.invalidate([Scope::Key(format!("test:v1:{HOSTILE}").into())]).await;
    cache.invalidate([Tag::new(HOSTILE).unwrap()]).await;
    let _: i64 = redis.run(&["HSET", "test:{journal}:shipping", "worker error", HOSTILE]).await;
    let key = format!("test:v1:{HOSTILE}");
    for arguments in [
        &["journal", "tail"][..],
        &["inspect", &key],
        &["purge", "tag", HOSTILE],
        &["purge", "key", &key, "--dry-run"],
        &["ship", "status"],
        &["ship", "forget", HOSTILE],
        &["purge", "prefix", HOSTILE],
        &["purge", HOSTILE],
        &["--app", HOSTILE, "journal", "tail"],
        &["--json", "journal", "tail"],
        &["--json", "inspect", &key],
    ] {
        let run = cachectl(&redis, arguments);
        let shown = format!("{}{}", run.stdout, run.stderr);
        let is_raw = |character: char| character.is_control() && character != '\n' || character == '\u{202e}';
        assert!(!shown.contains(is_raw), "{arguments:?}: {shown:?}");
        assert!(!run.stdout.contains("\n\\u{202e}"), "a value adds a line: {shown}");
    }
    let tail = cachectl(&redis, &["journal", "tail", "-n", "1"]).stdout;
    assert!(tail.contains(r"a\u{1b}[2J\u{9b}2J\n\u{202e}b"), "{tail}");
    let tail = cachectl(&redis, &["--json", "journal", "tail", "-n", "1"]).json();
    assert_eq!(tail["scopes"][0], format!("tag:{HOSTILE}"));
}

#[test]
fn completions_exist_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = finish(bare(CACHECTL).args(["completions", shell]));
        assert!(run.code == 0 && run.stdout.contains("purge"), "{shell}");
    }
}

/// Earlier versions appended records of any size.
#[tokio::test(flavor = "multi_thread")]
async fn the_tail_reads_large_old_records_in_bounded_steps() {
    let (redis, ..) = fleet().await;
    let append = "for n = ARGV[1], ARGV[1] + 9 do \
                   local fields = {'mode', 'remove'} \
                   for i = 1, 1000 do fields[#fields + 1] = 'scope'; fields[#fields + 1] = 'tag:' .. string.format('%d', n) .. ':' .. string.rep('x', 1000) .. i end \
                   redis.call('XADD', KEYS[1], '*', unpack(fields)) \
                 end \
                 return 0";
    // Ten records at a time, so that Redis answers the tail between them.
    let burst = async || {
        for n in (1..100).step_by(10) {
            let _: i64 = redis.run(&["EVAL", append, "1", "test:{journal}:feed", &n.to_string()]).await;
        }
    };
    burst().await;
    let run = cachectl(&redis, &["--json", "journal", "tail", "-n", "200"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 101, "the first record of the journal, and the large ones");
    let begins = |line: &str, n: usize| line.contains(&format!(r#""scopes":["tag:{n}:x"#));
    assert!((1..=100).all(|n| begins(lines[n], n)), "in their order, each once");

    let mut command = bare(CACHECTL);
    command.args(["--redis", &redis.url(), "--json", "journal", "tail", "-n", "1", "--follow"]);
    let mut tail = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert!(begins(&lines.next().unwrap().unwrap(), 100));
    burst().await;
    for n in 1..=100 {
        assert!(begins(&lines.next().unwrap().unwrap(), n), "{n}");
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
}
