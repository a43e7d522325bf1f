//! Checks of a deployment: whether a worker, its secret and its zone behave as the design assumes,
//! which no local test can show.
//!
//! Each check ends with a [`Verdict`]. A check that needs a real zone and has none is
//! [`Verdict::NotCheckable`], never passed.

mod checks;
mod probe;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use shared_keys::purge::Secret;

use self::checks::Checks;
use self::probe::Probe;
use crate::error::BoxError;
use crate::shipping::{ApiToken, Plan};
use crate::web_url::UrlText;

/// The options of a verification: the page and the credentials. A check whose credentials are
/// missing ends as [`Verdict::NotCheckable`].
#[must_use]
pub struct Verify {
    url: UrlText,
    max_lag: Duration,
    secret: Option<Secret>,
    tag: Option<String>,
    zone: Option<(String, ApiToken)>,
    plan: Plan,
    api: UrlText,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// The rule that is checked.
    pub rule: &'static str,
    /// Whether the deployment follows the rule.
    pub verdict: Verdict,
    /// The observation, and how to fix a failure.
    pub detail: String,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// The rule was observed to hold.
    Pass,
    /// The rule was observed to be broken, or a request failed.
    Fail,
    /// The rule cannot be checked from here; the detail says what is missing.
    NotCheckable,
}

impl Verdict {
    /// Returns the verdict's text: `pass`, `fail` or `not checkable here`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotCheckable => "not checkable here",
        }
    }
}

impl Verify {
    /// Creates a verification of the worker in front of `url`, which should be a page that the
    /// worker may store.
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            url: UrlText(url.into()),
            max_lag: Duration::from_secs(5),
            secret: None,
            tag: None,
            zone: None,
            plan: Plan::Free,
            api: UrlText(crate::shipping::CLOUDFLARE_API.to_owned()),
        }
    }

    /// Sets the worker's `JOURNAL_MAX_LAG_SECS`. Default 5 s.
    pub fn max_lag(mut self, max_lag: Duration) -> Self {
        self.max_lag = max_lag;
        self
    }

    /// Sets the secret with which the worker should verify purges. Default none.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Sets a tag that the page has in `Cache-Tag`, by which the zone is purged. Default none.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Sets the ID of the zone in front of the page, and a token that may read and purge the zone.
    /// Default none.
    pub fn zone(mut self, id: impl Into<String>, token: ApiToken) -> Self {
        self.zone = Some((id.into(), token));
        self
    }

    /// Sets the plan that the services are configured with
    /// ([`Zone::plan`](crate::cloudflare::Zone::plan)). Default [`Plan::Free`].
    pub fn plan(mut self, plan: Plan) -> Self {
        self.plan = plan;
        self
    }

    /// Sets the base URL of Cloudflare's API, for tests.
    pub fn api(mut self, base: impl Into<String>) -> Self {
        self.api = UrlText(base.into());
        self
    }

    /// Runs all checks.
    ///
    /// Takes several seconds, because it waits until purges take effect. Purges the page's path,
    /// and leaves entries with random queries at the edge.
    ///
    /// # Errors
    /// If the URL is not the `http` or `https` URL of a page. A wrong or missing response is not an
    /// error but a failed check.
    pub async fn run(&self) -> Result<Vec<Check>, BoxError> {
        let probe = Probe::new(&self.url.0)?;
        Ok(Checks { verify: self, probe: &probe }.run().await)
    }
}

impl fmt::Debug for Verify {
    /// Hides the zone, whose ID may be a token in the wrong place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, max_lag, tag, plan, api, .. } = self;
        let mut verify = f.debug_struct("Verify");
        verify
            .field("url", url)
            .field("max_lag", max_lag)
            .field("tag", tag)
            .field("plan", plan)
            .field("api", api);
        verify.finish_non_exhaustive()
    }
}
