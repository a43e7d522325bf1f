//! Several isolates of the built worker in several data centres, over one journal object: what one
//! isolate cannot show.
//!
//! Each test has isolates of its own, since some of them break parts of the platform.

#![expect(clippy::expect_used, reason = "a test panics to fail")]

mod journal;
mod persistent;
mod refill;
mod refreshes;
mod unsafe_requests;

use std::time::{Duration, Instant};

use reqwest::Response;
use strata_tests::{Isolate, eventually};

/// The bound: `JOURNAL_MAX_LAG_SECS` of wrangler.toml, and 5 s.
const BOUND: Duration = Duration::from_secs(10);

/// The field of a response that may be stored for longer than a test takes.
const SHARED: (&str, &str) = ("cache-control", "max-age=600");

/// A response as a client sees it.
struct Reply {
    body: String,
    edge_status: String,
}

impl Reply {
    async fn read(response: Response) -> Self {
        let status = response.headers().get("cache-status").map_or("", |value| value.to_str().unwrap_or(""));
        let edge_status = status.to_owned();
        Self { body: response.text().await.expect("the body arrives"), edge_status }
    }

    fn is_hit(&self) -> bool {
        self.edge_status.contains("strata-edge; hit")
    }
}

async fn get(isolate: &Isolate, path: &str) -> Reply {
    Reply::read(isolate.get(path).await).await
}

/// Waits until each isolate serves `path` from its store.
async fn stored_everywhere(isolates: &[Isolate], path: &str) {
    for isolate in isolates {
        eventually("it is stored", async || get(isolate, path).await.is_hit()).await;
    }
}

/// Polls until each isolate serves `body`. Fails if that takes longer than the bound.
async fn expect_within_the_bound(isolates: &[Isolate], path: &str, body: &str) {
    let since = Instant::now();
    for isolate in isolates {
        eventually("it shows the new value", async || get(isolate, path).await.body == body).await;
    }
    assert!(since.elapsed() <= BOUND, "{:?}", since.elapsed());
}
