//! Flags, the environment and a file → settings, in this order.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::output::Result;

/// Read if it is there and no other is named.
const DEFAULT_FILE: &str = "strata.toml";

/// What is the same for all commands.
#[derive(Args)]
pub(crate) struct Settings {
    /// The fleet's Redis, such as redis://127.0.0.1:6379
    #[arg(long, global = true, value_name = "URL", env = "STRATA_REDIS_URL", hide_env_values = true)]
    redis: Option<String>,
    /// The app, as `keys!` names it; not needed if there is only one in this Redis
    #[arg(long, global = true, value_name = "NAME", env = "STRATA_APP")]
    app: Option<String>,
    /// A file with settings, in TOML
    #[arg(long, global = true, value_name = "FILE", env = "STRATA_CONFIG")]
    config: Option<PathBuf>,
}

/// The settings that hold, and those that only the environment and the file may give.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolved {
    pub(crate) redis: Option<String>,
    pub(crate) app: Option<String>,
    /// The secret that purge messages are signed with.
    pub(crate) purge_secret: Option<String>,
    /// The zone's ID.
    pub(crate) zone: Option<String>,
    /// The plan that its account has.
    pub(crate) plan: Option<String>,
    /// A token that may purge the zone.
    pub(crate) api_token: Option<String>,
}

impl Settings {
    pub(crate) fn resolve(self) -> Result<Resolved> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
            None => Resolved::default(),
        };
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Ok(Resolved {
            redis: self.redis.or(file.redis),
            app: self.app.or(file.app),
            purge_secret: variable("STRATA_PURGE_SECRET").or(file.purge_secret),
            zone: variable("STRATA_ZONE").or(file.zone),
            plan: variable("STRATA_PLAN").or(file.plan),
            api_token: variable("STRATA_API_TOKEN").or(file.api_token),
        })
    }
}

fn read(path: &Path) -> Result<Resolved> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    // The parser's own message shows the line, which may hold a secret.
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        format!("{}:{line}: {}", path.display(), error.message()).into()
    })
}
