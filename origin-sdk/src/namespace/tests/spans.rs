//! The spans in which loaders and writers run.

use std::sync::{Arc, Mutex};

use tracing::Instrument;
use tracing_subscriber::util::SubscriberInitExt;

use super::{FRESH, KEY, Number, cache, let_run};
use crate::{BatchContext, Lifetime, Namespace};

/// The names of the spans in which loaders have run.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<&'static str>>>);

impl Spans {
    fn note(&self) {
        let name = tracing::Span::current().metadata().map_or("none", |metadata| metadata.name());
        self.0.lock().unwrap().push(name);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn loaders_writers_and_refreshes_run_in_the_span_of_the_caller_that_starts_them() {
    let _default = tracing_subscriber::fmt().with_writer(std::io::sink).finish().set_default();
    let (cache, clock) = cache(|builder| builder).await;
    let numbers: Namespace<Number, u64> =
        cache.namespace(Lifetime::fresh(FRESH).stale_while_revalidate(FRESH)).build();
    let spans = Spans::default();
    let read = async |id| {
        let spans = spans.clone();
        let loader = async move |_, _| {
            spans.note();
            Ok(1)
        };
        numbers.get_or_load(&Number { id }, loader).await.unwrap();
    };
    read(1).instrument(tracing::info_span!("request")).await;
    assert_eq!(spans.take(), ["request"]);
    clock.advance(FRESH);
    read(1).instrument(tracing::info_span!("refreshing")).await;
    let_run().await;
    assert_eq!(spans.take(), ["refreshing"]);

    let of_loader = spans.clone();
    let loader = move |keys: Vec<Number>, _: BatchContext| {
        let spans = of_loader.clone();
        async move {
            spans.note();
            Ok(keys.into_iter().map(|key| (key, 1)))
        }
    };
    let keys = [2, 3].map(|id| Number { id });
    numbers.get_many_or_load(&keys, loader).instrument(tracing::info_span!("batch")).await;
    assert_eq!(spans.take(), ["batch"]);

    let of_writer = spans.clone();
    let writer = async move |_, _| {
        of_writer.note();
        Ok(1)
    };
    numbers.write_through(&KEY, (), writer).instrument(tracing::info_span!("write")).await.unwrap();
    assert_eq!(spans.take(), ["write"]);
}
