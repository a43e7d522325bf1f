//! The app's journal, and its shipping to the edge.

use super::facts::Facts;
use super::{Diagnosis, Health};
use crate::store::{MAX_FEED, MAX_LEDGER, ShipStatus};

/// The age of the oldest unconfirmed record from which on the edge counts as late, in milliseconds.
const LAG_MS: u64 = 30_000;

pub(super) fn size(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "journal";
    let Some(journal) = facts.journal else {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            "none",
            "no process of the app has connected to this Redis, or the journal was deleted",
            "check the URL, the database number and the environment that the services use",
        );
    };
    let figure = format!("{} records, {} of {MAX_LEDGER} scopes", journal.feed, journal.ledger);
    if journal.ledger >= MAX_LEDGER as u64 {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            figure,
            "the ledger is full: each further scope drops the oldest, and with it all entries loaded before",
            "invalidate by shared tags instead of a tag or key for each datum",
        );
    }
    if journal.feed > 2 * MAX_FEED as u64 {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            figure,
            "the feed is longer than its bound, so it is not trimmed",
            "report it: the scripts trim the feed at every record",
        );
    }
    Diagnosis::ok(CHECK, figure)
}

pub(super) fn shipping(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "shipping to the edge";
    let targets = match &facts.targets {
        Ok(targets) => targets,
        Err(error) => return Diagnosis::unreadable(CHECK, error),
    };
    let Some(worst) = targets.iter().max_by_key(|target| target.lag_ms) else {
        return Diagnosis::ok(CHECK, "no target");
    };
    let ShipStatus { target, shipper, queued, lag_ms, failures, last_error, .. } = worst;
    let figure =
        format!("{target}: {queued} records unconfirmed, the oldest for {:.1} s", *lag_ms as f64 / 1e3);
    if *failures > 0 {
        return Diagnosis::fault(
            CHECK,
            Health::Fail,
            figure,
            format!(
                "the last {failures} attempts failed: {}",
                last_error.as_deref().unwrap_or("unknown error")
            ),
            "mend the cause: the secret, the URL, or the worker (`cachectl verify URL`); nothing is lost meanwhile",
        );
    }
    if *queued > 0 && shipper.is_none() {
        return Diagnosis::fault(
            CHECK,
            Health::Fail,
            figure,
            "no process ships the journal, so the edge does not learn of invalidations",
            "start a service with the edge configured, or `cachectl ship forget` a target that is no longer in use",
        );
    }
    if *lag_ms > LAG_MS {
        return Diagnosis::fault(
            CHECK,
            Health::Fail,
            figure,
            "the edge applies invalidations late",
            "see `cachectl ship status`, and the log of the process that ships",
        );
    }
    Diagnosis::ok(CHECK, figure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::JournalSize;

    fn target(shipper: Option<&str>, queued: u64, lag_ms: u64, failures: u64) -> Facts {
        let target = ShipStatus {
            target: "worker".to_owned(),
            shipper: shipper.map(str::to_owned),
            queued,
            lag_ms,
            confirmed: None,
            confirmed_ms_ago: None,
            failures,
            last_error: (failures > 0).then(|| "the worker answered 401".to_owned()),
            last_error_ms_ago: None,
        };
        Facts { targets: Ok(vec![target]), ..Facts::default() }
    }

    #[test]
    fn a_target_needs_a_shipper_that_succeeds_in_time() {
        assert_eq!(shipping(&Facts::default()).health, Health::Ok);
        assert_eq!(shipping(&target(Some("1-a"), 3, 200, 0)).health, Health::Ok);
        assert_eq!(shipping(&target(None, 0, 0, 0)).health, Health::Ok);
        for bad in [target(None, 1, 200, 0), target(Some("1-a"), 1, 60_000, 0), target(Some("1-a"), 1, 9, 4)]
        {
            assert_eq!(shipping(&bad).health, Health::Fail);
        }
        assert!(shipping(&target(Some("1-a"), 1, 9, 4)).reason.contains("401"));
    }

    #[test]
    fn a_full_ledger_is_a_warning() {
        let health = |ledger| {
            let journal = Some(JournalSize { feed: 5, ledger });
            size(&Facts { journal, ..Facts::default() }).health
        };
        assert_eq!([health(10), health(MAX_LEDGER as u64)], [Health::Ok, Health::Warn]);
        assert_eq!(size(&Facts::default()).health, Health::Warn);
    }
}
