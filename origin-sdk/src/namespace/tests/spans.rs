//! The spans in which loaders and writers run, and those of the cache itself.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Instrument, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
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

/// The spans that were created, with all fields and relations.
#[derive(Clone, Default)]
struct Created(Arc<Mutex<BTreeMap<u64, CreatedSpan>>>);

#[derive(Clone, Debug, Default)]
struct CreatedSpan {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
    parent: Option<&'static str>,
    follows: Option<&'static str>,
}

impl Created {
    /// Returns the spans that were created since the last call. None has a key.
    fn all(&self) -> Vec<CreatedSpan> {
        let spans: Vec<_> = std::mem::take(&mut *self.0.lock().unwrap()).into_values().collect();
        assert!(spans.iter().all(|span| !span.text().contains("4242")), "{spans:?}");
        spans
    }
}

impl CreatedSpan {
    /// Returns the fields in the order of their names.
    fn text(&self) -> String {
        self.fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }
}

impl Visit for CreatedSpan {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Created {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let parent = span.parent().map(|parent| parent.name());
        let mut created = CreatedSpan { name: span.name(), parent, ..CreatedSpan::default() };
        attributes.record(&mut created);
        self.0.lock().unwrap().insert(id.into_u64(), created);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(span) = self.0.lock().unwrap().get_mut(&id.into_u64()) {
            values.record(span);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        let name = context.span(follows).unwrap().name();
        if let Some(span) = self.0.lock().unwrap().get_mut(&id.into_u64()) {
            span.follows = Some(name);
        }
    }
}

#[tokio::test]
async fn reads_loads_writes_and_invalidations_have_spans_that_hang_together_and_name_no_key() {
    let created = Created::default();
    let _default = tracing_subscriber::registry().with(created.clone()).set_default();
    let (cache, clock) = cache(|builder| builder).await;
    let numbers: Namespace<Number, u64> =
        cache.namespace(Lifetime::fresh(FRESH).stale_while_revalidate(FRESH)).build();
    let read = async |id| {
        let span = tracing::info_span!("request");
        numbers.get_or_load(&Number { id }, async |_, _| Ok(1)).instrument(span).await.unwrap();
        let_run().await;
        created.all()
    };
    let of = |spans: &[CreatedSpan], name: &str| {
        let mut spans = spans.iter().filter(|span| span.name == name);
        let span = spans.next().unwrap_or_else(|| panic!("no span {name}")).clone();
        assert!(spans.next().is_none(), "one span {name}");
        span
    };

    let spans = read(4242).await;
    let (get, load) = (of(&spans, "cache.get"), of(&spans, "cache.load"));
    assert_eq!((get.parent, load.parent), (Some("request"), Some("cache.get")));
    assert_eq!(get.text(), r#"cache.hit=false cache.layer="loader" cache.namespace="Number""#);
    assert_eq!(load.text(), r#"cache.namespace="Number""#);
    assert_eq!(read(4242).await.len(), 1, "a read from memory has no span");

    cache.core().memory.clear();
    let get = of(&read(4242).await, "cache.get");
    assert_eq!(get.text(), r#"cache.hit=true cache.layer="redis" cache.namespace="Number""#);

    clock.advance(FRESH);
    let spans = read(4242).await;
    let (get, refresh) = (of(&spans, "cache.get"), of(&spans, "cache.refresh"));
    let stale = r#"cache.hit=true cache.layer="memory" cache.namespace="Number" cache.stale="stale-while-revalidate""#;
    assert_eq!(get.text(), stale);
    // A child would keep the request's span open until the refresh ends.
    assert_eq!((refresh.parent, refresh.follows), (None, Some("cache.get")));

    let keys = [4242, 2].map(|id| Number { id });
    let loader = |keys: Vec<Number>, _| async move { Ok(keys.into_iter().map(|key| (key, 1))) };
    numbers.get_many_or_load(&keys, loader).await;
    let spans = created.all();
    assert_eq!(of(&spans, "cache.get_many").text(), r#"cache.keys=2 cache.namespace="Number""#);
    assert_eq!(of(&spans, "cache.load").parent, Some("cache.get_many"));

    numbers.invalidate(&Number { id: 4242 }).await;
    assert_eq!(of(&created.all(), "cache.remove").text(), "cache.scopes=1");
    numbers.write_through(&Number { id: 4242 }, (), async |_, _| Ok(1)).await.unwrap();
    assert_eq!(of(&created.all(), "cache.put").text(), r#"cache.namespace="Number""#);
}
