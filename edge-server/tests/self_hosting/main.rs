//! Tests of the built program before the built worker, as an operator runs it.

#![expect(clippy::expect_used, reason = "a test panics to fail")]

mod disk;
mod guide;
mod package;
mod server;
mod start;
mod status;
mod stop;

use strata_tests::{Origin, OriginReply};

/// The fields of a response that is stored.
const SHARED: [(&str, &str); 1] = [("cache-control", "max-age=600")];

/// Starts an origin whose pages can be stored, and are too large for the memory of an isolate.
async fn origin_of_large_pages() -> Origin {
    Origin::start(|request| OriginReply::ok(&SHARED, request.target.repeat(100_000 / request.target.len())))
        .await
}
