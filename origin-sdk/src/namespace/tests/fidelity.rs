//! A value is the same in every tier, or no tier holds it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::{KEY, LIFETIME, Number, cache, unshared};
#[cfg(feature = "msgpack")]
use crate::Format;
use crate::{Cache, Namespace, Storage};

/// Puts a value, and returns it as memory and as the store have it.
async fn in_both_tiers<V>(cache: &Cache, value: V) -> [Option<Arc<V>>; 2]
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let values: Namespace<Number, V> = unshared(cache, LIFETIME);
    values.put(&KEY, value, cache.position()).await;
    let read = async || values.get_cached(&KEY).await.map(|cached| cached.value);
    let in_memory = read().await;
    cache.core().memory.clear();
    [in_memory, read().await]
}

async fn assert_kept<V>(cache: &Cache, value: V)
where
    V: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static,
{
    let expected = Some(Arc::new(value.clone()));
    assert_eq!(in_both_tiers(cache, value).await, [expected.clone(), expected]);
}

async fn assert_refused<V>(cache: &Cache, value: V)
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let before = cache.stats().not_serializable;
    let values: Namespace<Number, V> = unshared(cache, LIFETIME);
    let placement = values.put(&KEY, value, cache.position()).await;
    let type_name = std::any::type_name::<V>();
    assert_eq!([placement.memory, placement.redis], [Storage::NotSerializable; 2], "{type_name}");
    assert!(values.get_cached(&KEY).await.is_none(), "{type_name}");
    assert_eq!(cache.stats().not_serializable, before + 1, "{type_name}");
}

proptest! {
    #[test]
    fn a_number_is_the_same_to_the_last_bit_in_every_tier(
        doubles in prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 100),
        singles in prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 100),
        whole: i128,
    ) {
        type Numbers = (Vec<f64>, Vec<f32>, i128);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let doubles = doubles.into_iter().filter(|number| number.is_finite()).collect();
        let singles = singles.into_iter().filter(|number| number.is_finite()).collect();
        let value: Numbers = (doubles, singles, whole);
        let bits = |value: &Numbers| {
            let doubles: Vec<_> = value.0.iter().map(|number| number.to_bits()).collect();
            (doubles, value.1.iter().map(|number| number.to_bits()).collect::<Vec<_>>(), value.2)
        };
        let expected = Some(bits(&value));
        let tiers = runtime.block_on(async {
            let (cache, _) = cache(|builder| builder).await;
            in_both_tiers(&cache, value).await
        });
        for tier in tiers {
            prop_assert_eq!(tier.as_deref().map(bits), expected.clone());
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Line(i8, u64),
    Named { name: String, tags: BTreeSet<char> },
}

#[tokio::test]
async fn ordinary_values_are_kept() {
    let (cache, _) = cache(|builder| builder).await;
    assert_kept(&cache, ()).await;
    assert_kept(&cache, None::<u8>).await;
    assert_kept(&cache, Some(vec![Some(1_u8), None])).await;
    assert_kept(&cache, u128::MAX).await;
    assert_kept(&cache, (0..1000).map(|n| (n, n.to_string())).collect::<HashMap<i32, String>>()).await;
    assert_kept(&cache, (0..1000).collect::<HashSet<i32>>()).await;
    let named = Shape::Named { name: "é\n".to_owned(), tags: ['a', '\0'].into() };
    assert_kept(&cache, vec![Shape::Point, Shape::Circle(0.1), Shape::Line(-1, u64::MAX), named]).await;
    assert_eq!(cache.stats().not_serializable, 0);
}

#[derive(Serialize, Deserialize)]
struct Priced {
    price: Price,
}

#[derive(Serialize, Deserialize)]
struct Price {
    cents: Option<f64>,
}

/// A comment under a comment under a comment.
#[derive(Serialize, Deserialize)]
struct Comment {
    replies: Vec<Comment>,
}

fn thread(depth: usize) -> Comment {
    Comment { replies: if depth == 0 { Vec::new() } else { vec![thread(depth - 1)] } }
}

#[tokio::test]
async fn a_value_that_json_would_change_is_refused() {
    let (cache, _) = cache(|builder| builder).await;
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_refused(&cache, number).await;
        assert_refused(&cache, vec![Some(number)]).await;
        assert_refused(&cache, Priced { price: Price { cents: Some(number) } }).await;
        assert_refused(&cache, number as f32).await;
    }
    assert_refused(&cache, Some(None::<u8>)).await;
    assert_refused(&cache, Some(())).await;
    assert_refused(&cache, BTreeMap::from([("a".to_owned(), Some(Some(None::<u8>)))])).await;
    assert_refused(&cache, BTreeMap::from([((1, 2), 3)])).await;
    assert_refused(&cache, thread(100)).await;
}

/// A change of a name: none, its removal, or a new one. Its reader takes null for a removal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Patch {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    name: Option<Option<u8>>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u8>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A ratio whose reader takes null for NaN.
#[derive(Serialize, Deserialize)]
struct Ratio(#[serde(deserialize_with = "nan_if_null")] f64);

fn nan_if_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[tokio::test]
async fn a_value_whose_own_reader_understands_null_is_kept() {
    for verify in [false, true] {
        let (cache, _) = cache(|builder| builder.verify_values(verify)).await;
        for name in [None, Some(None), Some(Some(1))] {
            assert_kept(&cache, vec![Patch { name }]).await;
        }
        let tiers = in_both_tiers(&cache, Ratio(f64::NAN)).await;
        assert!(tiers.iter().all(|ratio| ratio.as_ref().is_some_and(|ratio| ratio.0.is_nan())));
        assert_refused(&cache, Ratio(f64::INFINITY)).await;
    }
}

/// A value whose reader ignores what its writer has written.
#[derive(Serialize, Deserialize)]
struct Forgetful {
    #[serde(skip_deserializing)]
    total: u32,
}

/// A value that is written as something else than it is read from.
#[derive(Serialize, Deserialize)]
struct Renamed {
    #[serde(rename(serialize = "written", deserialize = "read"))]
    total: u32,
}

/// A value whose reader takes the first variant that fits.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Ambiguous {
    Number(f64),
    Whole(u64),
}

#[tokio::test]
async fn a_value_that_does_not_survive_its_round_trip_is_refused_if_that_is_checked() {
    let (checking, _) = cache(|builder| builder.verify_values(true)).await;
    let (trusting, _) = cache(|builder| builder.verify_values(false)).await;
    assert_refused(&checking, Forgetful { total: 1 }).await;
    assert_refused(&checking, Renamed { total: 1 }).await;
    assert_refused(&checking, Ambiguous::Whole(u64::MAX)).await;
    assert_eq!(trusting.stats().not_serializable, 0);
    let [in_memory, in_store] = in_both_tiers(&trusting, Forgetful { total: 1 }).await;
    assert_eq!([in_memory, in_store].map(|value| value.map(|value| value.total)), [Some(1), Some(0)]);
}

/// A value with a part that serde does not show.
#[derive(Clone, Serialize, Deserialize)]
struct Partial {
    total: u32,
    #[serde(skip)]
    unit: &'static str,
}

#[tokio::test]
async fn a_field_that_serde_skips_is_missing_in_every_tier_if_that_is_checked() {
    let (cache, _) = cache(|builder| builder.verify_values(true)).await;
    let tiers = in_both_tiers(&cache, Partial { total: 1, unit: "kg" }).await;
    assert_eq!(
        tiers.map(|value| value.map(|value| (value.total, value.unit))),
        [Some((1, "")), Some((1, ""))]
    );
}

#[cfg(feature = "msgpack")]
#[tokio::test]
async fn messagepack_keeps_more_and_is_checked_as_well() {
    let (cache, _) = cache(|builder| builder.format(Format::Msgpack)).await;
    assert_kept(&cache, vec![f64::INFINITY, f64::NEG_INFINITY]).await;
    assert!(in_both_tiers(&cache, f64::NAN).await.iter().all(|value| value.as_ref().unwrap().is_nan()));
    assert_kept(&cache, BTreeMap::from([((1, 2), 3)])).await;
    assert_kept(&cache, (f32::MIN_POSITIVE, 0.1_f32, 0.1_f64, -0.0_f64, i64::MIN, u64::MAX)).await;
    assert_refused(&cache, Some(None::<u8>)).await;
    assert_refused(&cache, Some(())).await;
    assert_refused(&cache, thread(200)).await;
}

/// Counts the errors that this thread logs.
#[derive(Clone, Default)]
struct ErrorLog(Arc<AtomicUsize>);

impl Subscriber for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_refused_type_is_logged_once_and_each_value_is_counted() {
    let log = ErrorLog::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let (cache, _) = cache(|builder| builder).await;
    for _ in 0..10 {
        assert_refused(&cache, f64::NAN).await;
        assert_refused(&cache, Some(None::<u8>)).await;
    }
    assert_eq!((log.0.load(Ordering::SeqCst), cache.stats().not_serializable), (2, 20));
}
