//! `cargo xtask demo --cookies`: the price of not sharing responses to requests with a session.

use strata_harness::error::Result;

use super::cache_status::Layer;
use super::load::Load;
use super::stats::{LAYERS, share};
use super::workload::Workload;
use super::{Size, setup};
use crate::http;
use crate::progress::Progress;
use crate::stack::shop::Shop;
use crate::stack::{Plan, Stack, Store, worker};

/// The cookies of the load's clients.
#[derive(Clone, Copy)]
pub(super) enum Visitors {
    WithoutCookies,
    /// All clients have the cookies of an analytics tool, and this share a session as well.
    WithAnalytics {
        sessions_percent: usize,
    },
}

/// The compared clients.
const COMPARED: [(&str, Visitors); 5] = [
    ("no cookie", Visitors::WithoutCookies),
    ("analytics cookies", Visitors::WithAnalytics { sessions_percent: 0 }),
    ("a session on 10%", Visitors::WithAnalytics { sessions_percent: 10 }),
    ("a session on 50%", Visitors::WithAnalytics { sessions_percent: 50 }),
    ("a session on 90%", Visitors::WithAnalytics { sessions_percent: 90 }),
];

impl Visitors {
    /// Returns the cookies of the request with this number.
    pub(super) fn cookies(self, number: usize) -> Option<String> {
        let Self::WithAnalytics { sessions_percent } = self else { return None };
        let analytics = format!("_ga=GA1.1.{number}.1; _gid=GA1.1.{number}.2");
        // A prime step spreads the sessions over the load.
        let has_session = number * 37 % 100 < sessions_percent;
        Some(if has_session { format!("{analytics}; sid={number}") } else { analytics })
    }
}

/// Sends the load of the demo to all three layers, for clients with different cookies: with the
/// default, and with a shop that shares responses whatever the cookies are. Prints the share of the
/// reads that each layer answered.
///
/// # Errors
/// If something cannot be built or started.
pub(crate) async fn run(size: &Size) -> Result<()> {
    let (_, (), shop) = tokio::try_join!(setup::redis_server(), worker::prepare(), Shop::prepare())?;
    let client = http::client()?;
    let workload = Workload::generate(size.requests);
    println!("{}\n", workload.description());
    println!("| clients with | responses to sessions | edge | memory | redis | loader |");
    println!("|---|---|---|---|---|---|");
    for (title, visitors) in COMPARED {
        for (policy, ignore_credentials) in [("private (default)", false), ("shared", true)] {
            let progress = Progress::start(format!("load: {title}, {policy}"), Some("20 s"));
            let plan = Plan {
                store: Store::OwnRedis,
                bypass: false,
                ignore_credentials,
                edge: true,
                log_requests: false,
            };
            let stack = Stack::start(&shop, &plan, &client, None).await?;
            let targets: Vec<String> = stack.edge_url().map(str::to_owned).into_iter().collect();
            let load = Load::run(&client, &targets, &workload, visitors, None).await?;
            progress.done();
            let pass = load.into_pass("", 0, &[]);
            let shares = LAYERS.map(|layer: Layer| format!("{:.1}%", share(&pass, layer) * 100.0));
            println!("| {title} | {policy} | {} |", shares.join(" | "));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_clients_with_a_session_is_as_stated() {
        for (_, visitors) in COMPARED {
            let with_session =
                |number: &usize| visitors.cookies(*number).is_some_and(|cookies| cookies.contains("sid="));
            let expected = match visitors {
                Visitors::WithoutCookies => 0,
                Visitors::WithAnalytics { sessions_percent } => sessions_percent,
            };
            assert_eq!((0..100).filter(with_session).count(), expected);
        }
    }
}
