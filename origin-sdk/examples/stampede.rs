//! A thousand callers of one cold key cause one load. Give a Redis URL as the argument, and run it
//! in several terminals at once, to share the load between processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use origin_sdk::{BoxError, Cache, Lifetime, Namespace, keys};

keys! {
    app "stampede" version 1;

    /// A report that takes long to compute.
    key Report {} = "report";
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut builder = Cache::builder("stampede");
    if let Some(url) = std::env::args().nth(1) {
        builder = builder.redis(url);
    }
    let cache = builder.build().await?;
    let reports: Namespace<Report, String> =
        cache.namespace(Lifetime::fresh(Duration::from_secs(10))).build();
    let loads = Arc::new(AtomicU64::new(0));
    let callers = (0..1000).map(|_| {
        let (reports, loads) = (reports.clone(), Arc::clone(&loads));
        tokio::spawn(async move {
            let load = async move |_, _| {
                loads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok("the report".to_owned())
            };
            reports.get_or_load(&Report {}, load).await
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await??;
    }
    println!("1000 callers, {} loads in this process", loads.load(Ordering::Relaxed));
    Ok(())
}
