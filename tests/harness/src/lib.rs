//! Starts servers as child processes, for the tests and for `cargo xtask`: each is awaited until it
//! answers, leaves its last lines when it fails, and stops when its value is dropped.

pub mod error;
mod group;
pub mod port;
mod process;
mod redis;

pub use self::group::{Group, Placement};
pub use self::process::{Line, Lines, Process};
pub use self::redis::RedisServer;
