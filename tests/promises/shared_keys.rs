//! What both sides must agree on, against Redis. The golden vectors have a test of their own.

use origin_sdk::Key;
use shared_keys::slot;
use strata_tests::{Item, ItemPart, RedisServer};

#[tokio::test]
async fn slots_are_those_of_redis() {
    let redis = RedisServer::start_cluster_node().await;
    let typed = [Item { id: 7 }.to_text(), ItemPart { id: 7, part: 1 }.to_text(), "test:{journal}:feed".to_owned()];
    let odd = ["", "a", "{}", "{}a", "{a", "a}b{", "a{b}c{d}", "{{a}}", "ключ{тег}", "a{ }b"].map(str::to_owned);
    for key in typed.iter().chain(&odd) {
        let theirs: u16 = redis.run(&["CLUSTER", "KEYSLOT", key]).await;
        assert_eq!(slot(key), theirs, "{key:?}");
    }
    assert_eq!(slot(&typed[0]), slot(&typed[1]), "a family shares a slot");
}
