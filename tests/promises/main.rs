//! Tests of the promises G1 to G6, and of what they rest on, against a real Redis.
//!
//! One binary with a module for each promise or topic, because linking takes longer than most of the tests.
//! `cargo test -p strata-tests --test promises` runs all of them, and a name after it selects: `g4` runs the
//! modules of that promise, `g4_fleet` one module. G7 needs the built worker and is the test `g7_edge`.

mod concurrent;
mod g1_invalidation;
mod g2_races;
mod g3_remove_is_final;
mod g4_fleet;
mod g4_one_load;
mod g4_stampede;
mod g5_redis_trouble;
mod g6_shipping;
mod http_layer;
mod journal;
mod shared_keys;
mod sweep;
mod traps;
mod vectors;
