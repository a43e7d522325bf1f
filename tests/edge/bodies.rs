//! Bodies that are long, abandoned by the client, or encoded.

use std::time::{Duration, Instant};

use reqwest::Method;
use strata_tests::{OriginReply, eventually};

use crate::{Reply, SHARED, Stack};

/// No `Content-Length` announces the length.
pub(crate) async fn a_body_beyond_the_limit_is_delivered_and_not_stored(stack: &Stack) {
    const MIB: usize = 1 << 20;
    for (mib, stored) in [(7, true), (9, false)] {
        let path = format!("/bodies/long/{mib}");
        stack.origin_answers(&path, |_| OriginReply::ok(&[SHARED], ""));
        let rest = stack.origin.body_goes_on(&path);
        for number in 0..mib {
            rest.send(Ok(vec![b'0' + number; MIB].into())).unwrap();
        }
        drop(rest);
        let reply = stack.get(&path).await;
        assert!(!reply.headers.contains_key("content-length"), "{:?}", reply.headers);
        let pieces = reply.body.as_bytes().chunks(MIB);
        assert!(pieces.zip(b'0'..).all(|(piece, byte)| piece.iter().all(|other| *other == byte)));
        assert_eq!(reply.body.len(), usize::from(mib) * MIB);
        stack.origin_answers(&path, |_| OriginReply::ok(&[("cache-control", "no-store")], "next"));
        let next = stack.get(&path).await;
        assert_eq!(
            (next.is_hit() || next.body == reply.body, next.body == "next"),
            (stored, !stored),
            "{mib}"
        );
    }
}

pub(crate) async fn a_client_that_disconnects_harms_no_other(stack: &Stack) {
    for (name, goes_on) in [("goes-on", true), ("held-up", false)] {
        let path = format!("/bodies/left/{name}");
        stack.origin_answers(&path, |_| OriginReply::ok(&[SHARED], "one,"));
        let rest = stack.origin.body_goes_on(&path);
        let mut client = stack.edge.get(&path).await;
        assert_eq!(client.chunk().await.unwrap().as_deref(), Some(&b"one,"[..]));
        drop(client);
        stack.origin_answers(&path, |_| OriginReply::ok(&[SHARED], "one,two"));
        // Unless the body goes on, the origin ends it only once the next client is answered.
        let held_up = (!goes_on).then(|| rest.clone());
        let _ = rest.send(Ok("two".into()));
        drop(rest);
        let since = Instant::now();
        assert_eq!(stack.get(&path).await.body, "one,two", "{name}");
        assert!(since.elapsed() < Duration::from_secs(8), "{name}: {:?}", since.elapsed());
        drop(held_up);
        eventually("it is stored", async || stack.get(&path).await.is_hit()).await;
        assert_eq!(stack.get(&path).await.body, "one,two", "{name}");
    }
}

/// The coding is a property of the representation, and the entity tag is of these octets (RFC 9110
/// section 8.4).
pub(crate) async fn an_encoded_body_arrives_as_the_origin_sent_it(stack: &Stack) {
    // "hello" in an uncompressed block: another encoder would write other octets.
    const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x05\0\xfa\xffhello\x86\xa6\x106\x05\0\0\0";
    let path = "/bodies/encoded";
    stack.origin_answers(path, |_| {
        OriginReply::ok(&[SHARED, ("content-encoding", "gzip"), ("etag", "\"g\"")], "")
    });
    let rest = stack.origin.body_goes_on(path);
    rest.send(Ok(GZIP.into())).unwrap();
    drop(rest);
    let asking = async || {
        let request = stack.edge.request(Method::GET, path).header("accept-encoding", "gzip");
        let response = request.send().await.unwrap();
        let (headers, status) = (response.headers().clone(), response.status().as_u16());
        let body = response.bytes().await.unwrap();
        assert!(headers["content-encoding"] == "gzip" && headers["etag"] == "\"g\"", "{headers:?}");
        assert_eq!(body, GZIP);
        Reply { status, headers, body: String::new() }
    };
    asking().await;
    eventually("it is a hit", async || asking().await.is_hit()).await;
    assert_eq!(stack.origin_requests(path), 1);
}
