//! Callers of one process that read one cold key at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use origin_sdk::Namespace;
use redis::aio::MultiplexedConnection;

use super::{Answers, Error};
use crate::subjects::article::{self, Pattern};
use crate::subjects::{Page, Value};

/// How long a load takes.
const LOAD: Duration = Duration::from_millis(100);

/// Reads the key with all callers, who arrive evenly over a time. Returns their answers once all of
/// them have one.
pub(super) async fn run(
    pattern: Pattern,
    connection: &MultiplexedConnection,
    pages: &Namespace<Page, Value>,
    key: u64,
    callers: usize,
    over: Duration,
) -> Result<Answers, Error> {
    let (loads, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut calls = Vec::with_capacity(callers);
    for caller in 0..callers {
        let (pages, connection, loads) = (pages.clone(), connection.clone(), Arc::clone(&loads));
        let arrival = over.mul_f64(caller as f64 / callers as f64);
        while let Some(left) = arrival.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            tokio::time::sleep(left).await;
        }
        let called = Instant::now();
        calls.push(tokio::spawn(async move {
            read(pattern, connection, &pages, key, loads).await?;
            Ok::<_, Error>(u64::try_from(called.elapsed().as_micros())?)
        }));
    }
    let mut micros = Vec::with_capacity(callers);
    for call in calls {
        micros.push(call.await??);
    }
    Ok(Answers { micros, loads: loads.load(Ordering::Relaxed) })
}

async fn read(
    pattern: Pattern,
    mut connection: MultiplexedConnection,
    pages: &Namespace<Page, Value>,
    key: u64,
    loads: Arc<AtomicUsize>,
) -> Result<(), Error> {
    let load = move || async move {
        loads.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(LOAD).await;
        format!("{key:>100}")
    };
    match pattern {
        Pattern::Strata => {
            pages.get_or_load(&Page { id: key }, |_, _| async move { Ok(load().await) }).await?;
        }
        Pattern::Lock => {
            article::get_with_lock(&mut connection, &format!("lock:{key}"), load).await?;
        }
        Pattern::XFetch => {
            article::get_with_xfetch(&mut connection, &format!("xfetch:{key}"), load).await?;
        }
    }
    Ok(())
}
