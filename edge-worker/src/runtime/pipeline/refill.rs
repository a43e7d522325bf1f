//! Refills the store in the background after a purge that asks for it.
//!
//! A page is fetched as for a client's first request, by the same steps: what such a request would
//! not store, a refill does not store either. Its stamp is the journal as it is before the fetch,
//! so the purge that asked for it does not cover it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode};
use shared_keys::{TargetKey, Verdict};
use url::Url;
use worker::{Context, Delay};

use super::collapse::pending;
use super::exchange::{Exchange, Extent};
use super::fetch::Condition;
use crate::client::UNKNOWN_COUNTRY;
use crate::collapse::Role;
use crate::error::Error;
use crate::hot_requests::{HotRequest, HotRequests};
use crate::policy::select::VaryMarker;
use crate::refill::{FETCH_TIMEOUT, PAGES_PER_RUN, RUN_LIMIT, RUN_TIMEOUT, Refill, SLOW};
use crate::rules::{Client, host_of};
use crate::runtime::body::Incoming;
use crate::runtime::refresh_lease::RefreshLease;
use crate::runtime::{after_response, now};

/// The path of the lease's key. One isolate of a data centre refills at a time.
const LEASE_PATH: &str = "/__strata/refill";

thread_local! {
    static HOT: RefCell<HotRequests> = RefCell::default();
    static REFILL: RefCell<Refill> = RefCell::default();
}

impl Exchange {
    /// Counts a request that the stored response under `key` answers, unless rules select the
    /// response by the client, since a refill is no client's.
    pub(super) fn count_hit(&self, key: &str, marker: Option<&VaryMarker>) {
        if self.config.refill_per_second == 0 || !self.selection.is_empty() {
            return;
        }
        let selecting = marker.map(|marker| &marker.fields);
        HOT.with_borrow_mut(|hot| {
            hot.count(key, now(), || {
                HotRequest::of_client(&self.method, &self.url, &self.target, &self.headers, selecting)
            });
        });
    }

    /// Begins a refill if the journal has a new record that asks for one, and goes on with one that
    /// has begun.
    pub(super) fn refill(self: &Rc<Self>, context: &Context) {
        if self.config.refill_per_second == 0 {
            return;
        }
        let needs_run = REFILL.with_borrow_mut(|refill| {
            HOT.with_borrow(|hot| {
                self.journal.read(|snapshot| refill.look_at(snapshot.applied(), hot, now()));
            });
            refill.needs_run(now())
        });
        if needs_run {
            let exchange = Rc::clone(self);
            after_response(context, async move {
                if let Err(error) = exchange.run_refill().await {
                    worker::console_warn!("not refilled: {error}");
                }
                REFILL.with_borrow_mut(Refill::end_run);
            });
        }
    }

    /// Fetches some pages, unless another isolate of the data centre refills.
    async fn run_refill(&self) -> Result<(), Error> {
        let mut site = self.url.clone();
        site.set_path(LEASE_PATH);
        site.set_query(None);
        let lease = RefreshLease::new(site.as_str()).await;
        if !lease.acquire(RUN_TIMEOUT).await? {
            REFILL.with_borrow_mut(|refill| refill.wait_for_another(now()));
            return Ok(());
        }
        let deadline = now() + RUN_LIMIT;
        for _ in 0..PAGES_PER_RUN {
            let next_at = REFILL.with_borrow(Refill::next_at).filter(|next_at| *next_at < deadline);
            let Some(next_at) = next_at else { break };
            if let Ok(pause) = next_at.duration_since(now()) {
                Delay::from(pause).await;
            }
            let Some(page) = REFILL.with_borrow_mut(Refill::take) else { break };
            if let Some(exchange) = self.for_page(page) {
                exchange.refill_page().await;
            }
        }
        lease.release().await
    }

    /// Returns the exchange of a client that sends this request; `None` if the configuration has no
    /// key or no origin for it, or selects by the client.
    fn for_page(&self, page: HotRequest) -> Option<Self> {
        let default_target = TargetKey::parse(&page.url).ok()?;
        let mut headers = HeaderMap::from_iter(page.fields);
        let (rules, country) = (&self.config.rules, UNKNOWN_COUNTRY.to_owned());
        let client = Client { headers: &headers, country: &country };
        let rule = Rc::clone(rules.of(&Method::GET, &default_target, client));
        let selection = rules.select(&Method::GET, &default_target, &rule, &country, &mut headers);
        if !selection.is_empty() {
            return None;
        }
        Some(Self {
            method: Method::GET,
            url: Url::parse(&page.url).ok()?,
            origin: self.config.origin_of(host_of(&default_target))?.clone(),
            target: rule.target(&page.url, default_target)?,
            query: None,
            rule,
            headers,
            country,
            selection,
            websocket: false,
            has_odd_body: false,
            config: Rc::clone(&self.config),
            store: self.store.for_another_request(),
            journal: self.journal.clone(),
        })
    }

    /// Fetches this exchange's page and stores it, if the purge has ended the stored one.
    async fn refill_page(&self) {
        if self.bypass_reason().is_some() {
            return;
        }
        let found = self.lookup().await;
        if let Some(stored) = &found.stored {
            let verdict = self.with_journal(|journal| stored.response.verdict(journal)).await;
            if verdict.is_none_or(|verdict| verdict == Verdict::Valid) {
                return;
            }
        }
        let Some(key) = self.storage_key(&found) else { return };
        // Clients of this isolate that want the page wait for it.
        let Role::Leader(leader) = pending().join(&key, now(), FETCH_TIMEOUT) else { return };
        let began = now();
        REFILL.with_borrow_mut(|refill| refill.begin_fetch(began, self.config.refill_per_second));
        let fetched = self.fetch_page(began).await;
        let failed = fetched.unwrap_or_else(|error| {
            worker::console_warn!("not refilled: {error}");
            true
        });
        if !failed {
            leader.release_stored();
        }
        REFILL.with_borrow_mut(|refill| refill.end_fetch(failed, now()));
    }

    /// Fetches this exchange's page and stores it if that is allowed. Returns whether the origin
    /// fails or is slow.
    async fn fetch_page(&self, began: SystemTime) -> Result<bool, Error> {
        let received = self.fetch(Extent::Whole, Condition::None, FETCH_TIMEOUT).await?;
        let status = received.response.status;
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Ok(true);
        }
        if received.is_keyed
            && let Ok(retention) = self.retention(&received.response)
        {
            self.store(received.response, received.body.map(Incoming::from), retention, None).await?;
        }
        Ok(now().duration_since(began).is_ok_and(|time| time > SLOW))
    }
}
