//! Loaders that read from a replica, which learns of a write after a delay of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{KEY, LIFETIME, Number, SECOND, cache};
use crate::{Cache, Cached, Clock, Freshness, Layer, Namespace, StaleReason};

const LAG: Duration = Duration::from_secs(2);

/// A row whose writes can be read only after [`LAG`].
#[derive(Clone)]
struct Replica {
    clock: Clock,
    /// When the row was written, and to what.
    writes: Arc<Mutex<Vec<(Duration, u64)>>>,
}

impl Replica {
    fn write(&self, value: u64) {
        self.writes.lock().unwrap().push((self.clock.now(), value));
    }

    fn read(&self) -> u64 {
        let now = self.clock.now();
        let writes = self.writes.lock().unwrap();
        writes.iter().rev().find(|(at, _)| *at + LAG <= now).map_or(0, |&(_, value)| value)
    }
}

/// A cache that has been up for longer than the lag, of a row that is 1.
async fn lagging(source_lag: Duration) -> (Cache, Clock, Replica, Namespace<Number, u64>) {
    let (cache, clock) = cache(|builder| builder).await;
    let replica = Replica { clock: clock.clone(), writes: Arc::default() };
    replica.write(1);
    let numbers = cache.namespace(LIFETIME).source_lag(source_lag).build();
    clock.advance(10 * SECOND);
    (cache, clock, replica, numbers)
}

async fn read(numbers: &Namespace<Number, u64>, replica: &Replica) -> Cached<u64> {
    let replica = replica.clone();
    numbers.get_or_load(&KEY, move |_, _| async move { Ok(replica.read()) }).await.unwrap()
}

#[tokio::test]
async fn a_load_within_the_source_lag_of_an_invalidation_is_stale_and_not_stored() {
    let (_cache, clock, replica, numbers) = lagging(LAG).await;
    assert_eq!(*read(&numbers, &replica).await.value, 1);
    assert_eq!(read(&numbers, &replica).await.layer, Layer::Memory);
    replica.write(2);
    numbers.invalidate(&KEY).await;
    for wait in [Duration::ZERO, SECOND, SECOND - Duration::from_nanos(1)] {
        clock.advance(wait);
        let hit = read(&numbers, &replica).await;
        let expected = (1, Layer::Loader, Freshness::Stale(StaleReason::SourceLag));
        assert_eq!((*hit.value, hit.layer, hit.freshness), expected, "at {:?}", clock.now());
    }
    clock.advance(Duration::from_nanos(1));
    let hit = read(&numbers, &replica).await;
    assert_eq!((*hit.value, hit.layer, hit.freshness), (2, Layer::Loader, Freshness::Fresh));
    assert_eq!(read(&numbers, &replica).await.layer, Layer::Memory);
}

/// Why the option is there.
#[tokio::test]
async fn without_a_source_lag_the_old_value_of_a_replica_is_stored_as_fresh() {
    let (_cache, clock, replica, numbers) = lagging(Duration::ZERO).await;
    replica.write(2);
    numbers.invalidate(&KEY).await;
    assert_eq!(*read(&numbers, &replica).await.value, 1);
    clock.advance(10 * SECOND);
    assert_eq!(*read(&numbers, &replica).await.value, 1);
}

#[tokio::test]
async fn an_unrelated_invalidation_does_not_prevent_storing() {
    let (_cache, _, replica, numbers) = lagging(LAG).await;
    numbers.invalidate(&Number { id: 2 }).await;
    assert_eq!(read(&numbers, &replica).await.freshness, Freshness::Fresh);
    assert_eq!(read(&numbers, &replica).await.layer, Layer::Memory);
}

#[tokio::test]
async fn within_the_source_lag_of_its_start_a_process_stores_nothing() {
    let (cache, clock) = cache(|builder| builder).await;
    let replica = Replica { clock: clock.clone(), writes: Arc::default() };
    let numbers = cache.namespace(LIFETIME).source_lag(LAG).build();
    for (wait, freshness) in [(0, Freshness::Stale(StaleReason::SourceLag)), (2, Freshness::Fresh)] {
        clock.advance(wait * SECOND);
        assert_eq!(read(&numbers, &replica).await.freshness, freshness);
    }
}
