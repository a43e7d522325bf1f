//! `cachectl ship status|forget`

use std::fmt;

use clap::Subcommand;
use origin_sdk::ShipStatus;
use serde::Serialize;

use crate::output::{Exit, Output, Result, human_ms, printable};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Ship {
    /// Print the state of each target
    Status,
    /// Remove the state of a target that no process ships to any more
    Forget {
        /// Name of the target, as in the status
        target: String,
    },
}

impl Ship {
    pub(crate) async fn run(self, session: &Session, output: &mut Output) -> Result<Exit> {
        let admin = session.admin(None).await?;
        match self {
            Self::Status => {
                output.print(&Status { app: admin.app().to_owned(), targets: admin.ship_status().await? })?;
            }
            Self::Forget { target } if admin.forget_target(&target).await? => {
                output.print(&Forgotten { target })?;
            }
            Self::Forget { target } => {
                return Err(format!(
                    "expected a target of the shipper, got {target:?}: run cachectl ship status for the names"
                )
                .into());
            }
        }
        Ok(Exit::Done)
    }
}

#[derive(Serialize)]
struct Status {
    app: String,
    targets: Vec<ShipStatus>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.targets.is_empty() {
            return writeln!(f, "{}'s journal has no shipping target", printable(&self.app));
        }
        for target in &self.targets {
            let ago = |ms: Option<u64>| ms.map(|ms| format!("{} ago", human_ms(ms))).unwrap_or_default();
            writeln!(f, "{}", printable(&target.target))?;
            writeln!(f, "  shipper    {}", printable(target.shipper.as_deref().unwrap_or("none")))?;
            writeln!(f, "  queued     {}, the oldest for {}", target.queued, human_ms(target.lag_ms))?;
            let confirmed = target
                .confirmed
                .map(|position| position.to_string())
                .unwrap_or_else(|| "nothing yet".to_owned());
            writeln!(f, "  confirmed  {confirmed}  {}", ago(target.confirmed_ms_ago))?;
            if let Some(error) = &target.last_error {
                let failures = match target.failures {
                    0 => "recovered since".to_owned(),
                    times => format!("{times} times since the last success"),
                };
                writeln!(
                    f,
                    "  failed     {}, {failures}: {}",
                    ago(target.last_error_ms_ago),
                    printable(error)
                )?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Forgotten {
    target: String,
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "removed the target {}", printable(&self.target))
    }
}
