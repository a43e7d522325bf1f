//! Rules that depend on the client, as attacks: no client's response reaches one that another rule
//! applies to.

use reqwest::Method;
use strata_tests::{OriginReply, eventually};

use crate::{Reply, SHARED, Stack};

type Fields = &'static [(&'static str, &'static str)];

/// Makes the origin answer `path` with what it reads of the client.
fn shows(stack: &Stack, path: &'static str, field: &'static str) {
    stack.origin_answers(path, move |request| {
        let value = request.headers.get(field).map_or("none", |value| value.to_str().unwrap());
        OriginReply::ok(&[SHARED], format!("{value} {}", request.number))
    });
}

async fn stored(stack: &Stack, path: &str, fields: Fields) -> Reply {
    eventually("it is stored", async || stack.get_with(path, fields).await.is_hit()).await;
    stack.get_with(path, fields).await
}

pub(crate) async fn a_client_never_gets_the_response_to_one_that_another_rule_matched(stack: &Stack) {
    for (path, field, clients) in [
        (
            "/conditions/header",
            "x-beta",
            // The rule is for `1`. The origin may take other values for it as well.
            &[&[][..], &[("x-beta", "1")][..], &[("x-beta", "yes")][..]][..],
        ),
        (
            "/conditions/cookie",
            "cookie",
            &[&[][..], &[("cookie", "group=b")][..], &[("cookie", "group=B")][..]][..],
        ),
        ("/conditions/country", "x-test-country", &[&[][..], &[("x-test-country", "DE")][..]][..]),
        (
            "/conditions/device",
            "user-agent",
            &[&[("user-agent", "Desktop")][..], &[("user-agent", "iPhone")][..]][..],
        ),
    ] {
        shows(stack, path, field);
        for order in [0, 1] {
            let path = format!("{path}?{order}");
            let mut clients: Vec<Fields> = clients.to_vec();
            if order == 1 {
                clients.reverse();
            }
            let mut bodies: Vec<String> = Vec::new();
            for fields in &clients {
                let reply = stored(stack, &path, fields).await;
                let own = fields.first().map_or("none", |(_, value)| value);
                assert!(reply.body.starts_with(own), "{path} {fields:?}: {}", reply.body);
                assert!(!bodies.contains(&reply.body), "{path} {fields:?}");
                bodies.push(reply.body);
            }
            for (fields, body) in clients.iter().zip(&bodies) {
                assert_eq!(stack.get_with(&path, fields).await.body, *body, "{path} {fields:?}");
            }
        }
    }
}

/// A rule's bypass must hold even if another rule has stored a response for the same URL.
pub(crate) async fn a_rule_for_some_clients_bypasses_the_store(stack: &Stack) {
    let path = "/conditions/members";
    stack.origin_answers(path, |request| {
        OriginReply::ok(&[SHARED], if request.headers.contains_key("cookie") { "own" } else { "shared" })
    });
    for _ in 0..3 {
        let reply = stack.get_with(path, &[("cookie", "a=1; sid=7")]).await;
        assert!(
            reply.body == "own" && reply.edge_status().contains("detail=rule"),
            "{}",
            reply.edge_status()
        );
        assert_eq!(stored(stack, path, &[]).await.body, "shared");
    }
}

pub(crate) async fn a_field_that_the_origin_may_read_for_another_bypasses_the_store(stack: &Stack) {
    let path = "/conditions/header/spelt";
    shows(stack, path, "x-beta");
    stored(stack, path, &[]).await;
    for fields in [&[("x_beta", "1")][..], &[("x.beta", "1")][..]] {
        let reply = stack.get_with(path, fields).await;
        assert!(reply.edge_status().contains("fwd=bypass"), "{fields:?}: {}", reply.edge_status());
    }
    let path = "/conditions/cookie/twice";
    shows(stack, path, "cookie");
    stored(stack, path, &[]).await;
    for cookies in ["group=a; group=b", "group=a, group=b"] {
        let reply = stack.get_with(path, &[("cookie", cookies)]).await;
        assert!(reply.edge_status().contains("fwd=bypass"), "{cookies}: {}", reply.edge_status());
    }
}

/// The origin never gets the field, so it answers as it does without.
pub(crate) async fn a_hop_by_hop_field_selects_no_rule(stack: &Stack) {
    let path = "/conditions/header/hop";
    shows(stack, path, "x-beta");
    let hop: Fields = &[("connection", "x-beta"), ("x-beta", "1")];
    let reply = stored(stack, path, hop).await;
    assert!(reply.body.starts_with("none"), "{}", reply.body);
    let reply = stored(stack, path, &[("x-beta", "1")]).await;
    assert!(reply.body.starts_with("1 "), "{}", reply.body);
}

pub(crate) async fn a_client_cannot_state_what_selects(stack: &Stack) {
    let path = "/conditions/key";
    shows(stack, path, "x-device-class");
    let desktop = stored(stack, path, &[("user-agent", "x")]).await;
    assert!(desktop.body.starts_with("desktop"), "the origin gets the class: {}", desktop.body);
    let forged: Fields = &[("user-agent", "x"), ("x-device-class", "mobile"), ("strata-rule", "x")];
    assert_eq!(stack.get_with(path, forged).await.body, desktop.body);
    let phone: Fields = &[("user-agent", "iPhone"), ("x-device-class", "desktop")];
    assert!(stored(stack, path, phone).await.body.starts_with("mobile"));
}

pub(crate) async fn a_rule_keys_by_field_cookie_country_and_device(stack: &Stack) {
    shows(stack, "/conditions/key?all", "x-country-code");
    let base: [(&str, &str); 4] =
        [("user-agent", "x"), ("x-theme", "dark"), ("cookie", "size=1; a=1"), ("x-test-country", "DE")];
    let get = async |fields: &[(&str, &str)]| stack.get_with("/conditions/key?all", fields).await;
    eventually("it is stored", async || get(&base).await.is_hit()).await;
    assert!(get(&base).await.body.starts_with("DE "));
    let mut same = base;
    (same[0].1, same[2].1) = ("y", "b=2; size=1");
    assert!(get(&same).await.is_hit());
    for (index, value) in [(0, "iPad"), (1, "light"), (2, "size=2"), (3, "AT")] {
        let mut other = base;
        other[index].1 = value;
        assert!(!get(&other).await.is_hit(), "{value}");
    }
}

/// The rules have different keys for one URL.
pub(crate) async fn an_unsafe_request_invalidates_the_responses_of_all_clients(stack: &Stack) {
    let path = "/conditions/unsafe?a=1&b=1";
    stack.origin_answers("/conditions/unsafe", |request| {
        OriginReply::ok(&[SHARED], request.number.to_string())
    });
    let clients: [Fields; 2] = [&[], &[("x-beta", "1")]];
    let mut bodies = Vec::new();
    for fields in clients {
        bodies.push(stored(stack, path, fields).await.body);
    }
    stack.edge.request(Method::POST, path).header("x-beta", "1").send().await.unwrap();
    for (fields, body) in clients.into_iter().zip(bodies) {
        assert_ne!(stack.get_with(path, fields).await.body, body, "{fields:?}");
    }
}
