//! The HTTP client of the checks, and the properties of responses that they compare.

use std::time::Duration;

use reqwest::header::{ETAG, HeaderMap, VARY};
use reqwest::{Client, StatusCode, Url};

use crate::admin::edge_member;
use crate::error::BoxError;
use crate::web_url;

/// The timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP client for the page that is verified.
pub(super) struct Probe {
    pub(super) client: Client,
    url: Url,
}

/// A response from the page.
pub(super) struct PageResponse {
    pub(super) status: StatusCode,
    /// The worker's member of `Cache-Status`; `None` if the response did not pass through the
    /// worker.
    pub(super) edge: Option<String>,
    /// The data centre: the part of `CF-Ray` after the `-`. `None` outside of Cloudflare.
    pub(super) colo: Option<String>,
    pub(super) etag: Option<String>,
    /// The fields in `Vary`, in lower case.
    pub(super) vary: Vec<String>,
    pub(super) body: String,
}

impl PageResponse {
    /// Returns whether the worker's cache answered (`hit` in RFC 9211, section 2.1).
    pub(super) fn is_hit(&self) -> bool {
        self.edge.as_deref().is_some_and(|member| member.split(';').any(|part| part.trim() == "hit"))
    }

    /// Returns the status and the worker's `Cache-Status`, for a check's detail.
    pub(super) fn summary(&self) -> String {
        let edge = self.edge.as_deref().unwrap_or("no strata-edge in Cache-Status");
        format!("{}, {edge}", self.status)
    }
}

impl Probe {
    pub(super) fn new(url: &str) -> Result<Self, BoxError> {
        let expected = "expected the URL of a page behind the worker, such as https://shop.example/";
        let parsed = web_url::parse(url).map_err(|problem| format!("{expected}: {problem}"))?;
        let client =
            Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, url: parsed })
    }

    /// Returns the URL of a path at the worker's host.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(None);
        url
    }

    /// Returns the page's URL with a random query parameter, so that no response to it is stored
    /// yet.
    pub(super) fn fresh_page(&self) -> Url {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("strata-verify", &crate::random::process_id());
        url
    }

    /// Returns the scope of the page's path, which covers every query.
    pub(super) fn path_scope(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("path:{}{port}{}", self.url.host_str().unwrap_or_default(), self.url.path())
    }

    /// Sends a `GET` with these request fields.
    pub(super) async fn get(&self, url: &Url, fields: &[(&str, &str)]) -> Result<PageResponse, BoxError> {
        let request = fields
            .iter()
            .fold(self.client.get(url.clone()), |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        let headers = response.headers().clone();
        let status = response.status();
        Ok(PageResponse {
            status,
            edge: edge_member(&headers),
            colo: text(&headers, "cf-ray")
                .and_then(|ray| ray.rsplit_once('-').map(|(_, colo)| colo.to_owned())),
            etag: text(&headers, ETAG.as_str()),
            vary: vary(&headers),
            body: response.text().await.map_err(reqwest::Error::without_url)?,
        })
    }

    /// Repeats the request until the worker's cache answers, at most `times`. Returns the last
    /// response.
    pub(super) async fn until_hit(
        &self,
        url: &Url,
        fields: &[(&str, &str)],
        times: u32,
    ) -> Result<PageResponse, BoxError> {
        let mut response = self.get(url, fields).await?;
        for _ in 1..times {
            if response.is_hit() {
                break;
            }
            // The worker stores a response after it has sent it.
            tokio::time::sleep(Duration::from_millis(200)).await;
            response = self.get(url, fields).await?;
        }
        Ok(response)
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn vary(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(VARY).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|field| field.trim().to_ascii_lowercase()).collect()
}
