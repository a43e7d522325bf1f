//! The server itself: version, clock, user, clients, replication, persistence.

use std::time::Duration;

use super::facts::{Facts, number_of};
use super::{Diagnosis, Health, percent};

/// The difference of clocks at which lifetimes and lags begin to look wrong.
const CLOCK_WARNS: Duration = Duration::from_secs(1);
/// The difference at which positions are no longer believed.
const CLOCK_FAILS: Duration = Duration::from_secs(60 * 60);
/// The bytes that a replica may be behind.
const REPLICA_BEHIND: f64 = 16.0 * 1024.0 * 1024.0;

pub(super) fn version(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "server version";
    let valkey = facts.info.text("valkey_version");
    let version = valkey.or_else(|| facts.info.text("redis_version")).unwrap_or("unknown");
    let figure = format!("{} {version}", if valkey.is_some() { "Valkey" } else { "Redis" });
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    match (valkey.is_some(), major) {
        (true, 9) | (false, 7..=8) => Diagnosis::ok(CHECK, figure),
        (false, 0..7) => Diagnosis::fault(
            CHECK,
            Health::Fail,
            figure,
            "the journal's scripts need Redis 7.0 or newer",
            "upgrade to Redis 8 or Valkey 9",
        ),
        _ => Diagnosis::fault(
            CHECK,
            Health::Warn,
            figure,
            "the promises are tested on Redis 7 and 8, and on Valkey 9",
            "use one of these, or run the tests of the promises on yours (STRATA_REDIS_SERVER)",
        ),
    }
}

pub(super) fn clock(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "clock";
    let server = facts.info.number("server_time_usec");
    if server <= 0.0 {
        return Diagnosis::unknown(CHECK, "the server does not tell its time", "use Redis 7 or newer");
    }
    let difference = Duration::from_micros(server as u64).abs_diff(facts.now);
    let figure = format!("{:.1} s from this machine's", difference.as_secs_f64());
    if difference < CLOCK_WARNS {
        return Diagnosis::ok(CHECK, figure);
    }
    Diagnosis::fault(
        CHECK,
        if difference < CLOCK_FAILS { Health::Warn } else { Health::Fail },
        figure,
        "positions in the journal and ages follow the server's clock; a day ahead and they are not believed",
        "run NTP on the server and on every machine of the fleet",
    )
}

pub(super) fn user(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "user";
    match facts.user.as_deref() {
        None => Diagnosis::unknown(
            CHECK,
            "the user may not run ACL WHOAMI",
            "give it the rights that `cachectl acl` prints",
        ),
        Some("default") => Diagnosis::fault(
            CHECK,
            Health::Warn,
            "default",
            "the default user may do everything, so a leaked URL is enough to read and delete all data",
            "create one user for each task with the rights that `cachectl acl` prints",
        ),
        Some(user) => Diagnosis::ok(CHECK, user),
    }
}

pub(super) fn clients(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "connections";
    let (clients, limit) = (facts.info.number("connected_clients"), facts.info.number("maxclients"));
    let rejected = facts.info.number("rejected_connections");
    let figure = format!("{clients} of {limit}, {rejected} rejected since the start");
    if limit > 0.0 && clients > 0.8 * limit {
        return Diagnosis::fault(
            CHECK,
            Health::Fail,
            figure,
            format!("{} of maxclients are in use; further processes cannot connect", percent(clients, limit)),
            "raise maxclients and the limit of open files, or find who does not close connections (CLIENT LIST)",
        );
    }
    if rejected > 0.0 {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            figure,
            "the limit was reached at least once, and a process then had no cache",
            "raise maxclients, or spread restarts of the fleet over time",
        );
    }
    Diagnosis::ok(CHECK, figure)
}

pub(super) fn replication(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "replication";
    let info = &facts.info;
    if info.text("role") == Some("slave") {
        return Diagnosis::fault(
            CHECK,
            Health::Fail,
            format!("a replica, its link is {}", info.text("master_link_status").unwrap_or("unknown")),
            "invalidations need the primary: a replica refuses them, and they are queued in each process",
            "point the URL at the primary",
        );
    }
    let offset = info.number("master_repl_offset");
    let replicas: Vec<_> =
        info.groups("slave").filter(|(_, replica)| replica.contains_key("state")).collect();
    let mut behind = 0.0_f64;
    let mut broken = 0;
    for (_, replica) in &replicas {
        behind = behind.max(offset - number_of(replica, "offset"));
        broken += usize::from(replica.get("state") != Some(&"online"));
    }
    let minimum = info.text("min_slaves_good_slaves").is_some();
    let figure = format!("primary with {} replicas, at most {behind} bytes behind", replicas.len());
    if broken > 0 || behind > REPLICA_BEHIND {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            figure,
            "a failover to a replica that is behind loses the newest invalidations and values",
            "see the replica's log and network; set min-replicas-to-write 1 and min-replicas-max-lag 2",
        );
    }
    if !replicas.is_empty() && !minimum {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            format!("{figure}, min-replicas-to-write 0"),
            "a primary that is cut off or replaced takes invalidations for seconds more, and loses them",
            "set min-replicas-to-write 1 and min-replicas-max-lag 2 on each server",
        );
    }
    Diagnosis::ok(CHECK, figure)
}

pub(super) fn persistence(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "persistence";
    let info = &facts.info;
    let (rdb, aof) = (info.text("rdb_last_bgsave_status"), info.text("aof_last_write_status"));
    let is_aof = info.text("aof_enabled") == Some("1");
    let figure = format!(
        "snapshot {}, append-only file {}",
        rdb.unwrap_or("unknown"),
        if is_aof { aof.unwrap_or("unknown") } else { "off" }
    );
    if rdb == Some("err") || is_aof && aof == Some("err") {
        return Diagnosis::fault(
            CHECK,
            Health::Fail,
            figure,
            "Redis cannot save its data, and by default refuses all writes then (MISCONF)",
            "free the disk or mend the folder's rights; a pure cache needs no snapshots (save \"\")",
        );
    }
    let fork = info.number("latest_fork_usec") / 1e3;
    if fork > 100.0 {
        return Diagnosis::fault(
            CHECK,
            Health::Warn,
            format!("{figure}, the last fork took {fork:.0} ms"),
            "no command is answered during a fork, so that processes time out and load by themselves",
            "a pure cache needs no snapshots: set save \"\" and appendonly no, or save on a replica",
        );
    }
    Diagnosis::ok(CHECK, figure)
}

#[cfg(test)]
mod tests {
    use super::super::facts::Info;
    use super::*;

    fn facts(info: &str) -> Facts {
        Facts { info: Info::parse(info), now: Duration::from_secs(1_000_000), ..Facts::default() }
    }

    #[test]
    fn versions_that_were_tested_are_in_order() {
        let health = |info: &str| version(&facts(info)).health;
        assert_eq!(health("redis_version:7.0.15"), Health::Ok);
        assert_eq!(health("redis_version:8.2.1"), Health::Ok);
        assert_eq!(health("redis_version:7.2.4\r\nvalkey_version:9.1.0"), Health::Ok);
        assert_eq!(health("redis_version:6.2.14"), Health::Fail);
        assert_eq!(health("redis_version:11.0.0"), Health::Warn);
        assert_eq!(health("redis_version:7.2.4\r\nvalkey_version:8.1.1"), Health::Warn);
    }

    #[test]
    fn the_clocks_may_differ_by_a_second() {
        let health = |usec: u64| clock(&facts(&format!("server_time_usec:{usec}"))).health;
        assert_eq!(health(1_000_000_500_000), Health::Ok);
        assert_eq!(health(1_000_010_000_000), Health::Warn);
        assert_eq!(health(900_000_000_000), Health::Fail);
        assert_eq!(clock(&facts("")).health, Health::Unknown);
    }

    #[test]
    fn a_replica_that_is_not_online_or_far_behind_is_a_warning() {
        let health = |line: &str| {
            let info =
                format!("role:master\r\nmaster_repl_offset:20000000\r\nmin_slaves_good_slaves:1\r\n{line}");
            replication(&facts(&info)).health
        };
        assert_eq!(health(""), Health::Ok);
        assert_eq!(health("slave0:ip=a,port=1,state=online,offset=19999999,lag=0"), Health::Ok);
        assert_eq!(health("slave0:ip=a,port=1,state=online,offset=1,lag=9"), Health::Warn);
        assert_eq!(health("slave0:ip=a,port=1,state=wait_bgsave,offset=20000000,lag=0"), Health::Warn);
        assert_eq!(replication(&facts("role:slave\r\nmaster_link_status:down")).health, Health::Fail);
    }

    #[test]
    fn a_primary_that_takes_writes_without_its_replicas_is_a_warning() {
        let info =
            "role:master\r\nmaster_repl_offset:9\r\nslave0:ip=a,port=1,state=online,offset=9,lag=0\r\n";
        let minimum = format!("{info}min_slaves_good_slaves:1\r\n");
        assert_eq!(replication(&facts(info)).health, Health::Warn);
        assert_eq!(replication(&facts(&minimum)).health, Health::Ok);
    }

    #[test]
    fn a_server_that_cannot_save_or_forks_slowly_is_told() {
        assert_eq!(persistence(&facts("rdb_last_bgsave_status:ok")).health, Health::Ok);
        assert_eq!(persistence(&facts("rdb_last_bgsave_status:err")).health, Health::Fail);
        let aof = "rdb_last_bgsave_status:ok\r\naof_enabled:1\r\naof_last_write_status:err";
        assert_eq!(persistence(&facts(aof)).health, Health::Fail);
        let slow = "rdb_last_bgsave_status:ok\r\nlatest_fork_usec:300000";
        assert_eq!(persistence(&facts(slow)).health, Health::Warn);
    }

    #[test]
    fn connections_near_the_limit_fail() {
        let health = |clients: u32, rejected: u32| {
            let info =
                format!("connected_clients:{clients}\r\nmaxclients:100\r\nrejected_connections:{rejected}");
            super::clients(&facts(&info)).health
        };
        assert_eq!([health(10, 0), health(10, 1), health(90, 0)], [Health::Ok, Health::Warn, Health::Fail]);
    }
}
