//! `cachectl inspect KEY`

use std::fmt;

use clap::Args;
use origin_sdk::admin::{EdgeCopy, Inspection, edge_copy};
use serde::Serialize;

use crate::output::{Exit, Output, Result, human_ms, printable};
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Inspect {
    /// The key, such as 'shop:v1:{product:7}'
    key: String,
    /// Also show the edge's stored response for this URL, which should be built from the key
    #[arg(long, value_name = "URL")]
    edge: Option<String>,
}

impl Inspect {
    pub(crate) async fn run(self, session: &Session, output: &mut Output) -> Result<Exit> {
        let redis = session.admin(Some(&self.key)).await?.inspect(&self.key).await?;
        let edge = match &self.edge {
            Some(url) => Some(edge_copy(url).await?),
            None => None,
        };
        let is_servable = matches!(redis.verdict, "fresh" | "stale" | "expired");
        output.print(&Report { redis, edge })?;
        Ok(if is_servable { Exit::Done } else { Exit::NotServable })
    }
}

#[derive(Serialize)]
struct Report {
    redis: Inspection,
    edge: Option<EdgeCopy>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inspection { key, entry, records, verdict, scopes, .. } = &self.redis;
        writeln!(f, "{}: {verdict}", printable(key))?;
        writeln!(f, "  memory   not shown: each process has its own copies, which obey the same records")?;
        match entry {
            None if *verdict == "foreign" => {
                writeln!(f, "  redis    a value that was not written by Strata")?;
            }
            None => writeln!(f, "  redis    no entry")?,
            Some(entry) => {
                writeln!(
                    f,
                    "  redis    {} bytes, loaded at {} in {}",
                    entry.bytes,
                    entry.loaded_at,
                    human_ms(entry.load_ms)
                )?;
                let [age, fresh, swr, sie, left] = [
                    entry.age_ms,
                    entry.fresh_ms,
                    entry.stale_while_revalidate_ms,
                    entry.stale_if_error_ms,
                    entry.ttl_left_ms,
                ]
                .map(human_ms);
                writeln!(
                    f,
                    "           age {age} of {fresh} fresh, {swr} stale-while-revalidate, {sie} stale-if-error; expires from Redis in {left}"
                )?;
            }
        }
        match &self.edge {
            None => writeln!(
                f,
                "  edge     not inspected: pass --edge URL of a response that is built from this key"
            )?,
            Some(EdgeCopy { url, status, age_secs, cache_status, .. }) => {
                let age = age_secs.map(|age| format!(", age {age} s")).unwrap_or_default();
                writeln!(f, "  edge     {status}{age}  {}  {}", printable(cache_status), printable(url))?;
            }
        }
        for scope in scopes {
            let shown = printable(scope);
            let mut last = records.iter().filter(|record| record.scope == *scope).peekable();
            if last.peek().is_none() {
                writeln!(f, "  scope    {shown}")?;
            }
            for record in last {
                let effect = if entry.is_none() {
                    ""
                } else if record.covers {
                    ": covers it"
                } else {
                    ": older than the entry"
                };
                writeln!(f, "  scope    {shown}  {} at {}{effect}", record.mode.as_str(), record.position)?;
            }
        }
        Ok(())
    }
}
