//! The settings, and the way to Redis for the commands that need it.

use origin_sdk::Topology;
use origin_sdk::admin::Admin;

use crate::output::Result;
use crate::settings::Resolved;

/// One run of the tool.
pub(crate) struct Session {
    pub(crate) settings: Resolved,
}

impl Session {
    pub(crate) fn new(settings: Resolved) -> Self {
        Self { settings }
    }

    /// The fleet. `key` is one of its keys, if the command has one: its first segment names the app.
    pub(crate) async fn admin(&self, key: Option<&str>) -> Result<Admin> {
        let Some(url) = self.settings.redis.clone() else {
            return Err(
                "expected a Redis: give --redis URL, set STRATA_REDIS_URL, or write redis = \"…\" into strata.toml"
                    .into(),
            );
        };
        let of_key = key.and_then(|key| key.split_once(":v")).map(|(app, _)| app);
        let app = self.settings.app.as_deref().or(of_key);
        Ok(Admin::connect(&Topology::Standalone { url }, app).await?)
    }
}
