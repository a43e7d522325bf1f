//! The purge endpoint: reads and authenticates a message, and appends it to the journal.

use std::pin::pin;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use http::{HeaderMap, Method, StatusCode};
use shared_keys::purge::signed_host;
use url::Url;
use worker::{ByteStream, Context, Delay, web_sys};

use super::journal::Journal;
use super::{after_response, json_response, now};
use crate::config::Config;
use crate::error::Error;
use crate::journal::{Appended, numbered_records};
use crate::purge::{Refusal, authenticate, check_head};
use crate::purge_bodies::{BODY_TIMEOUT, PurgeBodies};

thread_local! {
    static BODIES: PurgeBodies = PurgeBodies::default();
}

/// Returns the response to a request for the purge endpoint.
///
/// # Errors
/// If the runtime refuses to create a response.
pub(super) async fn handle(
    method: &Method,
    url: &Url,
    headers: &HeaderMap,
    body: Option<web_sys::ReadableStream>,
    config: &Config,
    journal: &Journal,
    context: &Context,
) -> Result<web_sys::Response, Error> {
    match accept(method, url, headers, body, config, journal).await {
        Ok(appended) => {
            let journal = journal.clone();
            after_response(context, async move {
                if let Err(error) = journal.refresh_from_object().await {
                    worker::console_warn!("the journal is not refreshed after a purge: {error}");
                }
            });
            let members = [("accepted", appended.accepted.into()), ("seq", (appended.seq as f64).into())];
            json_response(StatusCode::OK, &members)
        }
        Err(refusal) => {
            worker::console_warn!("purge refused: {}", refusal.as_str());
            let members = [("error", refusal.as_str().into()), ("message", refusal.advice().into())];
            json_response(refusal.status(), &members)
        }
    }
}

async fn accept(
    method: &Method,
    url: &Url,
    headers: &HeaderMap,
    body: Option<web_sys::ReadableStream>,
    config: &Config,
    journal: &Journal,
) -> Result<Appended, Refusal> {
    if method != Method::POST {
        return Err(Refusal::Method);
    }
    if config.purge_secrets.is_empty() {
        return Err(Refusal::NoSecret);
    }
    check_head(headers, now())?;
    let body = read(body).await?;
    let (nonce, message) = authenticate(&config.purge_secrets, headers, &signed_host(url), &body, now())?;
    let appended = journal.append(nonce.as_str(), &body).await.map_err(|error| {
        worker::console_error!("a purge is not appended: {error}");
        Refusal::Unreachable
    })?;
    let appended = appended.ok_or(Refusal::Replayed)?;
    journal.apply(numbered_records(&message, appended.seq, now()));
    Ok(appended)
}

/// Reads the body. The sender is not authenticated yet, so length, time and the memory of all
/// unfinished bodies are bounded.
async fn read(body: Option<web_sys::ReadableStream>) -> Result<Vec<u8>, Refusal> {
    let Some(body) = body else { return Ok(Vec::new()) };
    let mut held = BODIES.with(|bodies| bodies.begin(now()));
    let mut chunks = ByteStream::from(body);
    let mut deadline = pin!(Delay::from(BODY_TIMEOUT));
    loop {
        let chunk = match select(chunks.next(), deadline.as_mut()).await {
            Either::Left((chunk, _)) => chunk,
            Either::Right(_) => return Err(Refusal::Slow),
        };
        match chunk {
            Some(Ok(chunk)) => held.append(&chunk)?,
            Some(Err(error)) => {
                return Err(Refusal::Malformed(format!("expected the whole body: {error}")));
            }
            None => return held.finish(),
        }
    }
}
