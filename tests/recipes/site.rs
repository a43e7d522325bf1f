//! A running app of a recipe with the worker in front of it, and the visitors of the site.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder};
use strata_harness::{Placement, Process};
use strata_tests::{Edge, free_port};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::html::Form;

/// Long enough to start a framework on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// An app: a folder of `tests/recipes` and the command that serves it.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    /// Gets the port to listen on in the variable `PORT`.
    pub(crate) command: &'static [&'static str],
}

impl Recipe {
    /// Returns the app's folder.
    pub(crate) fn folder(&self) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "recipes", self.name].iter().collect()
    }

    /// Returns the app's rules for the worker as the JSON of the variable `RULES`. An app without a
    /// file of rules needs none.
    fn rules(&self) -> String {
        let file = self.folder().join("rules.toml");
        if !file.exists() {
            return "[]".to_owned();
        }
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let rules: toml::Table =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        serde_json::to_string(&rules["vars"]["RULES"]).expect("a table is JSON")
    }
}

/// A site that starts with the first test that needs it.
pub(crate) struct LazySite {
    recipe: &'static Recipe,
    site: OnceCell<Site>,
}

impl LazySite {
    pub(crate) fn new(recipe: &'static Recipe) -> Self {
        Self { recipe, site: OnceCell::new() }
    }

    pub(crate) async fn get(&self) -> &Site {
        self.site.get_or_init(|| Site::start(self.recipe)).await
    }
}

/// A running app behind a running worker. Both stop when dropped.
pub(crate) struct Site {
    edge: Edge,
    _app: Process,
    client: Client,
}

impl Site {
    async fn start(recipe: &Recipe) -> Self {
        let (port, edge_port) = (free_port(), free_port());
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.build().expect("an HTTP client");
        let (program, arguments) = recipe.command.split_first().expect("a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(recipe.folder())
            .env("HOST", "127.0.0.1")
            .env("PORT", port.to_string())
            .env("SITE", format!("http://127.0.0.1:{edge_port}"))
            .env("PURGE_SECRET", Edge::SECRET);
        let app = Process::spawn(recipe.name, command, Placement::CallersGroup, None);
        let mut app = app.unwrap_or_else(|error| panic!("{error}"));
        let origin = format!("http://127.0.0.1:{port}");
        let is_ready = async || client.get(&origin).send().await.is_ok();
        app.wait_ready(READY_LIMIT, is_ready).await.unwrap_or_else(|error| panic!("{error}"));
        let rules = format!("RULES:{}", recipe.rules());
        let options = ["--var", &rules, "--var", "JOURNAL_MAX_LAG_SECS:1"];
        let edge = Edge::start_on(edge_port, &origin, &options).await;
        Self { edge, _app: app, client }
    }

    /// Returns the site's URL, of the worker.
    pub(crate) fn url(&self) -> &str {
        self.edge.url()
    }

    /// Returns the host and port of the worker.
    pub(crate) fn host(&self) -> &str {
        self.edge.host()
    }

    /// Returns a browser without cookies.
    pub(crate) fn visitor(&self) -> Visitor<'_> {
        self.visitor_of(self.host())
    }

    /// Returns a browser that knows the site by another name.
    pub(crate) fn visitor_of<'a>(&'a self, host: &'a str) -> Visitor<'a> {
        Visitor { site: self, host, cookies: BTreeMap::new() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url()))
    }
}

/// A browser, with its cookies.
pub(crate) struct Visitor<'a> {
    site: &'a Site,
    host: &'a str,
    cookies: BTreeMap<String, String>,
}

impl Visitor<'_> {
    pub(crate) fn add_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    /// Reads a page, without following redirects.
    pub(crate) async fn get(&mut self, path: &str) -> Page {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let request = self.site.request(Method::GET, path);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request).await
    }

    /// Reads the page of a form, fills `fields` in and submits it, as a browser does.
    pub(crate) async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let origin = format!("http://{}", self.host);
        self.submit_from(&origin, path, fields).await
    }

    /// As [`Visitor::submit`], but states that the page with the form belongs to `origin`.
    pub(crate) async fn submit_from(&mut self, origin: &str, path: &str, fields: &[(&str, &str)]) -> Page {
        let page = self.get(path).await;
        let form = Form::first(&page.body).unwrap_or_else(|| panic!("no form in {page:?}"));
        let action = form.action.as_deref().filter(|action| !action.is_empty()).unwrap_or(path);
        let action = action.strip_prefix(self.site.url()).unwrap_or(action);
        let (content_type, body) = form.body(fields);
        let request = self.site.request(Method::POST, action);
        let is_own = origin.ends_with(&format!("//{}", self.host));
        let request = request
            .header("Content-Type", content_type)
            .header("Origin", origin)
            .header("Referer", format!("{origin}{path}"))
            .header("Sec-Fetch-Site", if is_own { "same-origin" } else { "cross-site" })
            .body(body);
        self.send(request).await
    }

    /// Sends a request that `prepare` completes, such as one of a page's script.
    pub(crate) async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        prepare: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Page {
        let request = prepare(self.site.request(method, path));
        self.send(request).await
    }

    async fn send(&mut self, request: RequestBuilder) -> Page {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header(COOKIE, cookies.join("; ")) };
        let response = request
            .header("Host", self.host)
            .header("Accept", "text/html")
            .send()
            .await
            .expect("the worker answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        for cookie in headers.get_all(SET_COOKIE) {
            let pair = cookie.to_str().expect("a text").split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        Page { status, headers, body: response.text().await.expect("the body arrives") }
    }
}

/// A response as the browser sees it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text"))
    }

    pub(crate) fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.header("cache-status").contains("strata-edge; hit")
    }
}
