//! Content codings: the client's own `Accept-Encoding` selects, and no client gets a coding that it
//! does not take.

use reqwest::Method;
use strata_tests::{OriginReply, OriginRequest, eventually};

use crate::{Reply, SHARED, Stack};

/// The platform compresses no responses of this type.
const BINARY: (&str, &str) = ("content-type", "application/octet-stream");

fn codings_of(request: &OriginRequest) -> String {
    request.headers.get("accept-encoding").map_or("none", |value| value.to_str().expect("a text")).to_owned()
}

async fn get(stack: &Stack, path: &str, codings: Option<&str>) -> Reply {
    let fields: Vec<_> = codings.into_iter().map(|codings| ("accept-encoding", codings)).collect();
    stack.get_with(path, &fields).await
}

/// The platform replaces the field, and states the client's own in `cf.clientAcceptEncoding`.
pub(crate) async fn the_clients_own_codings_select_the_variant(stack: &Stack) {
    let path = "/codings/own";
    stack.origin_answers(path, |request| {
        OriginReply::ok(&[SHARED, BINARY, ("vary", "accept-encoding")], codings_of(request))
    });
    for (sent, seen) in [
        (Some("gzip"), "gzip"),
        (Some("gzip, deflate, br"), "br, gzip"),
        (Some("zstd, br;q=0, gzip"), "zstd, gzip"),
        (Some("br;q=0, *"), "gzip"),
        (Some("identity"), "identity"),
        (None, "identity"),
    ] {
        assert_eq!(get(stack, path, sent).await.body, seen, "{sent:?}");
        eventually("the variant is stored", async || get(stack, path, sent).await.is_hit()).await;
        assert_eq!(get(stack, path, sent).await.body, seen, "{sent:?}");
    }
}

/// Many origins compress without `Vary`, among them nginx by default.
pub(crate) async fn a_coding_without_vary_is_not_given_to_clients_that_do_not_take_it(stack: &Stack) {
    let path = "/codings/silent";
    stack.origin_answers(path, |request| {
        let best = codings_of(request).split(", ").next().unwrap_or_default().to_owned();
        let coding = if best == "identity" { "" } else { best.as_str() };
        OriginReply::ok(&[SHARED, BINARY, ("content-encoding", coding)], &*best)
    });
    for sent in [Some("br"), Some("gzip"), Some("zstd"), None] {
        eventually("it is stored", async || get(stack, path, sent).await.is_hit()).await;
    }
    for sent in [Some("gzip"), None, Some("br"), Some("zstd")] {
        let reply = get(stack, path, sent).await;
        assert_eq!(
            (reply.body.as_str(), reply.header("content-encoding")),
            (sent.unwrap_or("identity"), sent.unwrap_or(""))
        );
    }
}

/// RFC 9842: a response in `dcb` or `dcz` is of use only to clients with the same dictionary.
pub(crate) async fn dictionaries_have_variants_of_their_own(stack: &Stack) {
    for (path, vary) in
        [("/codings/declared", "accept-encoding, available-dictionary"), ("/codings/undeclared", "")]
    {
        stack.origin_answers(path, move |request| {
            let dictionary = request.headers.get("available-dictionary").map(|value| value.to_str().unwrap());
            let coding =
                if dictionary.is_some() && codings_of(request).contains("dcb") { "dcb" } else { "zstd" };
            let fields = [SHARED, BINARY, ("content-encoding", coding), ("vary", vary)];
            OriginReply::ok(&fields, format!("{coding} by {}", dictionary.unwrap_or("nothing")))
        });
        let of = async |dictionary: &str| {
            let all = [("accept-encoding", "gzip, br, zstd, dcb, dcz"), ("available-dictionary", dictionary)];
            stack.get_with(path, &all).await
        };
        for dictionary in [":YQ==:", ":Yg==:"] {
            eventually("it is stored", async || of(dictionary).await.is_hit()).await;
        }
        for dictionary in [":YQ==:", ":Yg==:"] {
            assert_eq!(of(dictionary).await.body, format!("dcb by {dictionary}"), "{path}");
        }
        assert_eq!(get(stack, path, Some("zstd")).await.body, "zstd by nothing", "{path}");
        let seen = stack.origin.requests(path);
        assert_eq!(codings_of(&seen[0]), "dcb, dcz, zstd, br, gzip", "{path}");
    }
}

pub(crate) async fn a_bypassing_request_has_the_clients_own_codings(stack: &Stack) {
    let path = "/codings/bypass";
    stack.origin_answers(path, |request| OriginReply::ok(&[BINARY], codings_of(request)));
    for (sent, seen) in [(Some("zstd, gzip;q=0.5"), "zstd, gzip;q=0.5"), (None, "none")] {
        let request = stack.edge.request(Method::POST, path);
        let request = sent.iter().fold(request, |request, sent| request.header("accept-encoding", *sent));
        let reply = Reply::read(request.send().await.unwrap()).await;
        // Without the field, the runtime may add its own default.
        assert!(reply.body == seen || sent.is_none(), "{}", reply.body);
    }
}
