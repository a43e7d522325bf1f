//! The worker's configuration: its variables, parsed and checked. `wrangler.toml` explains each to
//! the person who deploys it.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;
use shared_keys::purge::Secret;

use crate::error::{Error, ErrorKind};
use crate::json::Json;
use crate::refill::PER_SECOND;
#[cfg(doc)]
use crate::rules::RULES;
use crate::rules::Rules;
use crate::sites::{ORIGIN, Sites, wrong_origin};
pub use crate::sites::{Origin, SITES};

/// The variable with the largest age, in seconds, of the journal's snapshot that an isolate serves
/// by.
const JOURNAL_MAX_LAG_SECS: &str = "JOURNAL_MAX_LAG_SECS";
/// The variable with the time, in seconds, for which stored responses are served beyond that while
/// the journal is unreachable.
const JOURNAL_MAX_OUTAGE_SECS: &str = "JOURNAL_MAX_OUTAGE_SECS";
/// The variable with the timeout, in seconds, of an origin that a stale response can replace.
const ORIGIN_TIMEOUT_SECS: &str = "ORIGIN_TIMEOUT_SECS";
/// The variable with the field in which a trusted proxy states the client's country.
const COUNTRY_FIELD: &str = "COUNTRY_FIELD";
/// The variable with the largest number of pages that a refill fetches in a second.
const REFILL_PER_SECOND: &str = "REFILL_PER_SECOND";
/// The variable that enables a log line per request.
const LOG_REQUESTS: &str = "LOG_REQUESTS";
/// The variable that enables `Server-Timing`.
const SERVER_TIMING: &str = "SERVER_TIMING";
/// The secret that purge messages are signed with.
pub const PURGE_SECRET: &str = "PURGE_SECRET";
/// The secret before a rotation, which is accepted beside the new one.
pub const PURGE_SECRET_PREVIOUS: &str = "PURGE_SECRET_PREVIOUS";

const DEFAULT_JOURNAL_MAX_LAG: Duration = Duration::from_secs(5);
const DEFAULT_ORIGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The deployment's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The origins of the sites.
    sites: Sites,
    /// The timeout of the origin where a stale response may be served instead; 1 to 3,600 seconds,
    /// default 10.
    pub origin_timeout: Duration,
    /// The age of the journal's snapshot at which an isolate refreshes it before it serves a stored
    /// response; 1 to 3,600 seconds, default 5.
    pub journal_max_lag: Duration,
    /// How much longer stored responses are served while the journal is unreachable; 0 to 86,400
    /// seconds. With the default, 0, requests go to the origin at once.
    pub journal_max_outage: Duration,
    /// The field in which a proxy in front of the worker states the client's country; `None` for
    /// the platform's own.
    pub country_field: Option<HeaderName>,
    /// The largest number of pages that a refill fetches from the origin in a second, in each data
    /// centre; 0 to 100, default 1. With 0, purges that ask for a refill are only purges.
    pub refill_per_second: u32,
    /// The rules per path; by default the RFCs apply unchanged.
    pub rules: Rules,
    /// Write one JSON line per request to the console; default `false`.
    pub log_requests: bool,
    /// Add `Server-Timing` to responses; default `false`.
    pub server_timing: bool,
    /// The secrets that purge messages may be signed with: the current one, and during a rotation
    /// the previous one. Without any, the purge endpoint is closed.
    pub purge_secrets: Vec<Secret>,
    /// The first invalid variable. The store is then not used at all, because the variable may have
    /// been meant to forbid that.
    pub fault: Option<Error>,
}

impl Config {
    /// Reads the configuration from the variables, of which [`RULES`] and [`SITES`] are JSON.
    /// Absent and empty variables have their default; the origin has none, unless there are sites.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if an origin's URL is missing or invalid. The error does not contain
    /// the URL, which may contain a password. Any other invalid variable is a
    /// [`fault`](Self::fault), because the origin can still answer.
    ///
    /// ```
    /// use edge_worker::config::Config;
    ///
    /// let variables = |name: &str| match name {
    ///     "ORIGIN" => Some("https://origin.example".to_owned()),
    ///     "JOURNAL_MAX_LAG_SECS" => Some("30".to_owned()),
    ///     _ => None,
    /// };
    /// let config = Config::read(variables, None, None)?;
    /// assert_eq!(config.journal_max_lag.as_secs(), 30);
    /// assert!(config.origin_of("any.example").is_some());
    /// # Ok::<(), edge_worker::error::Error>(())
    /// ```
    pub fn read(
        variable: impl Fn(&str) -> Option<String>,
        rules: Option<Json>,
        sites: Option<&Json>,
    ) -> Result<Self, Error> {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let mut fault = None;
        let mut duration =
            |name, range, default| match variable(name).map(|value| seconds(name, &value, range)) {
                None => default,
                Some(Ok(duration)) => duration,
                Some(Err(error)) => {
                    fault.get_or_insert(error);
                    default
                }
            };
        let journal_max_lag = duration(JOURNAL_MAX_LAG_SECS, 1..=3600, DEFAULT_JOURNAL_MAX_LAG);
        let journal_max_outage = duration(JOURNAL_MAX_OUTAGE_SECS, 0..=86_400, Duration::ZERO);
        let origin_timeout = duration(ORIGIN_TIMEOUT_SECS, 1..=3600, DEFAULT_ORIGIN_TIMEOUT);
        let refill_per_second =
            variable(REFILL_PER_SECOND).map(|value| pages(&value)).unwrap_or(Ok(PER_SECOND));
        let refill_per_second = refill_per_second.unwrap_or_else(|error| {
            fault.get_or_insert(error);
            0
        });
        let rules = rules.map_or_else(|| Ok(Rules::default()), |json| Rules::read(&json));
        let rules = rules.unwrap_or_else(|error| {
            fault.get_or_insert(error);
            Rules::default()
        });
        let mut purge_secrets = Vec::new();
        for name in [PURGE_SECRET, PURGE_SECRET_PREVIOUS] {
            match variable(name).map(Secret::new) {
                None => {}
                Some(Ok(secret)) => purge_secrets.push(secret),
                Some(Err(error)) => {
                    fault.get_or_insert(Error::new(ErrorKind::Config, format!("{name}: {error}")));
                }
            }
        }
        let country_field = variable(COUNTRY_FIELD).and_then(|name| {
            let expected = || format!("{COUNTRY_FIELD}: expected the name of a field, got {name:?}");
            let parsed = name.trim().parse();
            parsed.map_err(|_| fault.get_or_insert(Error::new(ErrorKind::Config, expected()))).ok()
        });
        let sites = Sites::read(sites, variable(ORIGIN).as_deref())?;
        let is_on = |name| variable(name).is_some_and(|value| value == "1");
        Ok(Self {
            sites,
            origin_timeout,
            journal_max_lag,
            journal_max_outage,
            country_field,
            refill_per_second,
            rules,
            log_requests: is_on(LOG_REQUESTS),
            server_timing: is_on(SERVER_TIMING),
            purge_secrets,
            fault,
        })
    }

    /// Returns the origin of a host in lower case, without its port; `None` if no site has the
    /// host.
    pub fn origin_of(&self, host: &str) -> Option<&Origin> {
        self.sites.origin_of(host)
    }

    /// Returns why an origin must not be [`Origin::Zone`] outside the platform.
    pub fn zone_refusal() -> Error {
        let why = "`zone` is right only on Cloudflare, which ensures that the host is one of the zone's";
        wrong_origin(ORIGIN, why)
    }
}

fn pages(value: &str) -> Result<u32, Error> {
    value.trim().parse().ok().filter(|pages| *pages <= 100).ok_or_else(|| {
        let text = format!(
            "{REFILL_PER_SECOND}: expected a whole number from 0 to 100, got {value:?}; set it in wrangler.toml"
        );
        Error::new(ErrorKind::Config, text)
    })
}

fn seconds(name: &str, value: &str, range: RangeInclusive<u64>) -> Result<Duration, Error> {
    match value.trim().parse() {
        Ok(seconds) if range.contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(Error::new(
            ErrorKind::Config,
            format!(
                "{name}: expected whole seconds from {} to {}, got {value:?}; set it in wrangler.toml",
                range.start(),
                range.end()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::ZONE;

    fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
        Config::read(
            |name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()),
            None,
            None,
        )
        .map_err(|error| error.to_string())
    }

    #[test]
    fn absent_and_empty_variables_have_their_defaults() {
        for variables in
            [&[(ORIGIN, ZONE)][..], &[(ORIGIN, " zone "), (JOURNAL_MAX_LAG_SECS, " "), (PURGE_SECRET, "")]]
        {
            let config = read(variables).unwrap();
            assert_eq!(config.origin_of("any.example"), Some(&Origin::Zone));
            assert!(config.purge_secrets.is_empty() && !config.log_requests);
            assert_eq!((config.journal_max_lag.as_secs(), config.journal_max_outage.as_secs()), (5, 0));
            assert_eq!((config.origin_timeout.as_secs(), config.refill_per_second), (10, 1));
            assert!(config.fault.is_none());
        }
    }

    #[test]
    fn an_invalid_origin_is_an_error_that_does_not_contain_it() {
        for value in [
            "localhost:4001/x",
            "/x",
            "ftp://x",
            "http://x/?a=b",
            "https://user:hunter2@origin.example",
            "https://hunter2@origin.example",
            "https:/:hunter2@@",
            "https://user:hunter2@origin.example:port",
        ] {
            let error = read(&[(ORIGIN, value)]).unwrap_err();
            assert!(
                error.starts_with(ORIGIN) && !error.contains(value) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    /// The host of a request would otherwise choose the target.
    #[test]
    fn a_missing_origin_is_an_error() {
        for variables in [&[][..], &[(ORIGIN, "")], &[(ORIGIN, " ")]] {
            assert!(read(variables).unwrap_err().contains("it is not set"));
        }
    }

    #[test]
    fn a_secret_of_less_than_16_bytes_is_a_fault_that_does_not_contain_it() {
        for name in [PURGE_SECRET, PURGE_SECRET_PREVIOUS] {
            let config = read(&[(ORIGIN, ZONE), (name, "hunter2")]).unwrap();
            let fault = config.fault.unwrap().to_string();
            let names_it = fault.starts_with(&format!("{name}: "));
            assert!(config.purge_secrets.is_empty() && names_it && !fault.contains("hunter2"), "{fault}");
        }
        let config = read(&[(ORIGIN, ZONE), (PURGE_SECRET, "sixteen bytes...")]).unwrap();
        assert!(config.fault.is_none() && config.purge_secrets[0].is_short());
    }

    #[test]
    fn any_other_invalid_variable_is_a_fault_that_names_it_and_its_value() {
        for (name, value) in [
            (JOURNAL_MAX_LAG_SECS, "0"),
            (JOURNAL_MAX_LAG_SECS, "5s"),
            (JOURNAL_MAX_LAG_SECS, "3601"),
            (JOURNAL_MAX_OUTAGE_SECS, "-1"),
            (JOURNAL_MAX_OUTAGE_SECS, "86401"),
            (ORIGIN_TIMEOUT_SECS, "-1"),
            (COUNTRY_FIELD, "a b"),
            (REFILL_PER_SECOND, "101"),
            (REFILL_PER_SECOND, "0.5"),
        ] {
            let fault = read(&[(name, value), (ORIGIN, "http://x")]).unwrap().fault.unwrap().to_string();
            assert!(fault.starts_with(name) && fault.contains(value), "{fault}");
        }
        let rules = Json::Text("no JSON".to_owned());
        let fault = Config::read(|name| (name == ORIGIN).then(|| ZONE.to_owned()), Some(rules), None)
            .unwrap()
            .fault
            .unwrap()
            .to_string();
        assert!(fault.starts_with("RULES: expected an array, got \"no JSON\""), "{fault}");
    }
}
