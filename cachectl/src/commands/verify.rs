//! `cachectl verify URL`

use std::fmt;
use std::time::Duration;

use clap::Args;
use origin_sdk::Secret;
use origin_sdk::cloudflare::{ApiToken, Plan};
use origin_sdk::verify::{Check, Verdict, Verify as Verification};
use serde::Serialize;

use crate::output::{Exit, Output, Result, printable};
use crate::session::Session;

/// Reads purge_secret, zone, plan and api_token from the environment (STRATA_PURGE_SECRET,
/// STRATA_ZONE, STRATA_PLAN, STRATA_API_TOKEN) or the file. A check that needs a missing setting is
/// reported as not checkable. Purges the page's path, and stores it under some random queries.
#[derive(Args)]
pub(crate) struct Verify {
    /// Cacheable page behind the worker, such as `https://shop.example/api/products/7`
    url: String,
    /// The worker's `JOURNAL_MAX_LAG_SECS`, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 5)]
    max_lag: u64,
    /// Tag of the page, by which the zone is purged
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Base URL of Cloudflare's API
    #[arg(long, value_name = "URL", hide = true)]
    api: Option<String>,
}

impl Verify {
    pub(crate) async fn run(self, session: &Session, output: &mut Output) -> Result<Exit> {
        let settings = &session.settings;
        let mut verification = Verification::url(self.url).max_lag(Duration::from_secs(self.max_lag));
        if let Some(secret) = &settings.purge_secret {
            verification = verification.secret(Secret::new(secret.as_bytes())?);
        }
        if let Some(tag) = self.tag {
            verification = verification.tag(tag);
        }
        if let (Some(zone), Some(token)) = (&settings.zone, &settings.api_token) {
            verification = verification.zone(zone, ApiToken::new(token));
        }
        if let Some(plan) = &settings.plan {
            verification = verification.plan(plan.parse::<Plan>()?);
        }
        if let Some(api) = self.api {
            verification = verification.api(api);
        }
        let checks = verification.run().await?;
        let has_failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
        output.print(&Report { checks })?;
        Ok(if has_failed { Exit::CheckFailed } else { Exit::Done })
    }
}

#[derive(Serialize)]
struct Report {
    checks: Vec<Check>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.iter().try_for_each(|check| {
            let Check { rule, verdict, detail, .. } = check;
            writeln!(f, "{:<18}  {rule}\n{:20}{}", verdict.as_str(), "", printable(detail))
        })
    }
}
