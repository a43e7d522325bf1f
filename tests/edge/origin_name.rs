//! An origin of another name than the site's: its URLs in responses, and the site's name in
//! requests.

use reqwest::Method;
use reqwest::redirect::Policy;
use strata_tests::{OriginReply, eventually};

use crate::{Reply, SHARED, Stack};

/// Sends a request as a client of the site `host`. Redirects are not followed.
async fn send(stack: &Stack, method: Method, host: &str, path: &str) -> Reply {
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client");
    let request = client.request(method, format!("{}{path}", stack.edge.url())).header("host", host);
    Reply::read(request.send().await.expect("the worker answers")).await
}

/// Makes the origin answer with these fields, in which `ORIGIN` stands for its own base URL.
fn answers(stack: &Stack, path: &str, status: u16, fields: &[(&'static str, &str)]) {
    let own = |value: &str| value.replace("ORIGIN", stack.origin.url());
    let headers = [SHARED].iter().chain(fields).map(|(name, value)| (*name, own(value))).collect();
    let reply = OriginReply { status, headers, body: String::new() };
    stack.origin_answers(path, move |_| reply.clone());
}

/// They lead past the edge otherwise, also from the store.
pub(crate) async fn the_origins_own_urls_become_the_sites(stack: &Stack) {
    let path = "/origin-name/urls";
    let fields = [
        ("location", "ORIGIN/next?a=%2f#b"),
        ("content-location", "ORIGIN/origin-name/urls"),
        ("refresh", "5; url='ORIGIN/soon'"),
        ("link", "<ORIGIN/1>; rel=next, <https://other.example/2>; rel=prev"),
        ("x-other", "ORIGIN/"),
    ];
    answers(stack, path, 302, &fields);
    let get = async || send(stack, Method::GET, stack.edge.host(), path).await;
    let first = get().await;
    eventually("it is stored", async || get().await.is_hit()).await;
    for reply in [first, get().await] {
        for (name, value) in fields {
            let expected = if name == "x-other" { stack.origin.url() } else { stack.edge.url() };
            assert_eq!(reply.header(name), value.replace("ORIGIN", expected), "{}", reply.edge_status());
        }
    }
}

pub(crate) async fn each_site_gets_urls_of_its_own(stack: &Stack) {
    let path = "/origin-name/sites";
    answers(stack, path, 301, &[("location", "ORIGIN/x")]);
    for host in ["a.example", "b.example:8080"] {
        let get = async || send(stack, Method::GET, host, path).await;
        eventually("it is stored", async || get().await.is_hit()).await;
        assert_eq!(get().await.header("location"), format!("http://{host}/x"));
    }
}

/// An absolute URL of the origin that names the request's own key is a loop as a relative one is.
pub(crate) async fn a_redirect_at_the_origin_to_its_own_spelling_does_not_loop(stack: &Stack) {
    let path = "/origin-name/spelling";
    let location = format!("{}{path}?a=~", stack.origin.url());
    stack.origin_answers(path, move |request| match request.target.as_str() {
        "/origin-name/spelling?a=%7E" => OriginReply::ok(&[SHARED], "escaped"),
        _ => OriginReply { status: 301, ..OriginReply::ok(&[SHARED, ("location", &location)], "") },
    });
    let reply = send(stack, Method::GET, stack.edge.host(), "/origin-name/spelling?a=%7E").await;
    assert_eq!(reply.body, "escaped", "{}", reply.edge_status());
    assert!(reply.edge_status().contains("detail=spelling"), "{}", reply.edge_status());
}

pub(crate) async fn a_rule_forwards_the_origins_urls_unchanged(stack: &Stack) {
    let path = "/rules/urls";
    answers(stack, path, 302, &[("location", "ORIGIN/x")]);
    for method in [Method::GET, Method::POST] {
        let reply = send(stack, method, stack.edge.host(), path).await;
        assert_eq!(reply.header("location"), format!("{}/x", stack.origin.url()));
    }
}

pub(crate) async fn an_unsafe_request_invalidates_what_the_origin_names_by_its_own_url(stack: &Stack) {
    let (page, form) = ("/origin-name/page", "/origin-name/form");
    stack.origin_answers(page, |request| OriginReply::ok(&[SHARED], request.number.to_string()));
    eventually("the page is stored", async || stack.get(page).await.is_hit()).await;
    answers(stack, form, 303, &[("location", "ORIGIN/origin-name/page")]);
    let reply = send(stack, Method::POST, stack.edge.host(), form).await;
    assert_eq!(reply.header("location"), format!("{}{page}", stack.edge.url()));
    assert!(!stack.get(page).await.is_hit());
}

/// Frameworks build links from these fields, also those of mails.
pub(crate) async fn the_origin_is_told_the_sites_name_and_no_clients(stack: &Stack) {
    let path = "/origin-name/fields";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "x"));
    let site = stack.edge.host();
    for method in [Method::GET, Method::POST] {
        let request = stack.edge.request(method.clone(), path);
        let request = request.header("forwarded", "for=192.0.2.1;host=evil.example;proto=https");
        let request = request.header("x-forwarded-host", "evil.example").header("x-forwarded-proto", "https");
        assert_eq!(request.send().await.unwrap().status(), 200);
        let seen = stack.origin.requests(path).pop().expect("a request").headers;
        assert_eq!(seen["forwarded"], format!("host=\"{site}\";proto=http"), "{method}");
        assert_eq!(seen["x-forwarded-host"], site);
        assert_eq!(seen["x-forwarded-proto"], "http");
    }
}
