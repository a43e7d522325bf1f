//! Refreshes that run after the client has its answer: which of them are under way in this isolate.
//!
//! A stale hit on a popular key would start one refresh per request. Each isolate keeps the keys it is refreshing, so it
//! starts one. Only keys and times are kept, never a promise or stream: those must not cross requests.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// The runtime ends what still runs this long after the response; a refresh that did not report back is then over.
pub const REFRESH_LIMIT: Duration = Duration::from_secs(30);

/// The refreshes of one isolate.
#[derive(Debug, Default)]
pub struct Refreshes {
    started: RefCell<HashMap<String, SystemTime>>,
}

impl Refreshes {
    /// Whether the caller is to refresh `key`: `false` while another does.
    pub fn begin(&self, key: &str, now: SystemTime) -> bool {
        let mut started = self.started.borrow_mut();
        let over = |since: &SystemTime| now.duration_since(*since).map_or(true, |ran| ran >= REFRESH_LIMIT);
        if started.get(key).is_some_and(|since| !over(since)) {
            return false;
        }
        // Those that were cut off never call `end`.
        started.retain(|_, since| !over(since));
        started.insert(key.to_owned(), now);
        true
    }

    /// The refresh of `key` has ended, well or not.
    pub fn end(&self, key: &str) {
        self.started.borrow_mut().remove(key);
    }
}

#[cfg(target_arch = "wasm32")]
pub(crate) use adapter::refresh;

#[cfg(target_arch = "wasm32")]
mod adapter {
    use std::rc::Rc;

    use worker::Context;

    use super::Refreshes;
    use crate::error::Error;
    use crate::pipeline::{Confirmed, Exchange, Received, is_failure};
    use crate::policy::select::VaryMarker;
    use crate::policy::{StoredResponse, validate};
    use crate::runtime::now;
    use crate::store::{Entry, Store};

    thread_local! {
        static REFRESHES: Refreshes = Refreshes::default();
    }

    /// Refreshes what is stored under `key` after the client has its answer, unless this isolate is at it.
    pub(crate) fn refresh(
        exchange: Rc<Exchange>,
        key: String,
        stored: StoredResponse,
        marker: Option<VaryMarker>,
        context: &Context,
    ) {
        if !REFRESHES.with(|refreshes| refreshes.begin(&key, now())) {
            return;
        }
        context.wait_until(async move {
            if let Err(error) = try_refresh(&exchange, &key, &stored, marker).await {
                worker::console_warn!("not refreshed: {error}");
            }
            REFRESHES.with(|refreshes| refreshes.end(&key));
        });
    }

    async fn try_refresh(
        exchange: &Exchange,
        key: &str,
        stored: &StoredResponse,
        marker: Option<VaryMarker>,
    ) -> Result<(), Error> {
        let condition = Some(stored).filter(|stored| validate::has_validator(&stored.headers));
        let received = exchange.ask(condition).await?;
        let received = match exchange.confirm(stored, received).await? {
            // An error is no news of the resource: what is stored stays for `stale-if-error`.
            Confirmed::Replaced(received) if is_failure(received.response.status) => return Ok(()),
            Confirmed::Replaced(received) => received,
            // The client took the body that was read with `stored`: read it again, if it is still the one confirmed.
            Confirmed::Freshened(response) => match exchange.store.get(key).await? {
                Some(Entry::Response { response: current, body, .. })
                    if validate::same_validators(&current.headers, &stored.headers) =>
                {
                    Received { response, body }
                }
                _ => return Ok(()),
            },
        };
        match exchange.storable(&received.response) {
            Ok(keep_for) => exchange.keep(received, keep_for, marker).await,
            // The origin no longer lets it be stored: then it must not be served stale either.
            Err(reason) if reason.withdraws(received.response.status) => exchange.store.delete(key).await,
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::at;

    #[test]
    fn one_refresh_per_key_until_it_ends_or_is_cut_off() {
        let refreshes = Refreshes::default();
        assert!(refreshes.begin("a", at(100)));
        assert!(!refreshes.begin("a", at(101)));
        assert!(refreshes.begin("b", at(101)));
        refreshes.end("a");
        assert!(refreshes.begin("a", at(102)));
        assert!(!refreshes.begin("a", at(131)));
        assert!(refreshes.begin("a", at(132)));
    }
}
