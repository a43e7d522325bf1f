//! The worker's variables as checked values. `wrangler.toml` explains each to the person who deploys.

use std::ops::RangeInclusive;
use std::time::Duration;

use shared_keys::purge::Secret;
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::json::Json;
#[cfg(doc)]
use crate::rules::RULES;
use crate::rules::Rules;

/// Name of the variable with the base URL that requests are forwarded to.
const ORIGIN: &str = "ORIGIN";
/// Name of the variable with the longest time, in seconds, that an isolate serves without news from the journal.
const JOURNAL_MAX_LAG_SECS: &str = "JOURNAL_MAX_LAG_SECS";
/// Name of the variable with the time, in seconds, for which stored responses are served beyond that while the journal cannot
/// be reached.
const JOURNAL_MAX_OUTAGE_SECS: &str = "JOURNAL_MAX_OUTAGE_SECS";
/// Name of the variable with the seconds after which the origin counts as failed.
const ORIGIN_TIMEOUT_SECS: &str = "ORIGIN_TIMEOUT_SECS";
/// Name of the variable that switches the log line per request on.
const LOG_REQUESTS: &str = "LOG_REQUESTS";
/// Name of the variable that switches `Server-Timing` on.
const SERVER_TIMING: &str = "SERVER_TIMING";
/// Name of the secret that purge messages are signed with.
pub const PURGE_SECRET: &str = "PURGE_SECRET";

const DEFAULT_JOURNAL_MAX_LAG: Duration = Duration::from_secs(5);
const DEFAULT_ORIGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What the deployment chose.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where requests go; `None` forwards them to their own URL, as a worker on a zone's route does.
    pub origin: Option<Url>,
    /// After so long the origin counts as failed where a stale response may be served instead; 1 to 3,600 seconds, default 10.
    pub origin_timeout: Duration,
    /// An isolate whose journal is older than this asks for it before it serves anything stored; 1 to 3,600 seconds, default 5.
    pub journal_max_lag: Duration,
    /// How much longer stored responses are served while the journal cannot be reached; 0 to 86,400 seconds, default 0: then
    /// requests go to the origin at once.
    pub journal_max_outage: Duration,
    /// What holds per path; by default what the RFCs say.
    pub rules: Rules,
    /// One JSON line per request on the console; default off.
    pub log_requests: bool,
    /// `Server-Timing` on responses; default off.
    pub server_timing: bool,
    /// What purge messages are signed with; `None` closes the purge endpoint.
    pub purge_secret: Option<Secret>,
    /// A variable that cannot be used. Nothing is served from the store or stored then: it could have been meant to forbid that.
    pub fault: Option<Error>,
}

impl Config {
    /// The configuration that the variables describe, of which [`RULES`] is JSON; absent and empty ones have their default.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if it is not known where requests go. Any other variable that cannot be used is a
    /// [`fault`](Self::fault): the origin can answer all the same.
    pub fn read(variable: impl Fn(&str) -> Option<String>, rules: Option<Json>) -> Result<Self, Error> {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let mut fault = None;
        let mut duration = |name, range, default| match variable(name).map(|value| seconds(name, &value, range)) {
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
        let rules = rules.map_or_else(|| Ok(Rules::default()), |json| Rules::read(&json));
        let rules = rules.unwrap_or_else(|error| {
            fault.get_or_insert(error);
            Rules::default()
        });
        let is_on = |name| variable(name).is_some_and(|value| value == "1");
        Ok(Self {
            origin: variable(ORIGIN).map(|value| base_url(&value)).transpose()?,
            origin_timeout,
            journal_max_lag,
            journal_max_outage,
            rules,
            log_requests: is_on(LOG_REQUESTS),
            server_timing: is_on(SERVER_TIMING),
            purge_secret: variable(PURGE_SECRET).and_then(|value| Secret::new(value).ok()),
            fault,
        })
    }
}

fn base_url(value: &str) -> Result<Url, Error> {
    let expected = |why: &str| {
        let text = format!(
            "{ORIGIN}: expected a base URL like https://origin.example, got {value:?} ({why}); set it in wrangler.toml"
        );
        Error::new(ErrorKind::Config, text)
    };
    let url = Url::parse(value.trim()).map_err(|error| expected(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(expected("not http or https"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(expected("a query or fragment has no place in it"));
    }
    Ok(url)
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

    fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
        Config::read(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()), None)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_set_gives_the_defaults() {
        for variables in [&[][..], &[(ORIGIN, ""), (JOURNAL_MAX_LAG_SECS, " "), (PURGE_SECRET, "")]] {
            let config = read(variables).unwrap();
            assert!(config.origin.is_none() && config.purge_secret.is_none() && !config.log_requests);
            assert_eq!((config.journal_max_lag.as_secs(), config.journal_max_outage.as_secs()), (5, 0));
            assert_eq!(config.origin_timeout.as_secs(), 10);
            assert!(config.fault.is_none());
        }
    }

    #[test]
    fn without_an_origin_that_can_be_used_nothing_can_be_forwarded() {
        for value in ["localhost:4001/x", "/x", "ftp://x", "http://x/?a=b"] {
            let error = read(&[(ORIGIN, value)]).unwrap_err();
            assert!(error.starts_with(ORIGIN) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn any_other_variable_that_cannot_be_used_is_a_fault_that_names_it_and_what_came() {
        for (name, value) in [
            (JOURNAL_MAX_LAG_SECS, "0"),
            (JOURNAL_MAX_LAG_SECS, "5s"),
            (JOURNAL_MAX_LAG_SECS, "3601"),
            (JOURNAL_MAX_OUTAGE_SECS, "-1"),
            (JOURNAL_MAX_OUTAGE_SECS, "86401"),
            (ORIGIN_TIMEOUT_SECS, "-1"),
        ] {
            let fault = read(&[(name, value), (ORIGIN, "http://x")]).unwrap().fault.unwrap().to_string();
            assert!(fault.starts_with(name) && fault.contains(value), "{fault}");
        }
        let rules = Json::Text("no JSON".to_owned());
        let fault = Config::read(|_| None, Some(rules)).unwrap().fault.unwrap().to_string();
        assert!(fault.starts_with("RULES: expected an array, got \"no JSON\""), "{fault}");
    }
}
