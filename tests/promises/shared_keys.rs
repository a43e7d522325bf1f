//! Keys and slots of `shared-keys`, compared with Redis. The golden vectors are in the module
//! `vectors`.

use origin_sdk::Key;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use shared_keys::slot;
use strata_tests::{Item, ItemPart, RedisServer};
use uuid::Uuid;

/// Fixed, so that a failure can be repeated.
const SEED: u64 = 3;

origin_sdk::keys! {
    app "test" version 1;

    /// A person, by any name.
    key Person { name: String } = "person:{name}";
    /// A thing of a person.
    key Thing { name: String, thing: u32 } = "person:{name}:thing:{thing}" under Person { name };
    /// A part of a thing, by any name.
    key Part { name: String, thing: u32, part: String } = "person:{name}:thing:{thing}:part:{part}"
        under Person { name }
        under Thing { name, thing };
    /// A session, by UUID.
    key Session { id: Uuid } = "session:{id}";
}

#[tokio::test]
async fn slots_match_those_of_redis() {
    let redis = RedisServer::start_cluster_node().await;
    let typed =
        [Item { id: 7 }.to_text(), ItemPart { id: 7, part: 1 }.to_text(), "test:{journal}:feed".to_owned()];
    let odd =
        ["", "a", "{}", "{}a", "{a", "a}b{", "a{b}c{d}", "{{a}}", "ключ{тег}", "a{ }b"].map(str::to_owned);
    for key in typed.iter().chain(&odd) {
        let theirs: u16 = redis.run(&["CLUSTER", "KEYSLOT", key]).await;
        assert_eq!(slot(key), theirs, "{key:?}");
    }
    assert_eq!(slot(&typed[0]), slot(&typed[1]), "the keys of a family share a slot");
}

#[tokio::test]
async fn all_keys_of_a_family_share_their_slot_in_redis() {
    let redis = RedisServer::start_cluster_node().await;
    let mut random = StdRng::seed_from_u64(SEED);
    let mut name = |longest| {
        let pieces = ["a", "Z", "7", ":", "{", "}", "{}", "*", "~", "%", "\n", "\0", " ", "é", "日"];
        let length = random.random_range(0..=longest);
        (0..length).map(|_| *pieces.choose(&mut random).unwrap()).collect::<String>()
    };
    let mut slots = std::collections::BTreeSet::new();
    for thing in 0..60 {
        // Every fifth name may be long enough to be hashed.
        let (name, part) = (name(if thing % 5 == 0 { 200 } else { 8 }), name(8));
        let person = Person { name: name.clone() };
        let whole = Thing { name: name.clone(), thing };
        for key in [person.to_text(), whole.to_text(), Part { name, thing, part }.to_text()] {
            let theirs: u16 = redis.run(&["CLUSTER", "KEYSLOT", &key]).await;
            assert_eq!((slot(&key), theirs), (slot(&person.to_text()), slot(&person.to_text())), "{key}");
            assert!(person.prefix().covers(&key), "{key}");
            slots.insert(theirs);
        }
    }
    assert!(slots.len() > 30, "expected families in more than 30 slots, got {slots:?}");
}

#[test]
fn a_uuid_is_accepted_in_one_spelling_only() {
    let key = Session { id: Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8) };
    let text = "test:v1:{session:67e55044-10b1-426f-9247-bb680e5fe0c8}";
    assert_eq!(key.to_text(), text);
    assert_eq!(Session::parse(text), Ok(key));
    for other in ["67E55044-10b1-426f-9247-bb680e5fe0c8", "67e5504410b1426f9247bb680e5fe0c8", "67e5"] {
        assert!(Session::parse(&format!("test:v1:{{session:{other}}}")).is_err(), "{other}");
    }
    let error = Session::parse("test:v1:{session:7}").unwrap_err();
    assert_eq!((error.expected(), error.at()), ("a UUID in lower case with hyphens", 17));
}
