//! Batches and invalidations of any size, against a real Redis. Each test needs the whole machine,
//! so they run one after the other, in a binary of their own.

mod batches;
mod invalidations;

/// Held by the running test.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
