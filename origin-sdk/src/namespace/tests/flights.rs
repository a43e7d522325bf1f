use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{KEY, LIFETIME, cache, gated, let_run, load};
use crate::{LoadErrorKind, Namespace, Tag};

fn group() -> Tag {
    Tag::new("group:1").unwrap()
}

/// The load would end only after the caller has given up.
#[tokio::test(start_paused = true)]
async fn nobody_joins_a_load_older_than_an_invalidation_of_a_tag_of_its_key() {
    let (cache, _) = cache(|builder| builder).await;
    let numbers = cache.namespace(LIFETIME).tags(|_| vec![group()]).build();
    let never = Arc::new(Semaphore::new(0));
    let aborted = tokio::spawn({
        let (numbers, loader) = (numbers.clone(), gated(&never, 1));
        async move { numbers.get_or_load(&KEY, loader).await.map(|_| ()) }
    });
    let_run().await;
    cache.invalidate([group()]).await;
    let hit = tokio::time::timeout(Duration::from_secs(1), load(&numbers, 2)).await.unwrap();
    assert_eq!((*hit.value, cache.stats().coalesced), (2, 0));
    aborted.abort();
}

/// A value that cannot be serialised because its implementation panics.
#[derive(serde::Deserialize)]
struct Panicking;

impl serde::Serialize for Panicking {
    #[expect(clippy::panic, reason = "the panic is what is tested")]
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("a bug in a value")
    }
}

#[tokio::test]
async fn a_panic_while_a_value_is_serialised_is_an_error_of_its_callers_alone() {
    let (cache, _) = cache(|builder| builder).await;
    let numbers: Namespace<super::Number, Panicking> = cache.namespace(LIFETIME).build();
    for _ in 0..2 {
        let result = numbers.get_or_load(&KEY, |_, _| async { Ok(Panicking) }).await;
        assert_eq!(result.err().map(|error| error.kind()), Some(LoadErrorKind::Panicked));
    }
}
