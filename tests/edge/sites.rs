//! One worker in front of several sites.

use reqwest::Method;
use strata_tests::{Edge, Origin, OriginReply, eventually};
use tempfile::TempDir;

use crate::{Reply, SHARED, Stack, outage};

/// The built worker with these sites, and without a default origin.
const WITH_SITES: &str = r#"
import worker, { JournalObject } from "EDGE_WORKER/worker.js";
export { JournalObject };
export default {
  fetch(request, env, context) {
    if (new URL(request.url).pathname === "/__strata/health") return new Response();
    return worker.fetch(request, { ...env, ORIGIN: undefined, SITES: 'VALUE' }, context);
  },
};
"#;

async fn start(stack: &Stack, sites: &str) -> (TempDir, Edge) {
    let (folder, config) = outage::config(&WITH_SITES.replace("VALUE", sites));
    let options = ["--wrangler", config.to_str().expect("a path of text")];
    (folder, Edge::start_with(stack.origin.url(), &options).await)
}

async fn send(edge: &Edge, method: Method, host: &str, path: &str) -> Reply {
    let request = edge.request(method, path).header("host", host);
    Reply::read(request.send().await.expect("the worker answers")).await
}

async fn get(edge: &Edge, host: &str, path: &str) -> Reply {
    send(edge, Method::GET, host, path).await
}

async fn purge(edge: &Edge, nonce: &str, scope: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let body = format!(r#"{{"v":1,"records":[{{"scope":"{scope}","mode":"remove"}}]}}"#);
    assert_eq!(edge.purge(&Edge::secret(), now, nonce, &body).await.status(), 200);
}

pub(crate) async fn each_site_has_its_origin_its_keys_and_its_purges(stack: &Stack) {
    let answers = |site: &'static str| {
        move |request: &strata_tests::OriginRequest| {
            let fields = [SHARED, ("cache-tag", "everywhere")];
            OriginReply::ok(&fields, format!("{site} {} {}", request.target, request.number))
        }
    };
    let (shop, blog) = (Origin::start(answers("shop")).await, Origin::start(answers("blog")).await);
    let sites = format!(r#"{{"shop.example": "{}", "*.blog.example": "{}/base"}}"#, shop.url(), blog.url());
    let (_folder, edge) = start(stack, &sites).await;
    let stored = async |host: &str, path: &str| {
        eventually("it is stored", async || get(&edge, host, path).await.is_hit()).await;
        get(&edge, host, path).await.body
    };
    let hosts = ["shop.example", "de.blog.example", "en.blog.example"];
    let mut bodies = Vec::new();
    for host in hosts {
        bodies.push(stored(host, "/a").await);
    }
    assert!(bodies[0].starts_with("shop /a"), "{bodies:?}");
    assert!(bodies[1].starts_with("blog /base/a") && bodies[2].starts_with("blog /base/a"), "{bodies:?}");
    assert_ne!(bodies[1], bodies[2], "hosts have keys of their own, even with one origin");

    for host in ["other.example", "blog.example", "shop.example.evil.example", "127.0.0.1"] {
        let reply = get(&edge, host, "/a").await;
        assert_eq!(reply.status, 421, "{host}");
        assert!(reply.body.contains("SITES") && !reply.body.contains(shop.url()), "{}", reply.body);
    }

    send(&edge, Method::POST, "de.blog.example", "/a").await;
    assert_ne!(stored("de.blog.example", "/a").await, bodies[1]);
    for index in [0, 2] {
        assert_eq!(get(&edge, hosts[index], "/a").await.body, bodies[index], "another site's POST");
    }
    purge(&edge, "nonce-of-the-path-purge", "path:shop.example/a").await;
    assert_ne!(stored("shop.example", "/a").await, bodies[0]);
    assert_eq!(get(&edge, hosts[2], "/a").await.body, bodies[2], "another site's path");
    // Tags are shared by all sites: one datum may be shown by several.
    purge(&edge, "nonce-of-the-tag-purge", "tag:everywhere").await;
    assert_ne!(get(&edge, hosts[2], "/a").await.body, bodies[2]);
}

pub(crate) async fn invalid_sites_refuse_every_request_and_tell_no_client_why(stack: &Stack) {
    let (_folder, edge) = start(stack, r#"{"shop.example": "https://user:hunter2@origin.example"}"#).await;
    let reply = get(&edge, "shop.example", "/sites/invalid").await;
    assert_eq!(reply.status, 500);
    assert!(reply.body.contains("see its log") && !reply.body.contains("hunter2"), "{}", reply.body);
    eventually("the log names the site", async || edge.logged("SITES.shop.example: expected") > 0).await;
    assert_eq!(edge.logged("hunter2"), 0);
}
