//! Answers each request with a body of the length in its path, `/10` for 10 KB, and with the fields
//! of a hit of the edge worker. What it costs, every worker in Rust costs.
#![cfg(target_arch = "wasm32")]

use worker::{Context, Env, Headers, Request, Response, Result};

/// The fields of a hit.
const FIELDS: [(&str, &str); 7] = [
    ("age", "1"),
    ("cache-control", "max-age=600"),
    ("cache-status", "bare; hit; ttl=599; detail=memory; key=\"http://127.0.0.1:8787/1\""),
    ("content-type", "text/plain"),
    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("etag", "\"v1\""),
    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
];

#[worker::event(fetch)]
async fn fetch(request: Request, _env: Env, _context: Context) -> Result<Response> {
    let kilobytes = request.path().trim_start_matches('/').parse().unwrap_or(0_usize);
    let headers = Headers::new();
    for (name, value) in FIELDS {
        headers.set(name, value)?;
    }
    Ok(Response::from_bytes(vec![b'x'; kilobytes * 1024])?.with_headers(headers))
}
