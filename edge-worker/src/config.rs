//! The worker's variables as checked values. `wrangler.toml` explains each to the person who deploys.

use std::time::Duration;

use shared_keys::purge::Secret;
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::policy::Choices;

/// Name of the variable with the base URL that requests are forwarded to.
const ORIGIN: &str = "ORIGIN";
/// Name of the variable with the longest time, in seconds, that an isolate serves without news from the journal.
const JOURNAL_MAX_LAG_SECS: &str = "JOURNAL_MAX_LAG_SECS";
/// Name of the variable with the time, in seconds, for which stored responses are served beyond that while the journal cannot
/// be reached.
const JOURNAL_MAX_OUTAGE_SECS: &str = "JOURNAL_MAX_OUTAGE_SECS";
/// Name of the variable that switches the log line per request on.
const LOG_REQUESTS: &str = "LOG_REQUESTS";
/// Name of the variable that lets responses with `Set-Cookie` be stored.
const STORE_SET_COOKIE: &str = "STORE_SET_COOKIE";
/// Name of the variable that makes the worker obey the cache directives of requests.
const OBEY_REQUESTS: &str = "OBEY_REQUESTS";
/// Name of the secret that purge messages are signed with.
pub const PURGE_SECRET: &str = "PURGE_SECRET";

const DEFAULT_JOURNAL_MAX_LAG: Duration = Duration::from_secs(5);

/// What the deployment chose.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where requests go; `None` forwards them to their own URL, as a worker on a zone's route does.
    pub origin: Option<Url>,
    /// An isolate whose journal is older than this asks for it before it serves anything stored; 1 to 3,600 seconds, default 5.
    pub journal_max_lag: Duration,
    /// How much longer stored responses are served while the journal cannot be reached; 0 to 86,400 seconds, default 0: then
    /// requests go to the origin at once.
    pub journal_max_outage: Duration,
    /// One JSON line per request on the console; default off.
    pub log_requests: bool,
    /// Where HTTP leaves a choice; all off by default.
    pub choices: Choices,
    /// What purge messages are signed with; `None` closes the purge endpoint.
    pub purge_secret: Option<Secret>,
}

impl Config {
    /// The configuration that the variables describe; absent and empty ones have their default.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the variable.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let is_on = |name| variable(name).is_some_and(|value| value == "1");
        Ok(Self {
            origin: variable(ORIGIN).map(|value| base_url(&value)).transpose()?,
            journal_max_lag: variable(JOURNAL_MAX_LAG_SECS)
                .map(|value| seconds(JOURNAL_MAX_LAG_SECS, &value, 1, 3600))
                .transpose()?
                .unwrap_or(DEFAULT_JOURNAL_MAX_LAG),
            journal_max_outage: variable(JOURNAL_MAX_OUTAGE_SECS)
                .map(|value| seconds(JOURNAL_MAX_OUTAGE_SECS, &value, 0, 86_400))
                .transpose()?
                .unwrap_or_default(),
            log_requests: is_on(LOG_REQUESTS),
            choices: Choices { store_set_cookie: is_on(STORE_SET_COOKIE), obey_requests: is_on(OBEY_REQUESTS) },
            purge_secret: variable(PURGE_SECRET).and_then(|value| Secret::new(value).ok()),
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

fn seconds(name: &str, value: &str, min: u64, max: u64) -> Result<Duration, Error> {
    match value.trim().parse() {
        Ok(seconds) if (min..=max).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(Error::new(
            ErrorKind::Config,
            format!("{name}: expected whole seconds from {min} to {max}, got {value:?}; set it in wrangler.toml"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
        Config::read(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_set_gives_the_defaults() {
        for variables in [&[][..], &[(ORIGIN, ""), (JOURNAL_MAX_LAG_SECS, " "), (PURGE_SECRET, "")]] {
            let config = read(variables).unwrap();
            assert!(config.origin.is_none() && config.purge_secret.is_none() && !config.log_requests);
            assert_eq!((config.journal_max_lag.as_secs(), config.journal_max_outage.as_secs()), (5, 0));
        }
    }

    #[test]
    fn an_error_names_the_variable_and_what_came() {
        for (name, value) in [
            (ORIGIN, "localhost:4001/x"),
            (ORIGIN, "/x"),
            (ORIGIN, "ftp://x"),
            (ORIGIN, "http://x/?a=b"),
            (JOURNAL_MAX_LAG_SECS, "0"),
            (JOURNAL_MAX_LAG_SECS, "5s"),
            (JOURNAL_MAX_LAG_SECS, "3601"),
            (JOURNAL_MAX_OUTAGE_SECS, "-1"),
            (JOURNAL_MAX_OUTAGE_SECS, "86401"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(name) && error.contains(value), "{error}");
        }
    }
}
