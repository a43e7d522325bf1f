//! The tour: one request after the other, each with a claim about its answer.

use std::time::{Duration, Instant};

use serde::Serialize;
use strata_harness::error::{Error, Result};
use strata_load::cache_status::Layer;

use super::api::{self, Answer};
use crate::stack::Stack;

const PRODUCT: u32 = 31_337;
const USER: u32 = 4_242;
const NEW_PRICE_CENTS: u32 = 123_456;

const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The SDK's `max_lag`, after which no process serves an old value.
const ORIGIN_LIMIT: Duration = Duration::from_secs(2);
/// `JOURNAL_MAX_LAG` (5 s) and 5 s: the edge's bound.
const EDGE_LIMIT: Duration = Duration::from_secs(10);
/// The flags are fresh for 2 s in the shop, and then for as long at the edge.
const STALE_LIMIT: Duration = Duration::from_secs(20);
/// The edge stores a response after it has sent it.
const STORE_LIMIT: Duration = Duration::from_secs(5);

/// One step: a claim, a request, and what the answer showed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) claim: &'static str,
    pub(crate) request: String,
    pub(crate) saw: String,
    pub(crate) millis: f64,
    /// Whether the answer confirms the claim.
    pub(crate) ok: bool,
}

/// Takes the whole tour and prints each step. A step whose claim does not hold is marked, and the
/// tour goes on.
///
/// # Errors
/// If the stack has no edge or fewer than two processes of the shop.
pub(crate) async fn run(client: &reqwest::Client, stack: &Stack) -> Result<Vec<Step>> {
    let ([a, b], Some(edge)) = (stack.shops(), stack.edge_url()) else {
        return Err(Error::new("the tour needs two shops and the edge"));
    };
    let mut tour = Tour { client, a: a.url(), b: b.url(), edge, written_at: None, steps: Vec::new() };
    tour.inward_and_out_again().await;
    tour.stale_while_revalidating().await;
    tour.one_write_everywhere().await;
    tour.private_data().await;
    Ok(tour.steps)
}

struct Tour<'a> {
    client: &'a reqwest::Client,
    a: &'a str,
    b: &'a str,
    edge: &'a str,
    /// The time of the write whose effects are observed.
    written_at: Option<Instant>,
    steps: Vec<Step>,
}

impl Tour<'_> {
    async fn inward_and_out_again(&mut self) {
        let path = api::product_path(PRODUCT);
        let layer_is = |layer: Layer| move |answer: &Answer| answer.cache.layer() == layer;
        self.read("a cold read runs the loader", "shop-a", &path, layer_is(Layer::Loader)).await;
        self.read("the next is answered from memory", "shop-a", &path, layer_is(Layer::Memory)).await;
        self.read("another process finds it in Redis", "shop-b", &path, layer_is(Layer::Redis)).await;
        self.read("the edge does not have it and forwards", "edge", &path, |answer| !answer.cache.edge_hit())
            .await;
        self.wait("the edge has stored it", "edge", &path, STORE_LIMIT, |answer| {
            answer.cache.edge_fresh_hit()
        })
        .await;
    }

    async fn stale_while_revalidating(&mut self) {
        let path = "/api/flags";
        let fresh = |answer: &Answer| answer.cache.edge_fresh_hit();
        let stale = |answer: &Answer| answer.cache.edge_served_stale();
        self.wait("the edge stores the flags", "edge", path, STORE_LIMIT, fresh).await;
        self.wait("past their lifetime they are served stale", "edge", path, STALE_LIMIT, stale).await;
        self.wait("and fresh after the revalidation", "edge", path, STALE_LIMIT, fresh).await;
    }

    async fn one_write_everywhere(&mut self) {
        let path = api::product_path(PRODUCT);
        let is_new = |answer: &Answer| answer.price_cents().is_ok_and(|price| price == NEW_PRICE_CENTS);
        let written = api::put_price(self.client, self.a, PRODUCT, NEW_PRICE_CENTS).await;
        self.written_at = Some(Instant::now());
        self.judge("one write, to one process", format!("PUT shop-a {path}"), written, |answer| {
            answer.status == 200
        });
        self.read("the writer answers with the new price", "shop-a", &path, is_new).await;
        self.wait("the other process follows", "shop-b", &path, ORIGIN_LIMIT, is_new).await;
        self.wait("and so does the edge", "edge", &path, EDGE_LIMIT, is_new).await;
        self.written_at = None;
    }

    async fn private_data(&mut self) {
        let path = format!("/api/users/{USER}/profile");
        let not_stored = |answer: &Answer| {
            answer.status == 200 && !answer.cache.edge_hit() && answer.cache_control.contains("private")
        };
        self.read("private data goes through the edge", "edge", &path, not_stored).await;
        self.read("which never stores it", "edge", &path, not_stored).await;
    }

    /// Reads once.
    async fn read(&mut self, claim: &'static str, target: &str, path: &str, holds: impl Fn(&Answer) -> bool) {
        self.wait(claim, target, path, Duration::ZERO, holds).await;
    }

    /// Reads until the claim holds or the limit has passed.
    async fn wait(
        &mut self,
        claim: &'static str,
        target: &str,
        path: &str,
        limit: Duration,
        holds: impl Fn(&Answer) -> bool,
    ) {
        let base = match target {
            "edge" => self.edge,
            "shop-b" => self.b,
            _ => self.a,
        };
        let since = Instant::now();
        let mut reads = 1;
        let answer = loop {
            let answer = api::get(self.client, base, path).await;
            if answer.as_ref().is_ok_and(&holds) || since.elapsed() >= limit {
                break answer;
            }
            reads += 1;
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        let when = match self.written_at {
            Some(written) => format!(", {} ms after the write", written.elapsed().as_millis()),
            None if reads > 1 => format!(", after {:.1} s", since.elapsed().as_secs_f64()),
            None => String::new(),
        };
        self.judge(claim, format!("GET {target} {path}{when}"), answer, holds);
    }

    fn judge(
        &mut self,
        claim: &'static str,
        request: String,
        answer: Result<Answer>,
        holds: impl Fn(&Answer) -> bool,
    ) {
        let step = match answer {
            Ok(answer) => {
                Step { claim, request, saw: describe(&answer), millis: answer.millis(), ok: holds(&answer) }
            }
            Err(error) => Step { claim, request, saw: error.to_string(), millis: 0.0, ok: false },
        };
        let mark = if step.ok { "✓" } else { "✗" };
        println!("  {mark} {:<45} {:<58} {:<12} {:>8.1} ms", step.claim, step.request, step.saw, step.millis);
        self.steps.push(step);
    }
}

/// Describes an answer: its layer, or its status if that is not 200.
fn describe(answer: &Answer) -> String {
    match answer.status {
        200 if answer.cache.edge_served_stale() => "edge, stale".to_owned(),
        200 => answer.cache.layer().as_str().to_owned(),
        status => format!("status {status}"),
    }
}
