//! What no local run can show: whether a deployed worker, its secret and its zone do what the design assumes of them.
//!
//! Each check ends with a [`Verdict`]. What needs a real zone and finds none is [`Verdict::NotCheckable`], never passed.

mod checks;
mod probe;

use std::time::Duration;

use serde::Serialize;
use shared_keys::purge::Secret;

use self::checks::Checks;
use self::probe::Probe;
use crate::error::BoxError;
use crate::shipping::{ApiToken, Plan};

/// What is verified, and with which credentials. Without some of them, some checks are not checkable.
#[derive(Debug)]
#[must_use]
pub struct Verify {
    url: String,
    max_lag: Duration,
    secret: Option<Secret>,
    tag: Option<String>,
    zone: Option<(String, ApiToken)>,
    plan: Plan,
    api: String,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What should hold.
    pub rule: &'static str,
    /// Whether it does.
    pub verdict: Verdict,
    /// What was seen, and what to do if it was not what it should be.
    pub detail: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// It was seen to hold.
    Pass,
    /// It was seen not to hold.
    Fail,
    /// It cannot be seen from here; the detail says what is missing.
    NotCheckable,
}

impl Verdict {
    /// `pass`, `fail` or `not checkable here`.
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
    /// For the worker in front of `url`, which should be a page that it may store.
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_lag: Duration::from_secs(5),
            secret: None,
            tag: None,
            zone: None,
            plan: Plan::Free,
            api: crate::shipping::CLOUDFLARE_API.to_owned(),
        }
    }

    /// The worker's `JOURNAL_MAX_LAG_SECS`. Default 5 s.
    pub fn max_lag(mut self, max_lag: Duration) -> Self {
        self.max_lag = max_lag;
        self
    }

    /// The secret that the worker should have. Default none.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// A tag that the page carries in `Cache-Tag`, by which the zone is purged. Default none.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// The zone in front, and a token that may read and purge it. Default none.
    pub fn zone(mut self, id: impl Into<String>, token: ApiToken) -> Self {
        self.zone = Some((id.into(), token));
        self
    }

    /// The plan that the services were told ([`Zone::plan`](crate::cloudflare::Zone::plan)). Default [`Plan::Free`].
    pub fn plan(mut self, plan: Plan) -> Self {
        self.plan = plan;
        self
    }

    /// Another base URL of Cloudflare's API: for tests.
    pub fn api(mut self, base: impl Into<String>) -> Self {
        self.api = base.into();
        self
    }

    /// Runs all checks. Takes seconds: it waits for a purge to be seen. Leaves entries of random queries behind, and purges the
    /// page's path.
    ///
    /// # Errors
    /// If the URL is none. What answers wrongly, or not at all, is a failed check.
    pub async fn run(&self) -> Result<Vec<Check>, BoxError> {
        let probe = Probe::new(&self.url)?;
        Ok(Checks { verify: self, probe: &probe }.run().await)
    }
}
