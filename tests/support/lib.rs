//! What the promise tests share: real servers that start on free ports and stop on drop, a source of truth that counts its
//! reads, and waiting with a deadline.

#![expect(clippy::missing_panics_doc, reason = "a test's support panics to fail the test")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test's support panics to fail the test")]

mod cloudflare;
mod database;
mod edge;
mod fake_worker;
pub mod history;
mod origin;
mod proxy;
mod redis_server;
mod source;
mod step_proxy;
mod vectors_worker;

/// Compiles the examples of the README and of `docs/`.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/guides/deploying.md")]
    struct Deploying;
    #[doc = include_str!("../../docs/guides/lifetimes.md")]
    struct Lifetimes;
}

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

pub use self::cloudflare::{CLOUDFLARE_TOKEN, CLOUDFLARE_ZONE, CloudAnswer, CloudCall, FakeCloudflare};
pub use self::database::Database;
pub use self::edge::Edge;
pub use self::fake_worker::{FakeWorker, worker_secret};
pub use self::origin::{Origin, OriginReply, OriginRequest, Rest};
pub use self::proxy::{Passage, Proxy};
pub use self::redis_server::RedisServer;
pub use self::source::Source;
pub use self::step_proxy::{StepProxy, StopAt};
pub use self::vectors_worker::VectorsWorker;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

origin_sdk::keys! {
    app "test" version 1;

    /// An item, by number.
    pub key Item { id: u64 } = "item:{id}";
    /// A part of an item.
    pub key ItemPart { id: u64, part: u64 } = "item:{id}:part:{part}";
    /// Everything that belongs to the group.
    pub tag Group { id: u64 } = "group:{id}";
}

/// Asks until the answer is `true`.
///
/// # Panics
/// If it is not within [`PATIENCE`]; the message says what was waited for.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < deadline, "{caller}: waited {PATIENCE:?} in vain until {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A port that was free a moment ago.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// The project's own commands. `cargo xtask test` has built this very program and names it; without it cargo finds or builds it.
fn xtask() -> Command {
    let mut command = match std::env::var("STRATA_XTASK") {
        Ok(xtask) => Command::new(xtask),
        Err(_) => {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.arg("xtask");
            cargo
        }
    };
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command
}
