//! A service is deployed with a raised schema version: processes of both versions run side by side,
//! obey each other's invalidations, and never read each other's values.

use std::time::Duration;

use origin_sdk::{Cache, Delivery, Layer, Lifetime, Namespace, Scope};
use serde::{Deserialize, Serialize};
use strata_tests::{Database, RedisServer, eventually};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));

mod old {
    origin_sdk::keys! {
        app "test" version 1;

        /// An article.
        pub key Article { shelf: u64, id: u64 } = "shelf:{shelf}:article:{id}" tags [Topic { id }];
        /// All entries of a topic.
        pub tag Topic { id: u64 } = "topic:{id}";
    }
}

mod new {
    origin_sdk::keys! {
        app "test" version 2;

        /// An article.
        pub key Article { shelf: u64, id: u64 } = "shelf:{shelf}:article:{id}" tags [Topic { id }];
        /// All entries of a topic.
        pub tag Topic { id: u64 } = "topic:{id}";
    }
}

/// The value of the old version, which the new one could not read.
type OldValue = u64;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NewValue {
    number: u64,
}

struct Fleet {
    redis: RedisServer,
    database: Database,
    old: (Cache, Namespace<old::Article, OldValue>),
    new: (Cache, Namespace<new::Article, NewValue>),
}

const OLD: old::Article = old::Article { shelf: 1, id: 7 };
const NEW: new::Article = new::Article { shelf: 1, id: 7 };

impl Fleet {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let (old, new) = (redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap());
        let (of_old, of_new) = (old.namespace(LIFETIME).build(), new.namespace(LIFETIME).build());
        Self { redis, database: Database::default(), old: (old, of_old), new: (new, of_new) }
    }

    async fn read_old(&self) -> (u64, Layer) {
        let read = self.old.1.get_or_load(&OLD, self.database.loader(7)).await.unwrap();
        (*read.value, read.layer)
    }

    async fn read_new(&self) -> (u64, Layer) {
        let database = self.database.clone();
        let load = async move |_, _| Ok(NewValue { number: database.read(7) });
        let read = self.new.1.get_or_load(&NEW, load).await.unwrap();
        (read.value.number, read.layer)
    }

    /// Waits until both processes have applied the same records. A write is not cached if a record
    /// of its datum comes while it runs.
    async fn follow(&self) {
        eventually("both have followed", async || self.old.0.position() == self.new.0.position()).await;
    }

    async fn expect_everywhere(&self, number: u64, what: &str) {
        eventually(&format!("both versions load {number} after {what}"), async || {
            (self.read_old().await.0, self.read_new().await.0) == (number, number)
        })
        .await;
        // Each holds the value in its own form again.
        assert_eq!(
            (self.read_old().await, self.read_new().await),
            ((number, Layer::Memory), (number, Layer::Memory))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_version_reads_the_values_of_the_other() {
    let fleet = Fleet::start().await;
    assert_eq!((fleet.read_old().await, fleet.read_new().await), ((0, Layer::Loader), (0, Layer::Loader)));
    let mut keys: Vec<String> = fleet.redis.run(&["KEYS", "test:v*"]).await;
    keys.sort();
    assert_eq!(keys, ["test:v1:{shelf:1}:article:7", "test:v2:{shelf:1}:article:7"]);
    let undecodable = fleet.old.0.stats().undecodable + fleet.new.0.stats().undecodable;
    assert_eq!((undecodable, fleet.database.reads()), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_obeys_the_invalidations_of_the_other() {
    let fleet = Fleet::start().await;
    fleet.expect_everywhere(0, "the start").await;
    let of_old = origin_sdk::scopes![
        OLD,
        old::Topic { id: 7 },
        "test:v1:{shelf:1}:".parse::<origin_sdk::Prefix>().unwrap(),
        "test:v1:".parse::<origin_sdk::Prefix>().unwrap(),
        "test:".parse::<origin_sdk::Prefix>().unwrap(),
        Scope::All,
    ];
    let of_new = origin_sdk::scopes![
        NEW,
        new::Topic { id: 7 },
        "test:v2:{shelf:1}:".parse::<origin_sdk::Prefix>().unwrap(),
        "test:v2:".parse::<origin_sdk::Prefix>().unwrap(),
        // Made from its parts, without the conversion of a key.
        Scope::Key("test:v2:{shelf:1}:article:7".into()),
        Scope::All,
    ];
    for (cache, scopes) in [(&fleet.old.0, of_old), (&fleet.new.0, of_new)] {
        for scope in scopes {
            let number = fleet.database.bump(7);
            let what = format!("{scope:?}");
            assert_eq!(cache.invalidate([scope]).await.journal, Delivery::Done);
            fleet.expect_everywhere(number, &what).await;
        }
    }
    for n in 0..2 {
        let number = fleet.database.bump(7);
        if n == 0 {
            fleet.old.1.invalidate(&OLD).await
        } else {
            fleet.new.1.invalidate(&NEW).await
        };
        fleet.expect_everywhere(number, "an invalidation of a namespace").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_reaches_a_process_of_another_version_that_starts_later() {
    let fleet = Fleet::start().await;
    fleet.read_old().await;
    fleet.database.bump(7);
    fleet.new.1.expire(&NEW).await;
    // Reads the ledger, not the feed.
    let late = fleet.redis.cache().build().await.unwrap();
    let articles: Namespace<old::Article, OldValue> = late.namespace(LIFETIME).build();
    assert_eq!(*articles.get_or_load(&OLD, fleet.database.loader(7)).await.unwrap().value, 1);
}

/// The fence of a write-through compares scopes in Redis.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_not_cached_if_a_process_of_another_version_has_written_the_datum_meanwhile() {
    let fleet = Fleet::start().await;
    let new = fleet.new.1.clone();
    let overtaken = async move |_, _| {
        new.write_through(&NEW, (), async |_, _| Ok(NewValue { number: 2 })).await?;
        Ok(1)
    };
    assert!(!fleet.old.1.write_through(&OLD, (), overtaken).await.unwrap().cached);
    fleet.follow().await;
    assert!(fleet.old.1.write_through(&OLD, (), async |_, _| Ok(3)).await.unwrap().cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_message_is_not_cached_if_a_process_of_another_version_has_seen_a_later_one() {
    let fleet = Fleet::start().await;
    let old = async |version| {
        fleet.follow().await;
        let writer = async move |_, _| Ok((version, version));
        fleet.old.1.write_through_version(&OLD, (), writer).await.unwrap().cached
    };
    let new = async |version| {
        fleet.follow().await;
        let writer = async move |_, _| Ok((NewValue { number: version }, version));
        fleet.new.1.write_through_version(&NEW, (), writer).await.unwrap().cached
    };
    assert_eq!((old(5).await, new(7).await), (false, true));
    assert!(!old(6).await, "the other version's process has written version 7");
    assert!(old(8).await);
}
