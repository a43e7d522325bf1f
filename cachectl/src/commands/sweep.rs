//! `cachectl sweep`

use std::fmt;
use std::num::NonZeroU32;

use clap::Args;
use origin_sdk::admin::{self, Swept};
use serde::Serialize;

use crate::output::{Exit, Output, Result};
use crate::session::Session;

/// Dead entries are never served, and end with their time to live: a sweep only ends them earlier. It goes through the
/// keyspace once, by SCAN and UNLINK.
#[derive(Args)]
pub(crate) struct Sweep {
    /// Keys looked at in a second, at most
    #[arg(long, value_name = "N", default_value = "1000")]
    keys_per_sec: NonZeroU32,
    /// Only count them
    #[arg(long)]
    dry_run: bool,
}

impl Sweep {
    pub(crate) async fn run(self, session: &Session, output: &mut Output) -> Result<Exit> {
        let sweep = admin::Sweep::paced(self.keys_per_sec).dry_run(self.dry_run);
        let admin = session.admin(None).await?;
        output.print(&Report(admin.sweep(sweep).await?))?;
        Ok(Exit::Done)
    }
}

#[derive(Serialize)]
struct Report(Swept);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Swept { scanned, dead, unlinked, foreign, .. } = self.0;
        writeln!(
            f,
            "{scanned} keys looked at: {dead} dead, {unlinked} of them taken out; {foreign} not Strata's, left alone"
        )
    }
}
