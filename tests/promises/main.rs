//! Tests of the promises G1 to G6, and of the parts that these rest on, against a real Redis.
//!
//! One binary has a module for each promise or topic, because linking takes longer than most tests.
//! `cargo test -p strata-tests --test promises` runs all modules. A filter selects some: `g4` runs
//! the modules of that promise, `g4_fleet` runs one. G7 needs the built worker and is the test
//! `g7_edge`.

use std::sync::Arc;

use tokio::sync::Semaphore;

mod concurrent;
mod durable_queue;
mod environments;
mod follower;
mod g1_invalidation;
mod g2_races;
mod g3_remove_is_final;
mod g4_commands;
mod g4_fleet;
mod g4_one_load;
mod g4_stampede;
mod g5_redis_trouble;
mod g6_shipping;
mod gone;
mod health;
mod http_credentials;
mod http_layer;
mod journal;
mod large_values;
mod least_rights;
mod lifetimes;
mod memory_only;
mod nested_loads;
mod orderly_end;
mod redis_commands;
mod refused_writes;
mod schema_versions;
mod secrets;
mod sentinel;
mod sentinel_failover;
mod shared_keys;
mod sweep;
mod traps;
mod vectors;

/// Returns the gates `has_read` and `may_end` of `Database::slow_loader`, both closed.
fn gates() -> (Arc<Semaphore>, Arc<Semaphore>) {
    (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)))
}
