//! The journal object: the texts that isolates share, and an object that is slow or cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use strata_tests::{EdgeFleet, Isolate, Origin, OriginReply, eventually};

use crate::{BOUND, SHARED, get, stored_everywhere};

async fn journal_calls(isolates: &[&Isolate]) -> u64 {
    let mut calls = 0;
    for isolate in isolates {
        calls += isolate.journal_calls().await;
    }
    calls
}

/// Requests `path` from each isolate for `time`, and calls `check` with each reply and its isolate.
async fn poll(
    isolates: &[Isolate],
    path: &str,
    time: Duration,
    mut check: impl FnMut(&Isolate, crate::Reply),
) {
    let since = Instant::now();
    while since.elapsed() < time {
        for isolate in isolates {
            check(isolate, get(isolate, path).await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn isolates_of_a_data_centre_share_the_journals_text() {
    let origin = Origin::start(|_| OriginReply::ok(&[SHARED], "x")).await;
    let fleet = EdgeFleet::start(origin.url(), 2, 4, &[]).await;
    stored_everywhere(fleet.isolates(), "/a").await;
    let of = |data_centre| fleet.isolates_of(data_centre);
    let before = [journal_calls(&of(0)).await, journal_calls(&of(1)).await];
    let time = Duration::from_secs(10);
    poll(fleet.isolates(), "/a", time, |_, reply| assert!(reply.is_hit(), "{}", reply.edge_status)).await;
    for data_centre in [0, 1] {
        let calls = journal_calls(&of(data_centre)).await - before[data_centre];
        // A text is shared for 2 s. Two isolates may find it missing at the same time.
        assert!((1..=10).contains(&calls), "{calls} calls by 4 isolates in {time:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_journal_object_gets_no_more_calls_and_delays_no_hit() {
    let origin = Origin::start(|_| OriginReply::ok(&[SHARED], "x")).await;
    let fleet = EdgeFleet::start(origin.url(), 1, 4, &[]).await;
    stored_everywhere(fleet.isolates(), "/a").await;
    for isolate in fleet.isolates() {
        isolate.set_faults("journal-delay=1500").await;
    }
    let all: Vec<&Isolate> = fleet.isolates().iter().collect();
    let before = journal_calls(&all).await;
    poll(fleet.isolates(), "/a", Duration::from_secs(10), |_, reply| {
        assert!(reply.is_hit(), "{}", reply.edge_status);
    })
    .await;
    let calls = journal_calls(&all).await - before;
    assert!((1..=10).contains(&calls), "{calls} calls by 4 isolates");
}

#[tokio::test(flavor = "multi_thread")]
async fn isolates_that_the_journal_does_not_answer_ask_the_origin_and_recover() {
    let origin = Origin::start(|_| OriginReply::ok(&[SHARED], "x")).await;
    let fleet = EdgeFleet::start(origin.url(), 2, 2, &[]).await;
    let isolates = fleet.isolates();
    stored_everywhere(isolates, "/a").await;
    // The first data centre is cut off, and the object answers the other too late.
    for isolate in isolates {
        isolate.set_faults(["journal=cut", "journal-delay=5000"][isolate.data_centre]).await;
    }
    let all: Vec<&Isolate> = isolates.iter().collect();
    let (cut_at, before) = (Instant::now(), journal_calls(&all).await);
    for isolate in isolates {
        eventually("no stored response is served without a recent snapshot", async || {
            let reply = get(isolate, "/a").await;
            assert_eq!(reply.body, "x");
            reply.edge_status.contains("detail=journal-unreachable")
        })
        .await;
    }
    assert!(cut_at.elapsed() < BOUND, "{:?}", cut_at.elapsed());
    poll(isolates, "/a", Duration::from_secs(4), |_, reply| assert_eq!(reply.body, "x")).await;
    let (calls, time) = (journal_calls(&all).await - before, cut_at.elapsed().as_secs() + 1);
    assert!(calls <= 2 * 2 * time, "{calls} calls in {time} s");
    for isolate in isolates {
        isolate.set_faults("").await;
    }
    stored_everywhere(isolates, "/a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_isolate_that_is_cut_off_serves_purged_responses_after_the_bound() {
    let value = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&value);
    let origin = Origin::start(move |_| {
        OriginReply::ok(&[SHARED, ("cache-tag", "shelf:1")], shown.load(Ordering::SeqCst).to_string())
    })
    .await;
    let fleet = EdgeFleet::start(origin.url(), 2, 2, &[]).await;
    stored_everywhere(fleet.isolates(), "/a").await;
    for isolate in fleet.isolates_of(1) {
        isolate.set_faults("journal=cut").await;
    }
    value.store(1, Ordering::SeqCst);
    fleet.purge(r#"{"scope":"tag:shelf:1","mode":"remove"}"#).await;
    let purged_at = Instant::now();
    while purged_at.elapsed() < BOUND + Duration::from_secs(3) {
        for isolate in fleet.isolates() {
            let late = purged_at.elapsed();
            let body = get(isolate, "/a").await.body;
            assert!(late <= BOUND || body == "1", "{body} {late:?} after the purge");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Without the shared cache each isolate asks the object itself, and hits go on from memory.
#[tokio::test(flavor = "multi_thread")]
async fn isolates_without_a_cache_obey_purges() {
    let origin = Origin::start(|request| {
        OriginReply::ok(&[SHARED, ("cache-tag", "shelf:1")], request.number.to_string())
    })
    .await;
    let fleet = EdgeFleet::start(origin.url(), 2, 1, &[]).await;
    let isolates = fleet.isolates();
    stored_everywhere(isolates, "/a").await;
    for faults in ["cache=fail", "cache=forget", "cache-delay=700"] {
        for isolate in isolates {
            isolate.set_faults(faults).await;
        }
        let old: Vec<String> = vec![get(&isolates[0], "/a").await.body, get(&isolates[1], "/a").await.body];
        fleet.purge(r#"{"scope":"tag:shelf:1","mode":"remove"}"#).await;
        let purged_at = Instant::now();
        for (isolate, old) in isolates.iter().zip(&old) {
            eventually("the new response is served", async || get(isolate, "/a").await.body != *old).await;
        }
        assert!(purged_at.elapsed() <= BOUND, "{faults}: {:?}", purged_at.elapsed());
    }
}
