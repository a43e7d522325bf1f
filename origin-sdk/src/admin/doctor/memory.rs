//! Memory: its limit, what happens at the limit, and its fragmentation.

use super::facts::{Facts, number_of};
use super::{Diagnosis, Health, human_bytes, percent};

/// The memory below which the ratio of fragmentation means nothing.
const FRAGMENTATION_MATTERS: f64 = 256.0 * 1024.0 * 1024.0;

pub(super) fn limit(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "memory limit";
    let (limit, used) = (facts.info.number("maxmemory"), facts.info.number("used_memory"));
    let machine = facts.info.number("total_system_memory");
    let figure = format!("maxmemory {}, used {}", human_bytes(limit), human_bytes(used));
    if limit == 0.0 {
        return Diagnosis::fault(
            CHECK,
            Health::Fail,
            figure,
            "without a limit Redis grows until the system ends it, and every service loses the cache at once",
            "set maxmemory to at most three quarters of the machine's memory, and an eviction policy",
        );
    }
    if machine > 0.0 && limit > 0.9 * machine {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            figure,
            format!(
                "the machine has {}: copies for saving and connections need room beside it",
                human_bytes(machine)
            ),
            "lower maxmemory to at most three quarters of the machine's memory",
        );
    }
    Diagnosis::ok(CHECK, figure)
}

/// Judges the eviction policy:
///
/// | policy | right for |
/// |---|---|
/// | `allkeys-lru`, `allkeys-lfu` | a pure cache |
/// | `allkeys-lrm` | a cache whose entries lose worth from their last write on |
/// | `volatile-*` but random | a server on which all that is cached has a TTL |
/// | `allkeys-random`, `volatile-random` | nothing: popular keys go as often as others |
/// | `noeviction` | a database, never a cache |
pub(super) fn policy(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "eviction policy";
    const REMEDY: &str =
        "set maxmemory-policy to volatile-lru: what is cached has a TTL, and the journal stays";
    let policy = facts.info.text("maxmemory_policy").unwrap_or("unknown");
    let (keys, with_ttl) = facts
        .info
        .groups("db")
        .map(|(_, counts)| (number_of(&counts, "keys"), number_of(&counts, "expires")))
        .fold((0.0, 0.0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
    if policy == "noeviction" {
        return Diagnosis::fault(
            CHECK,
            Health::Fail,
            policy,
            "once the limit is reached, Redis refuses every new value, and each such read goes to the database",
            REMEDY,
        );
    }
    if policy.ends_with("-random") {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            policy,
            "popular keys are evicted as often as others, and under allkeys-random the journal too, which ends all entries",
            REMEDY,
        );
    }
    if policy.starts_with("volatile-") && keys >= 100.0 && with_ttl < 0.9 * keys {
        let health = if with_ttl < 0.5 * keys { Health::Fail } else { Health::Warn };
        return Diagnosis::fault(
            CHECK,
            health,
            format!("{policy}, {} of {keys} keys have a TTL", percent(with_ttl, keys)),
            "keys without a TTL are never evicted, so that the others get less and less room",
            "give every cached key a TTL, or set maxmemory-policy to allkeys-lru",
        );
    }
    Diagnosis::ok(CHECK, policy)
}

pub(super) fn evictions(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "evictions";
    let (evicted, expired) = (facts.info.number("evicted_keys"), facts.info.number("expired_keys"));
    let figure = format!("{evicted} keys evicted and {expired} expired since the start");
    if evicted > 100.0 && evicted > expired {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            figure,
            "most keys leave before their lifetime ends: the memory is too small for what is cached",
            "raise maxmemory, shorten lifetimes, or stop caching what is hardly ever read twice",
        );
    }
    Diagnosis::ok(CHECK, figure)
}

pub(super) fn fragmentation(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "fragmentation";
    let (used, rss) = (facts.info.number("used_memory"), facts.info.number("used_memory_rss"));
    let ratio = if used > 0.0 { rss / used } else { 1.0 };
    let figure = format!("{ratio:.2} ({} resident for {} used)", human_bytes(rss), human_bytes(used));
    if used >= FRAGMENTATION_MATTERS && ratio > 1.5 {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            figure,
            "a third or more of the process's memory holds no data",
            "set activedefrag yes where the server supports it, or restart a replica and fail over to it",
        );
    }
    if used >= FRAGMENTATION_MATTERS && ratio < 0.9 {
        return Diagnosis::fault(
            CHECK,
            Health::Fail,
            figure,
            "a part of the data has been swapped out, and reads of it take milliseconds",
            "lower maxmemory, or give the machine more memory; turn off its swap",
        );
    }
    Diagnosis::ok(CHECK, figure)
}

#[cfg(test)]
mod tests {
    use super::super::facts::Info;
    use super::*;

    fn facts(info: &str) -> Facts {
        Facts { info: Info::parse(info), ..Facts::default() }
    }

    #[test]
    fn fragmentation_is_judged_only_of_large_memory() {
        let health = |used: u64, rss: u64| {
            fragmentation(&facts(&format!("used_memory:{used}\r\nused_memory_rss:{rss}\r\n"))).health
        };
        assert_eq!(health(1 << 20, 8 << 20), Health::Ok);
        assert_eq!(health(1 << 30, (3 << 30) / 2), Health::Ok);
        assert_eq!(health(1 << 30, 2 << 30), Health::Warn);
        assert_eq!(health(1 << 30, 1 << 29), Health::Fail);
    }

    #[test]
    fn volatile_policies_need_keys_with_a_ttl() {
        let health = |policy: &str, expires: u32| {
            let info = format!("maxmemory_policy:{policy}\r\ndb0:keys=1000,expires={expires},avg_ttl=1\r\n");
            policy_of(&info)
        };
        assert_eq!(health("volatile-lru", 990), Health::Ok);
        assert_eq!(health("volatile-ttl", 800), Health::Warn);
        assert_eq!(health("volatile-lfu", 100), Health::Fail);
        assert_eq!(health("allkeys-lfu", 0), Health::Ok);
        assert_eq!(health("allkeys-random", 990), Health::Warn);
        assert_eq!(health("noeviction", 990), Health::Fail);
    }

    fn policy_of(info: &str) -> Health {
        policy(&facts(info)).health
    }

    #[test]
    fn a_limit_leaves_the_machine_some_memory() {
        let health = |limit: u64| limit_of(&format!("maxmemory:{limit}\r\ntotal_system_memory:1000000\r\n"));
        assert_eq!(health(0), Health::Fail);
        assert_eq!(health(750_000), Health::Ok);
        assert_eq!(health(950_000), Health::Warn);
    }

    fn limit_of(info: &str) -> Health {
        limit(&facts(info)).health
    }
}
