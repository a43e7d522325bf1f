//! G1 and G2 under concurrency: readers and writers of the same few items in three caches on one
//! Redis.
//!
//! Values are versions of the database, which only grow. After an invalidation has returned, its
//! process must never serve an older version, and every read checks that. The test prints its seed;
//! `STRATA_SEED` replays it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use origin_sdk::{Cache, Key, Lifetime, LoadContext, Namespace, Scope, TypedTag};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use strata_tests::{Database, Group, Item, RedisServer, eventually};

const PROCESSES: usize = 3;
const TASKS_PER_PROCESS: u64 = 8;
const STEPS: usize = 300;
const ITEMS: u64 = 4;
/// Short, so that values also become stale and are refreshed during the run.
const LIFETIME: Lifetime =
    Lifetime::fresh(Duration::from_millis(20)).stale_while_revalidate(Duration::from_secs(60));

struct Process {
    cache: Cache,
    items: Namespace<Item, u64>,
    database: Database,
    /// For each item the lowest version that this process may still serve.
    floors: [AtomicU64; ITEMS as usize],
}

impl Process {
    async fn start(redis: &RedisServer, database: &Database) -> Arc<Self> {
        let cache = redis.cache().build().await.unwrap();
        let items = cache.namespace(LIFETIME).build();
        Arc::new(Self { cache, items, database: database.clone(), floors: Default::default() })
    }

    async fn read(&self, id: u64) -> u64 {
        let database = self.database.clone();
        let loader = move |_, load: LoadContext| async move {
            load.tag(Group { id }.to_tag());
            // Yields around the read, so that other tasks run before and after it.
            tokio::task::yield_now().await;
            let version = database.read(id);
            tokio::task::yield_now().await;
            Ok(version)
        };
        *self.items.get_or_load(&Item { id }, loader).await.unwrap().value
    }

    async fn checked_read(&self, id: u64) {
        let floor = self.floors[id as usize].load(Ordering::SeqCst);
        let version = self.read(id).await;
        assert!(
            version >= floor,
            "item {id}: expected version {floor} or later after the invalidation, got {version}"
        );
    }

    /// Writes a new version and invalidates the item: 0 by write-through, 1 by key, 2 by tag, 3 by
    /// prefix, else everything.
    async fn write(&self, id: u64, way: u32) {
        let version = match way {
            0 => {
                let (database, key) = (self.database.clone(), Item { id });
                let writer = move |_, load: LoadContext| async move {
                    load.tag(Group { id }.to_tag());
                    let version = database.bump(id);
                    tokio::task::yield_now().await;
                    Ok(version)
                };
                *self.items.write_through(&key, [Group { id }.to_tag()], writer).await.unwrap().value
            }
            _ => {
                let version = self.database.bump(id);
                match way {
                    1 => self.items.invalidate(&Item { id }).await,
                    2 => self.cache.invalidate([Group { id }.to_tag()]).await,
                    3 => self.cache.invalidate([Item { id }.prefix()]).await,
                    _ => self.cache.invalidate([Scope::All]).await,
                };
                version
            }
        };
        self.floors[id as usize].fetch_max(version, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_serves_a_version_older_than_its_own_last_invalidation() {
    let seed: u64 =
        std::env::var("STRATA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("STRATA_SEED={seed}");
    let (redis, database) = (RedisServer::start().await, Database::default());
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(Process::start(&redis, &database).await);
    }
    let mut tasks = Vec::new();
    for (n, process) in processes.iter().enumerate() {
        for task in 0..TASKS_PER_PROCESS {
            let process = Arc::clone(process);
            let mut random =
                Xoshiro256PlusPlus::seed_from_u64(seed ^ (n as u64 * TASKS_PER_PROCESS + task + 1));
            tasks.push(tokio::spawn(async move {
                for _ in 0..STEPS {
                    let id = random.random_range(0..ITEMS);
                    match random.random_range(0..20) {
                        way @ 0..5 => process.write(id, way).await,
                        _ => process.checked_read(id).await,
                    }
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    for (process, id) in processes.iter().flat_map(|process| (0..ITEMS).map(move |id| (process, id))) {
        let last = database.read(id);
        eventually("every process reads the last version", async || process.read(id).await == last).await;
    }
}
