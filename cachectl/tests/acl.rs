//! The least rights in Redis of `cachectl`: each of its commands works with them, and each right is
//! used.

mod command;

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::time::Duration;

use command::{CACHECTL, bare};
use origin_sdk::{Lifetime, Namespace, Tag};
use serde_json::Value;
use strata_tests::{Database, FakeWorker, Item, RedisServer, eventually, worker_secret};

/// More scopes than the ledger holds.
const MANY: usize = 100_500;

fn cachectl(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = bare(CACHECTL).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn acl_prints_a_user_for_each_task_without_redis() {
    let (code, stdout, _) = cachectl(&["--app", "shop", "acl"]);
    let names: Vec<_> = stdout.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!((code, &names[..]), (0, &["shop-service", "shop-shipping-service", "shop-cachectl"][..]));
    assert!(
        stdout.lines().all(|line| line.starts_with("user ") && line.contains(" -@all ~shop:* ")),
        "{stdout}"
    );
    let (_, json, _) = cachectl(&["--app", "shop", "--json", "acl"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(stdout.contains(json["shipping_service"].as_str().unwrap()));

    let (code, stdout, _) = cachectl(&["--environment", "staging", "--app", "shop", "acl"]);
    assert!(code == 0 && stdout.lines().all(|line| line.contains(" -@all ~staging/shop:* ")), "{stdout}");

    let (code, _, stderr) = cachectl(&["acl"]);
    assert!(code == 1 && stderr.contains("--app NAME"), "{stderr}");
    let (code, _, stderr) = cachectl(&["--app", "shop* allkeys", "acl"]);
    assert!(code == 1 && stderr.contains("app: expected one or more of a-z 0-9 _ -"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cachectl_needs_exactly_its_rights() {
    let (redis, worker) = tokio::join!(RedisServer::start(), FakeWorker::start());
    let cache = redis.cache().edge(worker.url(), worker_secret()).build().await.unwrap();
    let items: Namespace<Item, u64> = cache.namespace(Lifetime::fresh(Duration::from_secs(600))).build();
    items.get_or_load(&Item { id: 1 }, Database::default().loader(1)).await.unwrap();
    eventually("the first record is shipped", async || !worker.accepted().is_empty()).await;
    worker.set_down(true);
    cache.invalidate((0..MANY).map(|n| Tag::new(&format!("t:{n}")).unwrap())).await;
    assert!(cache.close().await.is_complete());
    drop((cache, items));

    let (_, rules, _) = cachectl(&["--app", "test", "--json", "acl"]);
    let rules: Value = serde_json::from_str(&rules).unwrap();
    let rights: Vec<_> = rules["cachectl"].as_str().unwrap().split(' ').collect();
    let _: () = redis.run(&[&["ACL", "SETUSER", "least", ">secret"], &rights[..]].concat()).await;
    let _: () = redis.run(&["CONFIG", "RESETSTAT"]).await;
    let url = format!("redis://least:secret@127.0.0.1:{}", redis.port());
    let key = "test:v1:{item:1}";
    for arguments in [
        &["inspect", key][..],
        &["journal", "tail", "-n", "2"],
        &["--json", "purge", "tag", "a"],
        &["purge", "key", key],
        &["ship", "status"],
        &["doctor"],
        &["stats"],
        &["sweep"],
        &["ship", "forget", "worker"],
    ] {
        let (code, stdout, stderr) = cachectl(&[&["--redis", &url], arguments].concat());
        // The inspected entry is removed, and Redis has no limit; each has a code of its own.
        assert!([0, 3, 5].contains(&code) && stderr.is_empty(), "{arguments:?}: {code} {stdout} {stderr}");
    }
    let mut tail = bare(CACHECTL);
    let mut tail =
        tail.args(["--redis", &url, "journal", "tail", "--follow"]).stdout(Stdio::null()).spawn().unwrap();
    let used = async || -> BTreeSet<String> {
        let stats: String = redis.run(&["INFO", "commandstats"]).await;
        let lines = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'));
        let called =
            lines.filter(|(_, counts)| !counts.starts_with("calls=0,")).map(|(name, _)| name.to_owned());
        // Without the commands of the test itself.
        called
            .filter(|name| {
                !["acl|setuser", "auth", "client|setinfo", "config|resetstat", "info"].contains(&&**name)
            })
            .collect()
    };
    eventually("a followed tail reads on", async || used().await.contains("xread")).await;
    tail.kill().unwrap();
    tail.wait().unwrap();
    // Only records from the future provoke the one, and the test itself uses the other.
    let provoked = |right: &&str| !["zremrangebyscore", "info"].contains(right);
    let granted = rights.iter().filter_map(|right| right.strip_prefix('+')).filter(provoked);
    let granted: BTreeSet<_> = granted.map(str::to_owned).collect();
    assert_eq!(used().await, granted);
}
