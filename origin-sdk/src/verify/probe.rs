//! Requests to the worker, and what their answers tell.

use std::time::Duration;

use reqwest::header::{ETAG, HeaderMap, VARY};
use reqwest::{Client, StatusCode, Url};

use crate::admin::edge_member;
use crate::error::BoxError;

const PATIENCE: Duration = Duration::from_secs(30);

/// The way to the worker.
pub(super) struct Probe {
    pub(super) client: Client,
    url: Url,
}

/// One answer.
pub(super) struct Seen {
    pub(super) status: StatusCode,
    /// The worker's member of `Cache-Status`; `None` if something else answered.
    pub(super) edge: Option<String>,
    /// The data centre: what follows `-` in `CF-Ray`. `None` outside of Cloudflare.
    pub(super) colo: Option<String>,
    pub(super) etag: Option<String>,
    /// The fields that the response varies by.
    pub(super) vary: Vec<String>,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn is_hit(&self) -> bool {
        self.edge.as_deref().is_some_and(|member| member.split(';').any(|part| part.trim() == "hit"))
    }

    /// What to show of it.
    pub(super) fn shown(&self) -> String {
        let edge = self.edge.as_deref().unwrap_or("no strata-edge in Cache-Status");
        format!("{}, {edge}", self.status)
    }
}

impl Probe {
    pub(super) fn new(url: &str) -> Result<Self, BoxError> {
        let expected = |why: String| format!("expected the URL of a page behind the worker, got {url:?}: {why}");
        let parsed = Url::parse(url).map_err(|error| expected(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            return Err(expected("not http or https".into()).into());
        }
        let client = Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, url: parsed })
    }

    /// A URL at the worker's host.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(None);
        url
    }

    /// The page under a query of its own, of which nothing is stored yet.
    pub(super) fn fresh_page(&self) -> Url {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("strata-verify", &crate::random::process_id());
        url
    }

    /// The scope of the page's path, with whatever query.
    pub(super) fn path_scope(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("path:{}{port}{}", self.url.host_str().unwrap_or_default(), self.url.path())
    }

    pub(super) async fn get(&self, url: &Url, fields: &[(&str, &str)]) -> Result<Seen, BoxError> {
        let request =
            fields.iter().fold(self.client.get(url.clone()), |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        let headers = response.headers().clone();
        let status = response.status();
        Ok(Seen {
            status,
            edge: edge_member(&headers),
            colo: text(&headers, "cf-ray").and_then(|ray| ray.rsplit_once('-').map(|(_, colo)| colo.to_owned())),
            etag: text(&headers, ETAG.as_str()),
            vary: vary(&headers),
            body: response.text().await.map_err(reqwest::Error::without_url)?,
        })
    }

    /// Asks again and again until the page is answered from the store, at most `times`; the last answer.
    pub(super) async fn until_hit(&self, url: &Url, fields: &[(&str, &str)], times: u32) -> Result<Seen, BoxError> {
        let mut seen = self.get(url, fields).await?;
        for _ in 1..times {
            if seen.is_hit() {
                break;
            }
            // It is stored behind the answer's back.
            tokio::time::sleep(Duration::from_millis(200)).await;
            seen = self.get(url, fields).await?;
        }
        Ok(seen)
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn vary(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(VARY).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|field| field.trim().to_ascii_lowercase()).collect()
}
