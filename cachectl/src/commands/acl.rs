//! `cachectl acl`

use std::fmt;

use clap::Args;
use origin_sdk::admin::{self, AclRules};
use serde::Serialize;

use crate::output::{Exit, Output, Result};
use crate::session::Session;

/// Needs --app and no Redis. Each line is one of an ACL file; without `user` in front, it is the
/// arguments of ACL SETUSER. Add a password to it, as #SHA-256 or >PASSWORD: a user without one
/// cannot log in.
#[derive(Args)]
pub(crate) struct Acl {}

impl Acl {
    pub(crate) fn run(self, session: &Session, output: &mut Output) -> Result<Exit> {
        let app = session.settings.app.clone().ok_or(
            "expected the name of the app, found none: pass --app NAME, set STRATA_APP, or add app = \"…\" to strata.toml",
        )?;
        let rules = admin::acl_rules_in(session.settings.environment.as_deref(), &app)?;
        output.print(&Report { app, rules })?;
        Ok(Exit::Done)
    }
}

#[derive(Serialize)]
struct Report {
    app: String,
    #[serde(flatten)]
    rules: AclRules,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app, rules } = self;
        writeln!(f, "user {app}-service {}", rules.service)?;
        writeln!(f, "user {app}-shipping-service {}", rules.shipping_service)?;
        writeln!(f, "user {app}-cachectl {}", rules.cachectl)
    }
}
