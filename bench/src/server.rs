//! The Redis server's own counters.

use std::time::Duration;

use redis::{Client, Connection};

use crate::fleet::Error;

/// A connection to the server that is measured.
pub(crate) struct Server(Connection);

impl Server {
    /// Connects to a server.
    pub(crate) fn connect(url: &str) -> Result<Self, Error> {
        Ok(Self(Client::open(url)?.get_connection()?))
    }

    /// Returns how many commands the server has executed, also within scripts, without the calls of
    /// this function.
    pub(crate) fn commands(&mut self) -> Result<u64, Error> {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut self.0)?;
        let calls =
            stats.lines().filter(|line| line.starts_with("cmdstat_") && !line.starts_with("cmdstat_info"));
        Ok(calls.filter_map(calls_of).sum())
    }

    /// Returns the processor time of the server so far, in seconds.
    pub(crate) fn processor_seconds(&mut self) -> Result<f64, Error> {
        let info: String = redis::cmd("INFO").arg("cpu").query(&mut self.0)?;
        Ok(processor_time(&info)?.as_secs_f64())
    }
}

/// Reads the processor time from the section `cpu` of the server's `INFO`.
pub(crate) fn processor_time(info: &str) -> Result<Duration, Error> {
    let of = |name: &str| -> Option<f64> {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
    };
    let (user, system) = (of("used_cpu_user"), of("used_cpu_sys"));
    let seconds = user.zip(system).map(|(user, system)| user + system);
    Ok(Duration::from_secs_f64(seconds.ok_or("expected the times of the server")?))
}

/// Returns 12 for `cmdstat_get:calls=12,usec=…`.
fn calls_of(line: &str) -> Option<u64> {
    line.split_once("calls=")?.1.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_a_command_are_read_from_its_line() {
        assert_eq!(calls_of("cmdstat_config|set:calls=12,usec=3"), Some(12));
        assert_eq!(calls_of("# Commandstats"), None);
    }
}
