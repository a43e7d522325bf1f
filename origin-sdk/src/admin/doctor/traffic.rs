//! The traffic: hit rate, dangerous commands, slow commands.

use super::facts::{Facts, number_of};
use super::{Diagnosis, Health, percent};

/// The reads below which a hit rate means nothing.
const READS: f64 = 1_000.0;
/// The 99th percentile of a command's time that is worth a warning, in microseconds.
const SLOW_USEC: f64 = 10_000.0;
/// The calls below which a percentile means nothing.
const CALLS: f64 = 100.0;

/// Judges the server's hit rate, and names the likely cause of a low one by what most of the lost
/// keys ended by. Reads that a process's memory answers do not reach Redis.
pub(super) fn hit_rate(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "hit rate of Redis";
    let (hits, misses) = (facts.info.number("keyspace_hits"), facts.info.number("keyspace_misses"));
    let (evicted, expired) = (facts.info.number("evicted_keys"), facts.info.number("expired_keys"));
    let reads = hits + misses;
    if reads < READS {
        return Diagnosis::ok(CHECK, format!("{reads} reads since the start, too few to judge"));
    }
    let figure = format!("{} of {reads} reads since the start", percent(hits, reads));
    if hits >= 0.5 * reads {
        return Diagnosis::ok(CHECK, figure);
    }
    let (reason, remedy) = if evicted > expired && evicted > 0.1 * misses {
        ("keys are evicted before they are read again", "raise maxmemory, or cache less")
    } else if expired > 0.5 * misses {
        (
            "keys expire before they are read again: the lifetime is shorter than the time between reads",
            "raise the lifetime (with tags to invalidate, it may be hours), or do not cache what is read so seldom",
        )
    } else {
        (
            "most reads are of keys that were never stored or were removed: they are read once only, or invalidated more often than read",
            "see `cachectl journal tail` for what is invalidated; do not cache what is not read twice",
        )
    };
    Diagnosis::fault(CHECK, Health::Warn, figure, reason, remedy)
}

pub(super) fn keys_command(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "KEYS and FLUSHALL";
    let calls = |command| facts.info.calls(command);
    let (keys, flushes) = (calls("keys"), calls("flushall") + calls("flushdb"));
    let figure = format!("{keys} calls of KEYS, {flushes} of FLUSHALL and FLUSHDB since the start");
    if keys > 0.0 {
        return Diagnosis::fault(
            CHECK,
            Health::Fail,
            figure,
            "KEYS reads the whole keyspace in one command, and everybody waits for it",
            "use SCAN in scripts, and tags instead of patterns; take the right away (-keys)",
        );
    }
    if flushes > 0.0 {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            figure,
            "a flush removes the journal too, and all processes load everything again at once",
            "use `cachectl purge all`, or purge a tag; take the right away (-flushall -flushdb)",
        );
    }
    Diagnosis::ok(CHECK, figure)
}

pub(super) fn slow_commands(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "slow commands";
    // Commands that wait for something on purpose.
    let waits = |name: &str| {
        name.starts_with('b') && name != "bitcount" || ["xread", "xreadgroup", "wait"].contains(&name)
    };
    let mut slowest: Option<(&str, f64)> = None;
    for (name, percentiles) in facts.info.groups("latency_percentiles_usec_") {
        let p99 = number_of(&percentiles, "p99");
        if facts.info.calls(name) >= CALLS && !waits(name) && slowest.is_none_or(|(_, slowest)| p99 > slowest)
        {
            slowest = Some((name, p99));
        }
    }
    let Some((name, p99)) = slowest else {
        return Diagnosis::ok(CHECK, "too few calls to judge");
    };
    let figure = format!("p99 of {name} is {:.1} ms, the slowest of all", p99 / 1e3);
    if p99 < SLOW_USEC {
        return Diagnosis::ok(CHECK, figure);
    }
    Diagnosis::fault(
        CHECK,
        Health::Warn,
        figure,
        "Redis runs one command at a time, so all others wait as long",
        "see SLOWLOG GET for its arguments; read less at once, or move that work to another server",
    )
}

#[cfg(test)]
mod tests {
    use super::super::facts::Info;
    use super::*;

    fn facts(info: &str) -> Facts {
        Facts { info: Info::parse(info), ..Facts::default() }
    }

    #[test]
    fn a_low_hit_rate_has_its_likely_cause() {
        let diagnosis = |evicted: u32, expired: u32| {
            let counts = "keyspace_hits:1000\r\nkeyspace_misses:9000";
            hit_rate(&facts(&format!("{counts}\r\nevicted_keys:{evicted}\r\nexpired_keys:{expired}")))
        };
        assert!(diagnosis(8_000, 10).reason.contains("evicted"));
        assert!(diagnosis(0, 8_000).reason.contains("expire before"));
        assert!(diagnosis(0, 10).reason.contains("never stored"));
        assert_eq!(diagnosis(0, 10).health, Health::Warn);
        assert_eq!(hit_rate(&facts("keyspace_hits:900\r\nkeyspace_misses:300")).health, Health::Ok);
        assert_eq!(hit_rate(&facts("keyspace_hits:1\r\nkeyspace_misses:300")).health, Health::Ok);
    }

    #[test]
    fn a_slow_command_is_named_and_a_waiting_one_is_not() {
        let info = "cmdstat_get:calls=500,usec=1\r\ncmdstat_smembers:calls=100,usec=1\r\n\
                    cmdstat_xread:calls=900,usec=1\r\ncmdstat_sort:calls=3,usec=1\r\n\
                    latency_percentiles_usec_get:p50=1.003,p99=9.023,p99.9=30.0\r\n\
                    latency_percentiles_usec_smembers:p50=900.0,p99=25000.0,p99.9=30000.0\r\n\
                    latency_percentiles_usec_xread:p50=1.0,p99=900000.0,p99.9=1.0\r\n\
                    latency_percentiles_usec_sort:p50=1.0,p99=900000.0,p99.9=1.0\r\n";
        let diagnosis = slow_commands(&facts(info));
        assert_eq!(diagnosis.health, Health::Warn);
        assert_eq!(diagnosis.figure, "p99 of smembers is 25.0 ms, the slowest of all");
    }
}
