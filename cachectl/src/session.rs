//! The settings, and the connection to Redis for the commands that need one.

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

    /// Connects to the fleet's Redis. Without the setting `app`, the first segment of `key` names
    /// the app.
    pub(crate) async fn admin(&self, key: Option<&str>) -> Result<Admin> {
        let Some(url) = self.settings.redis.clone() else {
            return Err(
                "expected the URL of a Redis, found none: pass --redis URL, set STRATA_REDIS_URL, or add redis = \"…\" to strata.toml"
                    .into(),
            );
        };
        let of_key = key.and_then(|key| key.split_once(":v")).map(|(app, _)| app);
        let app = self.settings.app.as_deref().or(of_key);
        Ok(Admin::connect_in(&Topology::from_url(url), self.settings.environment.as_deref(), app).await?)
    }
}
