//! A process that only ships its journal, for tests that kill and stop it.
//!
//! `strata-test-service APP REDIS_URL WORKER_URL CLOUDFLARE_API_URL` prints `ready` and runs until
//! it is killed.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test's process panics to fail the test")]

use origin_sdk::Cache;
use origin_sdk::cloudflare::{ApiToken, Plan, Zone};
use strata_tests::{CLOUDFLARE_TOKEN, CLOUDFLARE_ZONE, worker_secret};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [app, redis, worker, api] = &arguments[..] else {
        panic!("expected APP REDIS_URL WORKER_URL CLOUDFLARE_API_URL, got {arguments:?}")
    };
    let zone = Zone::new(CLOUDFLARE_ZONE, ApiToken::new(CLOUDFLARE_TOKEN)).api(api).plan(Plan::Enterprise);
    let builder = Cache::builder(app).redis(redis).edge(worker, worker_secret()).zone(zone);
    let _cache = builder.build().await.expect("expected the cache to start");
    println!("ready");
    std::future::pending::<()>().await;
}
