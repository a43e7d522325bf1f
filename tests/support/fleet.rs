//! Several isolates of the built worker in several data centres, over one journal object.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::{Method, RequestBuilder, Response};

use crate::{Edge, eventually, free_port};

/// The host of the site that all isolates serve. It is part of the keys of stored responses.
const SITE: &str = "site.test";
/// The module that runs in place of the worker's own, so that a test can break parts of the
/// platform.
const ENTRY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fleet/faults.mjs");

/// Isolates of one site. Stops when dropped.
pub struct EdgeFleet {
    /// The process, reached through the first isolate.
    edge: Edge,
    isolates: Vec<Isolate>,
}

/// An isolate, with its own memory and its own copy of the journal.
#[derive(Clone)]
pub struct Isolate {
    /// The number of its data centre, from 0.
    pub data_centre: usize,
    url: String,
    client: reqwest::Client,
}

impl EdgeFleet {
    /// Starts `isolates` isolates in each of `data_centres` data centres, in front of `origin`, and
    /// waits until all of them answer. `options` are those of `cargo xtask edge`, and after
    /// `--` those of strata-edge.
    pub async fn start(origin: &str, data_centres: usize, isolates: usize, options: &[&str]) -> Self {
        Self::start_on(free_port(), origin, data_centres, isolates, options).await
    }

    /// As [`EdgeFleet::start`], with the first isolate on the given port, which must be free.
    pub async fn start_on(
        port: u16,
        origin: &str,
        data_centres: usize,
        isolates: usize,
        options: &[&str],
    ) -> Self {
        let more: Vec<String> =
            (1..data_centres * isolates).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let data_centre_count = data_centres.to_string();
        let mut options = options.to_vec();
        // The options of strata-edge itself.
        if !options.contains(&"--") {
            options.push("--");
        }
        options.extend(["--data-centres", &data_centre_count, "--entry", ENTRY]);
        more.iter().for_each(|address| options.extend(["--listen", address]));
        let edge = Edge::start_on(port, origin, &options).await;
        let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        let urls =
            [edge.url().to_owned()].into_iter().chain(more.iter().map(|address| format!("http://{address}")));
        let isolate =
            |(number, url)| Isolate { data_centre: number % data_centres, url, client: client.clone() };
        let fleet = Self { isolates: urls.enumerate().map(isolate).collect(), edge };
        for isolate in fleet.isolates() {
            eventually("the isolate answers", async || {
                isolate.request(Method::GET, "/__strata/health").send().await.is_ok()
            })
            .await;
        }
        fleet
    }

    /// Returns all isolates. Neighbours are in different data centres.
    #[must_use]
    pub fn isolates(&self) -> &[Isolate] {
        &self.isolates
    }

    /// Returns the isolates of a data centre.
    #[must_use]
    pub fn isolates_of(&self, data_centre: usize) -> Vec<&Isolate> {
        self.isolates.iter().filter(|isolate| isolate.data_centre == data_centre).collect()
    }

    /// Returns the process, reached through the first isolate.
    #[must_use]
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Sends a signed purge message with these records, through the first isolate.
    pub async fn purge(&self, records: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let body = format!(r#"{{"v":1,"records":[{records}]}}"#);
        let nonce = format!("nonce-{:032}", now.as_nanos());
        let answer = self.edge.purge(&Edge::secret(), now.as_secs(), &nonce, &body).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.expect("the body arrives"));
    }
}

impl Isolate {
    /// Returns a request for a path of the site.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).header("host", SITE)
    }

    /// Sends a `GET`.
    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("the isolate answers")
    }

    /// Sets faults of the platform in this isolate, such as `journal=cut&cache-delay=300`, in place
    /// of earlier ones. `tests/fleet/faults.mjs` lists them.
    pub async fn set_faults(&self, faults: &str) {
        self.get(&format!("/__fault/set?{faults}")).await;
    }

    /// Returns the number of calls of the journal object that this isolate has begun.
    pub async fn journal_calls(&self) -> u64 {
        let text = self.get("/__fault/journal-calls").await.text().await.expect("the body arrives");
        text.parse().expect("a number")
    }
}
