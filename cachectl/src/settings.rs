//! Flags, environment variables and a file → settings. The first of these that has a setting wins.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use toml::{Spanned, Value};

use crate::output::Result;

/// The file that is read if it exists and --config is not given.
const DEFAULT_FILE: &str = "strata.toml";

/// The flags of every command.
#[derive(Args)]
pub(crate) struct Settings {
    /// URL of the fleet's Redis, such as redis://127.0.0.1:6379
    #[arg(long, global = true, value_name = "URL", env = "STRATA_REDIS_URL", hide_env_values = true)]
    redis: Option<String>,
    /// Name of the app, as in `keys!`; may be omitted if only one app uses this Redis
    #[arg(long, global = true, value_name = "NAME", env = "STRATA_APP")]
    app: Option<String>,
    /// Name of the environment, as in `CacheBuilder::environment`; omitted if the services set none
    #[arg(long, global = true, value_name = "NAME", env = "STRATA_ENVIRONMENT")]
    environment: Option<String>,
    /// TOML file with settings
    #[arg(long, global = true, value_name = "FILE", env = "STRATA_CONFIG")]
    config: Option<PathBuf>,
}

/// The settings in effect. The secrets have no flag, because other
/// users of the machine can read a process's arguments.
#[derive(Default)]
pub(crate) struct Resolved {
    pub(crate) redis: Option<String>,
    pub(crate) app: Option<String>,
    pub(crate) environment: Option<String>,
    /// The secret that signs purge messages.
    pub(crate) purge_secret: Option<String>,
    /// The zone's ID.
    pub(crate) zone: Option<String>,
    /// The zone's plan.
    pub(crate) plan: Option<String>,
    /// An API token with the permission to purge the zone.
    pub(crate) api_token: Option<String>,
}

impl Resolved {
    const NAMES: [&str; 7] = ["redis", "app", "environment", "purge_secret", "zone", "plan", "api_token"];

    fn by_name(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "redis" => Some(&mut self.redis),
            "app" => Some(&mut self.app),
            "environment" => Some(&mut self.environment),
            "purge_secret" => Some(&mut self.purge_secret),
            "zone" => Some(&mut self.zone),
            "plan" => Some(&mut self.plan),
            "api_token" => Some(&mut self.api_token),
            _ => None,
        }
    }
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
            environment: self.environment.or(file.environment),
            purge_secret: variable("STRATA_PURGE_SECRET").or(file.purge_secret),
            zone: variable("STRATA_ZONE").or(file.zone),
            plan: variable("STRATA_PLAN").or(file.plan),
            api_token: variable("STRATA_API_TOKEN").or(file.api_token),
        })
    }
}

/// Reads the file. Errors show no value of it, since any may be a secret, and no line of it.
fn read(path: &Path) -> Result<Resolved> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let at = |from: usize| format!("{}:{}", path.display(), text[..from].matches('\n').count() + 1);
    let values: BTreeMap<String, Spanned<Value>> = toml::from_str(&text).map_err(|error| {
        let from = error.span().map_or(0, |span| span.start);
        format!("{}: expected TOML such as app = \"shop\": {}", at(from), error.message())
    })?;
    let mut settings = Resolved::default();
    for (name, value) in values {
        let at = at(value.span().start);
        let Some(setting) = settings.by_name(&name) else {
            let names = Resolved::NAMES.join(", ");
            return Err(format!("{at}: expected one of the settings {names}, got another name").into());
        };
        match value.into_inner() {
            Value::String(value) => *setting = Some(value),
            other => {
                let kind = other.type_str();
                return Err(format!("{at}: {name}: expected a text in quotes, got the type {kind}").into());
            }
        }
    }
    Ok(settings)
}
