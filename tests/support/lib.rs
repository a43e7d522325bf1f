//! Support of the end-to-end tests: real servers on free ports that stop when dropped, a database
//! that counts its reads, and waiting with a deadline.

#![expect(clippy::missing_panics_doc, reason = "a test's support panics to fail the test")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test's support panics to fail the test")]

mod cloudflare;
mod database;
mod edge;
mod fake_sentinel;
mod fake_worker;
mod fleet;
pub mod history;
mod origin;
mod proxy;
mod redis_server;
mod sentinels;
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
    #[doc = include_str!("../../docs/guides/keys.md")]
    struct Keys;
    #[doc = include_str!("../../docs/guides/private-data.md")]
    struct PrivateData;
    #[doc = include_str!("../../docs/guides/rolling-deploys.md")]
    struct RollingDeploys;
    #[doc = include_str!("../../docs/guides/testing.md")]
    struct Testing;
    #[doc = include_str!("../../docs/guides/values.md")]
    struct Values;
}

use std::time::{Duration, Instant};

use strata_harness::port;
use tokio::process::Command;

pub use self::cloudflare::{CLOUDFLARE_TOKEN, CLOUDFLARE_ZONE, CloudAnswer, CloudCall, FakeCloudflare};
pub use self::database::Database;
pub use self::edge::Edge;
pub use self::fake_sentinel::{FakeSentinel, Names};
pub use self::fake_worker::{FakeWorker, worker_secret};
pub use self::fleet::{EdgeFleet, Isolate};
pub use self::origin::{Origin, OriginReply, OriginRequest, Rest};
pub use self::proxy::{Passage, Proxy};
pub use self::redis_server::RedisServer;
pub use self::sentinels::Sentinels;
pub use self::source::Source;
pub use self::step_proxy::{StepProxy, StopAt};
pub use self::vectors_worker::VectorsWorker;

/// The time after which a wait fails its test.
pub const WAIT_LIMIT: Duration = Duration::from_secs(20);

origin_sdk::keys! {
    app "test" version 1;

    /// An item, by number.
    pub key Item { id: u64 } = "item:{id}";
    /// A part of an item.
    pub key ItemPart { id: u64, part: u64 } = "item:{id}:part:{part}";
    /// All entries of the group.
    pub tag Group { id: u64 } = "group:{id}";
}

/// Polls every 5 ms until the condition holds. `what` describes it in the panic's message.
///
/// # Panics
/// If the condition does not hold within [`WAIT_LIMIT`].
#[track_caller]
pub fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + WAIT_LIMIT;
        while !holds().await {
            assert!(Instant::now() < deadline, "{caller}: waited {WAIT_LIMIT:?} in vain until {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Returns a port without a listener, chosen by the system.
#[must_use]
pub fn free_port() -> u16 {
    port::free().expect("a free port")
}

/// Returns a command that runs xtask: the program that `cargo xtask test` names, or the one that
/// cargo finds or builds.
pub fn xtask() -> Command {
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
