//! Loads that begin in the task of their caller.

use futures_util::FutureExt;

use super::*;
use crate::{Layer, LoadErrorKind};

crate::keys! {
    app "shop" version 1;

    /// A page.
    key Page { n: u64 } = "page:{n}";
}

#[tokio::test]
async fn a_load_that_need_not_wait_ends_in_the_first_step_of_its_caller() {
    let (cache, _clock, numbers) = numbers(|numbers| numbers).await;
    let cached = numbers.get_or_load(&KEY, async |_, _| Ok(7)).now_or_never().unwrap().unwrap();
    assert_eq!((*cached.value, cached.layer), (7, Layer::Loader));
    let panicking = numbers.get_or_load(&Number { id: 2 }, async |_, _| panic!("the loader"));
    let error = panicking.now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), LoadErrorKind::Panicked);
    let alone: Namespace<Page, u64> = cache.memory_namespace(LIFETIME).build();
    assert_eq!(
        *alone.get_or_load(&Page { n: 1 }, async |_, _| Ok(8)).now_or_never().unwrap().unwrap().value,
        8
    );
}

/// Loads in place inside of each other would overflow the stack.
#[tokio::test]
async fn loads_inside_of_loaders_may_be_as_deep_as_the_data() {
    const DEPTH: u64 = 2_000;
    let (cache, _clock) = cache(|builder| builder).await;
    let pages: Namespace<Page, u64> =
        cache.memory_namespace(LIFETIME).loader_concurrency(DEPTH as usize).build();
    assert_eq!(depth_below(pages, DEPTH).await, DEPTH);
}

/// Returns the depth of a page, which is one more than that of the page before it.
fn depth_below(pages: Namespace<Page, u64>, n: u64) -> BoxFuture<'static, u64> {
    async move {
        let below = pages.clone();
        let load = async move |page: Page, _| match page.n {
            0 => Ok(0),
            n => Ok(depth_below(below, n - 1).await + 1),
        };
        *pages.get_or_load(&Page { n }, load).await.unwrap().value
    }
    .boxed()
}

#[tokio::test]
async fn a_load_that_waits_survives_its_caller() {
    let (_cache, _clock, numbers) = numbers(|numbers| numbers).await;
    let gate = Arc::new(Semaphore::new(0));
    assert!(numbers.get_or_load(&KEY, gated(&gate, 7)).now_or_never().is_none());
    gate.add_permits(1);
    let_run().await;
    assert_eq!(*numbers.get_cached(&KEY).await.unwrap().value, 7);
}
