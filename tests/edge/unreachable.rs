//! An origin that is unreachable (RFC 9111 section 4.2.4).

use reqwest::Method;
use strata_tests::{Edge, OriginReply, Passage, Proxy, eventually};

use crate::{Reply, Stack};

/// Runs all rows with one worker, because a worker takes seconds to start.
pub(crate) async fn stored_responses_are_served_unless_a_directive_forbids_it(stack: &Stack) {
    const ROWS: [(&str, &str, Option<&str>); 7] = [
        ("window", "max-age=1, stale-if-error=600", Some("stale-if-error")),
        // A disconnected cache may serve stale responses for a while without a declared window.
        ("grace", "max-age=1", Some("stale-if-error")),
        ("background", "max-age=1, stale-while-revalidate=600", Some("stale-while-revalidate")),
        ("must", "max-age=1, stale-if-error=600, must-revalidate", None),
        ("shared", "s-maxage=1, stale-while-revalidate=600", Some("stale-while-revalidate")),
        // Older versions of Next.js declare a window without its length.
        ("unstated", "s-maxage=1, stale-while-revalidate", Some("stale-if-error")),
        ("strict", "s-maxage=1", None),
    ];
    let way =
        Proxy::start(stack.origin.url().rsplit(':').next().and_then(|port| port.parse().ok()).unwrap()).await;
    let edge = Edge::start_with(&way.http_url(), &[]).await;
    let get = async |name: &str| Reply::read(edge.get(&format!("/unreachable/{name}")).await).await;
    for (name, lifetime, _) in ROWS {
        let fields = [("cache-control", lifetime)];
        stack.origin_answers(&format!("/unreachable/{name}"), move |_| OriginReply::ok(&fields, "old"));
        eventually("it is stored", async || get(name).await.is_hit()).await;
    }
    way.set(Passage::Closed);
    // An open connection may answer once more.
    eventually("no request is forwarded any more", async || {
        edge.request(Method::POST, "/unreachable/never").send().await.unwrap().status().is_server_error()
    })
    .await;
    for (name, _, stands_in) in ROWS {
        eventually("its age has passed", async || {
            let reply = get(name).await;
            let status = reply.edge_status();
            if status.starts_with("strata-edge; hit; ttl=") && !status.contains("stale") {
                return false;
            }
            match stands_in {
                Some(detail) => assert!(reply.body == "old" && status.contains(detail), "{name}: {status}"),
                None => {
                    assert!(reply.status >= 500 && status.contains("origin-unreachable"), "{name}: {status}");
                }
            }
            true
        })
        .await;
    }
    for method in [Method::GET, Method::HEAD, Method::POST] {
        let reply = Reply::read(edge.request(method, "/unreachable/never").send().await.unwrap()).await;
        assert!(
            reply.status >= 500 && reply.edge_status().contains("origin-unreachable"),
            "{}",
            reply.edge_status()
        );
    }
    way.set(Passage::Open);
    for (name, ..) in ROWS {
        stack.origin_answers(&format!("/unreachable/{name}"), |_| {
            OriginReply::ok(&[("cache-control", "max-age=600")], "new")
        });
        eventually("the origin is requested again", async || get(name).await.body == "new").await;
    }
}
