//! `cachectl sweep`

use std::fmt;
use std::num::NonZeroU32;

use clap::Args;
use origin_sdk::admin::{self, Swept};
use serde::Serialize;

use crate::output::{Exit, Output, Result};
use crate::session::Session;

/// Invalidated entries are never served and expire with their TTL; a sweep frees their memory
/// earlier. It scans the keyspace once, with SCAN and UNLINK.
#[derive(Args)]
pub(crate) struct Sweep {
    /// Maximum number of keys scanned per second
    #[arg(long, value_name = "N", default_value = "1000")]
    keys_per_sec: NonZeroU32,
    /// Count the invalidated entries without removing them
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
            "{scanned} keys scanned: {dead} invalidated, {unlinked} of them removed; {foreign} not written by Strata, left unchanged"
        )
    }
}
