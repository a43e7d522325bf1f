//! Positions that are ahead of the clock, and the queue of a process that is far behind.

use super::*;
use crate::clock::unix_ms;
use crate::store::EmbeddedStore;

const TWO_DAYS: Duration = Duration::from_secs(2 * 24 * 60 * 60);

fn journal() -> (Arc<EmbeddedStore>, Journal) {
    let clock = Clock::manual();
    let store = Arc::new(EmbeddedStore::new(100, 1 << 20, clock.clone()));
    let journal =
        Journal::new(Arc::clone(&store) as _, clock, Arc::default(), Arc::default(), Duration::from_secs(2));
    (store, journal)
}

#[tokio::test]
async fn a_process_with_a_position_from_the_future_goes_back_and_heals() {
    let (_store, journal) = journal();
    journal.catch_up().await.unwrap();
    let future = Position::new(unix_ms() + TWO_DAYS.as_millis() as u64, 0);
    {
        let mut state = journal.write();
        state.position = future;
        state.history.push(Duration::ZERO, future, Duration::ZERO);
        state.appended.push(future);
    }
    journal.catch_up().await.unwrap();
    assert!(!journal.position().is_ahead_of(unix_ms()), "{}", journal.position());
    assert!(!journal.position_at(Some(Duration::ZERO)).is_ahead_of(unix_ms()));
    assert!(journal.read().appended.is_empty(), "its own lost record is not looked for again");
    let before = journal.position();
    journal.invalidate(Mode::Remove, &[Scope::All]).await.unwrap();
    assert_eq!(journal.verdict(&[], before), Verdict::Removed);
    assert_eq!(journal.verdict(&[], journal.position()), Verdict::Valid);
}

#[tokio::test]
async fn a_store_whose_clock_was_ahead_begins_its_journal_anew() {
    let (store, journal) = journal();
    journal.catch_up().await.unwrap();
    let before = journal.position();
    store.jump_ahead(TWO_DAYS);
    // The new record's position differs from the old one's.
    while unix_ms() <= before.ms() {
        tokio::task::yield_now().await;
    }
    journal.catch_up().await.unwrap();
    assert_eq!(journal.verdict(&[], before), Verdict::Removed, "what was lost is unknown");
    assert_eq!(journal.verdict(&[], journal.position()), Verdict::Valid);
    let appended = journal.invalidate(Mode::Remove, &[Scope::All]).await.unwrap();
    assert!(!appended.is_ahead_of(unix_ms()), "{appended}");
}

/// Tokio's clock stands still until there is nothing to do but to wait for it.
#[tokio::test(start_paused = true)]
async fn a_record_after_a_quiet_time_is_applied_without_a_delay() {
    let (store, sender) = journal();
    let lag = Duration::from_secs(2);
    let follower = Arc::new(Journal::new(store, Clock::manual(), Arc::default(), Arc::default(), lag));
    assert!(ensure_follower(&follower));
    sleep(10 * lag).await;
    let (before, news) = (Instant::now(), Arc::clone(&follower.news));
    let position = sender.invalidate(Mode::Remove, &[Scope::All]).await.unwrap();
    while follower.position() < position {
        news.notified().await;
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
}

/// A process that has just started reads the whole ledger, which can take longer than it has for
/// its end.
#[tokio::test(start_paused = true)]
async fn queued_invalidations_are_sent_while_a_catch_up_runs() {
    let (store, journal) = journal();
    let loaded_at = journal.position();
    for _ in 0..2 {
        journal.enqueue(Mode::Remove, &[Scope::All]);
    }
    let catch_up = journal.last_catch_up.lock().await;
    journal.flush_until(Instant::now() + Duration::from_secs(1)).await;
    assert_eq!(journal.unsent(), []);
    assert_eq!(journal.verdict(&[], loaded_at), Verdict::Removed);
    drop(catch_up);
    let other = Journal::new(store, Clock::manual(), Arc::default(), Arc::default(), Duration::from_secs(2));
    other.catch_up().await.unwrap();
    assert_eq!(other.verdict(&[], loaded_at), Verdict::Removed);
}
