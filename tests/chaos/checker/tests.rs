use super::*;

const PROMISES: Promises = Promises {
    max_lag: Duration::from_millis(1000),
    answer_within: Duration::from_millis(2000),
    recovery: Duration::from_millis(500),
    propagation: Duration::from_millis(50),
};

fn span(start_ms: u64, end_ms: u64) -> Span {
    Span { start: Moment::at_ms(start_ms), end: Moment::at_ms(end_ms) }
}

fn read(process: Process, start_ms: u64, version: u64, fresh: bool) -> (Process, Event) {
    let answer = Answer::Value { version, fresh, layer: "memory".to_owned() };
    (process, Event::Read { item: 1, span: span(start_ms, start_ms + 1), answer })
}

fn invalidated(process: Process, start_ms: u64, version: u64, remove: bool, done: bool) -> (Process, Event) {
    let (way, span) = ("key".to_owned(), span(start_ms, start_ms + 10));
    let journal = if done { Sent::Done } else { Sent::Queued };
    (process, Event::Invalidated { item: 1, version, way, remove, journal, span })
}

fn loaded(process: Process, start_ms: u64, end_ms: u64) -> (Process, Event) {
    (process, Event::Loaded { item: 1, span: span(start_ms, end_ms) })
}

/// Returns the promises that a history breaks.
fn broken(events: Vec<(Process, Event)>, faults: Vec<Fault>) -> Vec<&'static str> {
    broken_in(&History { events, faults, ..History::default() })
}

fn broken_in(history: &History) -> Vec<&'static str> {
    check(history, &PROMISES).iter().map(|violation| violation.promise).collect()
}

#[test]
fn a_process_must_not_serve_as_fresh_a_version_that_it_has_invalidated() {
    for (remove, done) in [(true, true), (true, false), (false, true), (false, false)] {
        let write = invalidated(1, 100, 5, remove, done);
        assert_eq!(broken(vec![write.clone(), read(1, 110, 4, true)], vec![]), ["G1, G2"]);
        assert!(broken(vec![write.clone(), read(1, 110, 5, true)], vec![]).is_empty());
        assert!(
            broken(vec![write.clone(), read(1, 109, 4, true)], vec![]).is_empty(),
            "the invalidation had not returned"
        );
        assert!(broken(vec![write, read(2, 110, 4, true)], vec![]).is_empty(), "another process may lag");
    }
}

#[test]
fn a_later_write_of_a_lower_version_does_not_lower_the_floor() {
    let writes = [invalidated(1, 100, 7, true, true), invalidated(1, 200, 5, true, true)];
    assert_eq!(broken([&writes[..], &[read(1, 300, 6, true)]].concat(), vec![]), ["G1, G2"]);
}

#[test]
fn after_max_lag_no_process_may_serve_as_fresh_a_version_that_the_journal_covers() {
    let done = invalidated(1, 100, 5, true, true);
    assert_eq!(broken(vec![done.clone(), read(2, 1110, 4, true)], vec![]), ["G1, G2"]);
    assert!(broken(vec![done.clone(), read(2, 1109, 4, true)], vec![]).is_empty());
    assert!(broken(vec![done, read(2, 1110, 4, false)], vec![]).is_empty(), "it is reported as stale");
    let queued = invalidated(1, 100, 5, true, false);
    assert!(
        broken(vec![queued, read(2, 5000, 4, true)], vec![]).is_empty(),
        "the receipt did not report it as done"
    );
}

#[test]
fn an_expired_version_may_be_served_as_stale_and_a_removed_one_may_not() {
    assert_eq!(broken(vec![invalidated(1, 100, 5, true, true), read(1, 110, 4, false)], vec![]), ["G3"]);
    assert!(broken(vec![invalidated(1, 100, 5, false, true), read(1, 110, 4, false)], vec![]).is_empty());
}

#[test]
fn two_loads_at_a_time_need_a_fault_or_an_invalidation() {
    let loads = vec![loaded(1, 1000, 1100), loaded(2, 1050, 1150)];
    assert_eq!(broken(loads.clone(), vec![]), ["G4"]);
    assert!(broken(vec![loaded(1, 1000, 1100), loaded(2, 1100, 1150)], vec![]).is_empty());
    let fault = |start, end| Fault { trouble: Trouble::Calm, span: span(start, end), frozen: None };
    assert!(broken(loads.clone(), vec![fault(0, 600)]).is_empty());
    assert_eq!(broken(loads.clone(), vec![fault(0, 400)]), ["G4"], "the fault ended too long before");
    assert_eq!(broken(loads.clone(), vec![fault(1060, 1070)]), ["G4"], "the fault began after both loads");
    let with = |write| [&loads[..], &[write]].concat();
    assert!(broken(with(invalidated(3, 1020, 5, true, true)), vec![]).is_empty());
    assert_eq!(broken(with(invalidated(3, 900, 5, true, true)), vec![]), ["G4"]);
}

#[test]
fn a_read_must_be_answered_in_time_and_without_an_error_of_the_cache() {
    let slow = (1, Event::Read { item: 1, span: span(0, 2001), answer: Answer::LoaderFailed });
    assert_eq!(broken(vec![slow.clone()], vec![]), ["G5"]);
    let frozen = |process| Fault { trouble: Trouble::Calm, span: span(100, 200), frozen: Some(process) };
    assert!(broken(vec![slow.clone()], vec![frozen(1)]).is_empty());
    assert_eq!(broken(vec![slow], vec![frozen(2)]), ["G5"]);
    let failed = |answer| broken(vec![(1, Event::Read { item: 1, span: span(0, 1), answer })], vec![]);
    assert_eq!(failed(Answer::Error("panicked".to_owned())), ["G5"]);
    assert!(failed(Answer::LoaderFailed).is_empty());
}

fn closed(process: Process, start_ms: u64, unsent: &[u64]) -> (Process, Event) {
    let span = span(start_ms, start_ms + 100);
    (process, Event::Closed { unsent: unsent.to_vec(), unfinished: 0, span })
}

#[test]
fn what_a_process_queued_and_did_not_report_as_unsent_at_its_end_must_be_obeyed() {
    let queued = || invalidated(1, 100, 5, true, false);
    let old = |at| read(2, at, 4, true);
    assert_eq!(broken(vec![queued(), closed(1, 200, &[]), old(1300)], vec![]), ["G1, G2"]);
    assert_eq!(broken(vec![queued(), closed(1, 200, &[0]), old(1300)], vec![]), ["G1, G2"], "another item's");
    assert_eq!(broken(vec![queued(), closed(1, 50, &[]), old(1300)], vec![]), ["G1, G2"], "queued meanwhile");
    assert!(broken(vec![queued(), closed(1, 200, &[]), old(1299)], vec![]).is_empty(), "within max_lag");
    assert!(broken(vec![queued(), closed(1, 200, &[1]), old(1300)], vec![]).is_empty(), "reported as unsent");
    assert!(
        broken(vec![queued(), closed(3, 200, &[]), old(1300)], vec![]).is_empty(),
        "another process ended"
    );
    assert!(
        broken(vec![queued(), closed(1, 5, &[]), old(1300)], vec![]).is_empty(),
        "queued after the report"
    );
    let (process, mut stranded) = queued();
    if let Event::Invalidated { journal, .. } = &mut stranded {
        *journal = Sent::Stranded;
    }
    assert!(
        broken(vec![(process, stranded), closed(1, 50, &[]), old(1300)], vec![]).is_empty(),
        "not promised"
    );
}

#[test]
fn a_process_that_ends_while_redis_is_reachable_must_lose_nothing() {
    let with = |end, ended_connected| {
        broken_in(&History { events: vec![end], ended_connected, ..History::default() })
    };
    assert_eq!(with(closed(1, 200, &[4]), vec![1]), ["G1"]);
    assert!(with(closed(1, 200, &[4]), vec![2]).is_empty(), "this process could not reach Redis");
    assert!(with(closed(1, 200, &[]), vec![1]).is_empty());
    let unfinished = Event::Closed { unsent: vec![], unfinished: 1, span: span(200, 300) };
    assert_eq!(with((1, unfinished), vec![1]), ["G1"]);
}

#[test]
fn only_a_process_that_ends_may_find_its_cache_closed() {
    let refused = || (1, Event::Read { item: 1, span: span(100, 300), answer: Answer::Closed });
    assert_eq!(broken(vec![refused()], vec![]), ["G5"]);
    assert_eq!(broken(vec![refused(), closed(2, 200, &[])], vec![]), ["G5"], "another process ended");
    assert_eq!(broken(vec![refused(), closed(1, 301, &[])], vec![]), ["G5"], "it ended later");
    assert!(broken(vec![refused(), closed(1, 200, &[])], vec![]).is_empty());
}
