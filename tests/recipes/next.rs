//! The router's payloads of Next.js, its revalidation, and a deployment.

use std::process::Stdio;

use reqwest::Method;
use strata_tests::{Edge, eventually};
use tokio::process::Command;

use crate::checks::new_name;
use crate::site::{Page, Site};

/// The state of the router in the browser when it leaves the page `/about`.
const TREE: &str = "%5B%22%22%2C%7B%22children%22%3A%5B%22about%22%2C%7B%22children%22%3A%5B%22__PAGE__%22%2C%7B%7D%5D%7D%5D%7D%2Cnull%2Cnull%2C16%5D";

/// Reads the payload of a page as the router does: Next redirects to the URL with the right `_rsc`.
async fn payload(site: &Site, path: &str, fields: &[(&str, &str)]) -> Page {
    let mut page = site.visitor().get_with(path, fields).await;
    for _ in 0..3 {
        if page.status != 307 {
            break;
        }
        page = site.visitor().get_with(page.location(), fields).await;
    }
    page
}

pub(crate) async fn a_router_payload_is_stored_apart_from_the_page(site: &Site) {
    let kinds: [&[(&str, &str)]; 4] = [
        &[],
        &[("RSC", "1")],
        &[("RSC", "1"), ("Next-Router-State-Tree", TREE)],
        &[("RSC", "1"), ("Next-Router-Prefetch", "1"), ("Next-Router-Segment-Prefetch", "/_tree")],
    ];
    for _ in 0..2 {
        for fields in kinds {
            let read = async || payload(site, "/products/1", fields).await;
            eventually("it is stored", async || read().await.is_hit()).await;
            let page = read().await;
            let expected = if fields.is_empty() { "text/html" } else { "text/x-component" };
            assert!(page.header("content-type").starts_with(expected), "{fields:?}: {page:?}");
        }
    }
}

pub(crate) async fn a_saved_form_ends_the_stored_payload(site: &Site) {
    let read = async || payload(site, "/products/1", &[("RSC", "1")]).await;
    eventually("it is stored", async || read().await.is_hit()).await;
    let name = new_name();
    site.visitor().submit("/products/1/edit", &[("name", &name)]).await;
    eventually("the payload has the new name", async || read().await.body.contains(&name)).await;
}

pub(crate) async fn a_revalidated_path_ends_the_stored_page(site: &Site) {
    let read = async || site.visitor().get("/about").await;
    eventually("it is stored", async || read().await.is_hit()).await;
    let first = read().await.body;
    revalidate(site, r#"{"path":"/about"}"#).await;
    eventually("it is built again", async || read().await.body != first).await;
}

pub(crate) async fn a_revalidated_pattern_ends_its_pages(site: &Site) {
    let read = async || site.visitor().get("/products/1").await;
    for what in [r#"{"path":"/products/[id]","type":"page"}"#, r#"{"path":"/","type":"layout"}"#] {
        eventually("it is stored", async || read().await.is_hit()).await;
        revalidate(site, what).await;
        let is_purged = async || read().await.header("cache-status").contains("detail=purged");
        eventually("it is fetched again", is_purged).await;
    }
}

/// `revalidateTag(tag, "max")` allows the old page until the new one is built.
pub(crate) async fn a_revalidated_tag_is_served_stale_once(site: &Site) {
    let read = async || site.visitor().get("/products/1").await;
    eventually("it is stored", async || read().await.is_hit()).await;
    revalidate(site, r#"{"tag":"product:1"}"#).await;
    let is_stale = async || read().await.header("cache-status").contains("stale-while-revalidate");
    eventually("it is served stale", is_stale).await;
}

/// The pages of the new deployment name other scripts than those of the old one.
pub(crate) async fn a_deployment_ends_everything(site: &Site) {
    let read = async || site.visitor().get("/about").await;
    eventually("it is stored", async || read().await.is_hit()).await;
    let mut purge = Command::new("node");
    purge
        .args(["../purge/run.mjs", site.url(), "remove", "all"])
        .current_dir(crate::NEXT.folder())
        .env("PURGE_SECRET", Edge::SECRET)
        .stdin(Stdio::null());
    assert!(purge.status().await.expect("node runs").success());
    let is_purged = async || read().await.header("cache-status").contains("detail=purged");
    eventually("it is fetched again", is_purged).await;
}

async fn revalidate(site: &Site, what: &str) {
    let request = site.request(Method::POST, "/revalidate").header("content-type", "application/json");
    let answer = request.body(what.to_owned()).send().await.expect("the worker answers");
    assert_eq!(answer.status(), 204);
}
