//! `cachectl doctor`

use std::fmt;

use clap::Args;
use origin_sdk::admin::{Diagnosis, Health};
use serde::Serialize;

use crate::output::{Exit, Output, Result, printable};
use crate::session::Session;

/// Checks the version, clock, user, connections, replication and persistence of Redis; its memory
/// limit, eviction policy, evictions and fragmentation; lifetimes and sizes of a sample of its
/// keys; its hit rate and commands; the journal and its shipping. Writes nothing. Each line has the
/// verdict (ok, unknown, warn, fail), the check and its figure; a fault also its consequence and
/// the remedy.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Exit with 5 at a warning too
    #[arg(long)]
    strict: bool,
}

impl Doctor {
    pub(crate) async fn run(self, session: &Session, output: &mut Output) -> Result<Exit> {
        let diagnoses = session.admin(None).await?.diagnose().await?;
        let accepted = if self.strict { Health::Unknown } else { Health::Warn };
        let has_failed = diagnoses.iter().any(|diagnosis| diagnosis.health > accepted);
        output.print(&Report { diagnoses })?;
        Ok(if has_failed { Exit::CheckFailed } else { Exit::Done })
    }
}

#[derive(Serialize)]
struct Report {
    diagnoses: Vec<Diagnosis>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnoses.iter().try_for_each(|diagnosis| {
            let Diagnosis { check, health, figure, reason, remedy, .. } = diagnosis;
            writeln!(f, "{health:<7}  {check:<20}  {}", printable(figure))?;
            for (label, text) in [("why", reason), ("mend", remedy)] {
                if !text.is_empty() {
                    writeln!(f, "{:9}{label:<20}  {}", "", printable(text))?;
                }
            }
            Ok(())
        })
    }
}
