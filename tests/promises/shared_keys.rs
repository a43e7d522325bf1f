//! What both sides must agree on, against Redis and against bytes that were fixed once.

use origin_sdk::{Key, Scope};
use serde_json::Value;
use shared_keys::purge::{PURGE_PATH, PurgeMessage, Secret, sign, verify};
use shared_keys::{TargetKey, VariantKey, VaryFields, scopes_from_header, slot};
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

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/v1.json")).unwrap()
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_else(|| panic!("expected a text {name} in {vector}"))
}

#[test]
fn scopes_are_the_golden_ones() {
    for vector in vectors()["scopes"].as_array().unwrap() {
        let scope: Scope = text(vector, "scope").parse().unwrap();
        assert_eq!(scope.to_string(), text(vector, "scope"));
        assert_eq!(
            (scope.hash().to_string().as_str(), scope.to_token().as_str()),
            (text(vector, "hash"), text(vector, "token"))
        );
        assert_eq!(scopes_from_header(text(vector, "token")).next(), Some(scope.hash()));
    }
}

#[test]
fn target_and_variant_keys_are_the_golden_ones() {
    for vector in vectors()["targets"].as_array().unwrap() {
        let target = TargetKey::parse(text(vector, "url")).unwrap();
        assert_eq!(target.as_str(), text(vector, "target"));
        let vary = VaryFields::parse([text(vector, "vary")]).unwrap();
        let field = |name: &str| vector["fields"][name].as_str().map(str::to_owned);
        assert_eq!(VariantKey::new(&target, &vary, field).as_str(), text(vector, "variant"));
    }
}

#[test]
fn purge_messages_and_signatures_are_the_golden_ones() {
    for vector in vectors()["purges"].as_array().unwrap() {
        let (body, secret) = (text(vector, "body"), Secret::new(text(vector, "secret")));
        assert_eq!(PurgeMessage::parse(body.as_bytes()).unwrap().to_json(), body);
        let time = vector["time"].as_u64().unwrap();
        let signature = sign(&secret, "POST", PURGE_PATH, time, text(vector, "nonce"), body.as_bytes());
        assert_eq!(signature, text(vector, "signature"));
        assert!(verify(&secret, &signature, "POST", PURGE_PATH, body.as_bytes(), time).is_ok());
    }
}
