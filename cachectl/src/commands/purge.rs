//! `cachectl purge key|tag|prefix|path|all`

use std::fmt;
use std::time::Duration;

use clap::{Args, Subcommand};
use origin_sdk::{Mode, Scope, Tag};
use serde::Serialize;

use crate::output::{Exit, Output, Result, human_ms, printable};
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Purge {
    #[command(subcommand)]
    target: Target,
    /// Mark entries as stale instead of removing them: they may still be served within their stale
    /// windows
    #[arg(long, global = true)]
    expire: bool,
    /// Make the edge fetch the purged pages that are requested often again: one at a time, the
    /// most requested first
    #[arg(long, global = true)]
    refill: bool,
    /// Show the record without appending it to the journal
    #[arg(long, global = true)]
    dry_run: bool,
    /// Wait until every target of the shipper has confirmed the purge
    #[arg(long, global = true, conflicts_with = "dry_run")]
    wait: bool,
    /// Timeout of --wait, in seconds
    #[arg(long, global = true, value_name = "SECS", default_value_t = 30)]
    timeout: u64,
}

#[derive(Subcommand)]
enum Target {
    /// One data key, such as 'shop:v1:{product:7}'
    Key { key: String },
    /// All entries with a tag, such as category:7; with several tags, the entries that have all of
    /// them
    Tag {
        #[arg(required = true)]
        tags: Vec<String>,
    },
    /// A key and all keys below it, such as 'shop:v1:{user:42}:'
    Prefix { prefix: String },
    /// A URL path and all paths below it, such as shop.example/api/products
    Path { path: String },
    /// All entries of the app
    All,
}

impl Target {
    fn scope(&self) -> Result<Scope> {
        let text = match self {
            Self::Key { key } => format!("key:{key}"),
            Self::Tag { tags } => {
                let tags = tags.iter().map(|tag| Ok(Tag::new(tag)?)).collect::<Result<Vec<_>>>()?;
                return Ok(Scope::all_tags(tags)?);
            }
            Self::Prefix { prefix } => format!("prefix:{prefix}"),
            Self::Path { path } => format!("path:{path}"),
            Self::All => "all".to_owned(),
        };
        Ok(text.parse()?)
    }

    /// Returns the key or key prefix, whose first segment names the app.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Key { key } => Some(key),
            Self::Prefix { prefix } => Some(prefix),
            _ => None,
        }
    }
}

impl Purge {
    pub(crate) async fn run(self, session: &Session, output: &mut Output) -> Result<Exit> {
        let scope = self.target.scope()?;
        let mode = if self.expire { Mode::Expire } else { Mode::Remove };
        let admin = session.admin(self.target.key()).await?;
        let mut report = Report {
            app: admin.app().to_owned(),
            environment: session.settings.environment.clone(),
            scope: scope.to_string(),
            mode: mode.as_str(),
            refill: self.refill,
            position: None,
            waited: false,
            behind: Vec::new(),
        };
        if !self.dry_run {
            let scopes = if self.refill { vec![scope, Scope::refill()] } else { vec![scope] };
            let position = admin.append(mode, &scopes).await?;
            report.position = Some(position.to_string());
            if self.wait {
                let behind = admin.wait_until_shipped(position, Duration::from_secs(self.timeout)).await?;
                report.waited = true;
                report.behind = behind
                    .into_iter()
                    .map(|target| Behind {
                        target: target.target,
                        lag_ms: target.lag_ms,
                        last_error: target.last_error,
                    })
                    .collect();
            }
        }
        output.print(&report)?;
        Ok(if report.behind.is_empty() { Exit::Done } else { Exit::Unconfirmed })
    }
}

#[derive(Serialize)]
struct Report {
    app: String,
    environment: Option<String>,
    scope: String,
    mode: &'static str,
    /// Whether the edge is to fetch pages again.
    refill: bool,
    /// The record's position; `None` after a dry run.
    position: Option<String>,
    waited: bool,
    /// The targets that had not confirmed when the wait ended.
    behind: Vec<Behind>,
}

#[derive(Serialize)]
struct Behind {
    target: String,
    lag_ms: u64,
    last_error: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let environment = self.environment.iter().map(|name| format!("{name}/")).collect::<String>();
        let app = printable(environment + &self.app);
        let scope = printable(&self.scope) + if self.refill { ", with a refill" } else { "" };
        let mode = self.mode;
        let Some(position) = &self.position else {
            return writeln!(f, "would append to {app}'s journal: {mode} {scope}");
        };
        writeln!(f, "{position}  {mode} {scope}  in {app}'s journal")?;
        if self.waited && self.behind.is_empty() {
            writeln!(f, "every target of the shipper has confirmed it")?;
        }
        for Behind { target, lag_ms, last_error } in &self.behind {
            let error =
                last_error.as_deref().map(|error| format!(": {}", printable(error))).unwrap_or_default();
            let target = printable(target);
            writeln!(f, "{target} has not confirmed it, and is {} behind{error}", human_ms(*lag_ms))?;
        }
        Ok(())
    }
}
