//! Sends responses to the client, with `Cache-Status` and metrics.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use worker::{Context, Delay, Env, web_sys};

use super::exchange::Exchange;
use super::fetch::{OriginResponse, StoredEffect};
use super::serve::cut;
use super::{Answer, Stored, refuse};
use crate::cache_status::{CacheStatus, Forwarded};
use crate::collapse::Leader;
use crate::error::{Error, ErrorKind};
use crate::headers::remove_for_the_edge;
use crate::policy::not_stored::NotStored;
use crate::policy::range::{self, number};
use crate::policy::storable;
use crate::policy::{Detail, Forward, StoredResponse, validate};
use crate::runtime::body::{Body, Incoming};
use crate::runtime::{after_response, env, json_text, now, response, response_with};
use crate::storing::Storing;

/// A response to the client.
pub(super) struct Message {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The fields as the origin sent them, if one of them could not be decoded.
    pub(super) undecoded: Option<web_sys::Headers>,
    pub(super) body: Option<Body>,
}

impl Exchange {
    /// Sends a response from the origin, or a stored response that it updated, and stores it if
    /// that is allowed.
    pub(super) async fn deliver(
        self: &Rc<Self>,
        forwarded: Forwarded,
        received: OriginResponse,
        effect: StoredEffect,
        leader: Option<Leader>,
        context: &Context,
    ) -> Answer {
        let OriginResponse { mut response, mut body, undecoded, is_evaluated, is_keyed } = received;
        let (is_head, is_from_sdk) = (self.method == Method::HEAD, response.is_from_sdk());
        let is_update = matches!(effect, StoredEffect::Updated(_));
        let mut headers = response.headers.clone();
        if is_update {
            headers.insert(header::AGE, HeaderValue::from(response.current_age(now()).as_secs()));
            storable::remove_client_fields(&mut response, self.rule.choices);
        }
        let retention = match () {
            () if is_head && !is_update => Err(NotStored::Request),
            () if !is_keyed => Err(NotStored::Spelling),
            () => self.retention(&response),
        };
        let storing = retention.ok().map(|_| self.begin_storing(&response, effect.key()));
        match (effect, retention) {
            (StoredEffect::Replaced(key) | StoredEffect::Updated(key), Err(reason))
                if (is_head && !is_update && is_keyed && response.status == StatusCode::OK)
                    || self.supersedes_stored(reason, response.status) =>
            {
                self.delete(key, context).await;
            }
            (StoredEffect::Outdated(stored), _) if is_keyed => self.outdate(stored, &response, context).await,
            _ => {}
        }
        let not_modified = match retention {
            _ if is_update => validate::not_modified(&self.headers, &response),
            Ok(_) if !is_evaluated => validate::not_modified(&self.headers, &response),
            _ => validate::is_named(&self.headers, &response),
        };
        let has_known_length = body.is_none() || range::content_length(&response.headers).is_some();
        let forwarded = forwarded.with_store_result(retention.map(|_| ttl_secs(&response)));
        let status = CacheStatus::Forwarded(if has_known_length {
            forwarded
        } else {
            forwarded.with_unknown_length()
        });
        let stored_body = match retention {
            Ok(_) if not_modified || is_head => body.take().map(Incoming::from),
            Ok(_) => tee(&mut body, has_known_length)?,
            Err(_) => None,
        };
        if let Some(storing) = &storing
            && (not_modified || is_head || !matches!(body, Some(Body::Stream(_))))
        {
            storing.receive(now());
        }
        // The origin's response is the requested part already; an updated stored response is cut
        // here.
        let part = if is_update { range::select(self.request(), &response) } else { None };
        let (code, body) = match part {
            Some(part) if !not_modified => cut(response.status, &mut headers, body, part).await?,
            _ => (response.status, body),
        };
        match (retention, storing) {
            (Ok(retention), Some(storing)) => {
                let body = stored_body;
                self.store_after_response(response, body, retention, storing, leader, context);
            }
            _ => release_uncollapsed(leader),
        }
        self.finish(Message { status: code, headers, undecoded, body }, not_modified, is_from_sdk, status)
    }

    /// Ends the lifetime of a stored response that the response to a HEAD outdates. Removes it if
    /// the origin no longer permits storing.
    async fn outdate(self: &Rc<Self>, stored: Stored, head: &StoredResponse, context: &Context) {
        let forbids = matches!(self.retention(head), Err(NotStored::NoStore | NotStored::Private));
        if forbids {
            self.delete(stored.key, context).await;
        } else if ttl_secs(&stored.response) > 0 {
            let response = validate::expired(stored.response);
            if let Ok(retention) = self.retention(&response) {
                let body = stored.body.map(Incoming::from);
                let storing = self.begin_storing(&response, Some(&stored.key));
                storing.receive(now());
                self.store_after_response(response, body, retention, storing, None, context);
            }
        }
    }

    /// Stores a response after the client is answered, and then releases the waiters. They are
    /// released at once if the response cannot answer them, and after a while if its body does not
    /// end.
    fn store_after_response(
        self: &Rc<Self>,
        response: StoredResponse,
        body: Option<Incoming>,
        retention: Duration,
        storing: Storing,
        leader: Option<Leader>,
        context: &Context,
    ) {
        let leader = match leader {
            Some(leader) if !self.answers_waiters(&response) => {
                leader.release_uncollapsed(now());
                None
            }
            leader => leader,
        };
        let has_known_length = range::content_length(&response.headers).is_some();
        let exchange = Rc::clone(self);
        after_response(context, async move {
            let storing = pin!(exchange.store(response, body, retention, Some(storing)));
            let Some(leader) = leader else {
                if let Err(error) = storing.await {
                    worker::console_warn!("not stored: {error}");
                }
                return;
            };
            let timeout = Delay::from(leader.body_timeout(has_known_length, now()));
            let result = match select(storing, timeout).await {
                Either::Left((result, _)) => result,
                Either::Right((_, storing)) => {
                    leader.stop_collapsing(now());
                    storing.await
                }
            };
            match result {
                // The waiters find it in the store.
                Ok(true) => leader.release_stored(),
                // One of the waiters sends the next request.
                Ok(false) => drop(leader),
                Err(error) => {
                    worker::console_warn!("not stored: {error}");
                    leader.stop_collapsing(now());
                }
            }
        });
    }

    /// Creates the response to the client: removes what is for the edge alone, and appends
    /// `Cache-Status`.
    pub(super) fn finish(
        &self,
        message: Message,
        not_modified: bool,
        is_from_sdk: bool,
        cache_status: CacheStatus,
    ) -> Answer {
        let Message { status, mut headers, undecoded, body } = message;
        remove_for_the_edge(&mut headers, is_from_sdk);
        cache_status.append_to(&mut headers, Some(&self.target));
        let (status, body) = if not_modified {
            validate::retain_not_modified_fields(&mut headers);
            (StatusCode::NOT_MODIFIED, None)
        } else {
            (status, body.filter(|_| self.method != Method::HEAD))
        };
        let response = match undecoded {
            Some(undecoded) => response_with(status, &over(&undecoded, &headers)?, body.as_ref())?,
            None => response(status, &headers, body.as_ref())?,
        };
        Ok((response, cache_status))
    }

    /// Records the duration and the layer: as `Server-Timing`, as a data point, and in the log,
    /// where these are enabled.
    pub(super) fn record_metrics(
        &self,
        env: &Env,
        response: &web_sys::Response,
        status: CacheStatus,
        started: SystemTime,
    ) {
        let ms = now().duration_since(started).unwrap_or_default().as_secs_f64() * 1000.0;
        if self.config.server_timing {
            // The fields of an upgrade's response are immutable.
            let _ =
                response.headers().append("server-timing", &format!("edge;desc={};dur={ms}", status.layer()));
        }
        if let Some(dataset) = env::dataset(env) {
            env::write_data_point(
                &dataset,
                &[&self.rule.name],
                &[status.layer(), self.method.as_str()],
                &[body_length(response), ms],
            );
        }
        if self.config.log_requests {
            let line = json_text(&[
                ("method", self.method.as_str().into()),
                ("path", self.url.path().into()),
                ("status", response.status().into()),
                ("layer", status.layer().into()),
                ("ms", ms.into()),
            ]);
            worker::console_log!("{line}");
        }
    }
}

/// Returns these fields. Values that could not be decoded are the origin's own octets, which the
/// runtime copies only with all fields.
fn over(undecoded: &web_sys::Headers, headers: &HeaderMap) -> Result<worker::Headers, Error> {
    let fields = worker::Headers(web_sys::Headers::new_with_headers(undecoded)?);
    for name in fields.keys().collect::<Vec<_>>() {
        let is_kept = |name: &HeaderName| headers.get_all(name).iter().any(validate::is_undecodable);
        if !name.parse().is_ok_and(|name| is_kept(&name)) {
            fields.delete(&name)?;
        }
    }
    for (name, value) in headers.iter().filter(|(_, value)| !validate::is_undecodable(value)) {
        fields.append(name.as_str(), &String::from_utf8_lossy(value.as_bytes()))?;
    }
    Ok(fields)
}

/// Creates the response for an origin that is unreachable.
pub(super) fn unreachable(forward: Forward, error: &Error) -> Answer {
    worker::console_error!("the origin is unreachable: {error}");
    let forward = Forward { detail: Some(Detail::OriginUnreachable), ..forward };
    let (status, message) = match error.kind() {
        ErrorKind::Origin => (StatusCode::BAD_GATEWAY, "the origin's response cannot be passed on"),
        // RFC 9110 section 15.6.5; RFC 9111 section 5.2.2.2 requires it of a disconnected cache.
        _ => (StatusCode::GATEWAY_TIMEOUT, "the origin is unreachable"),
    };
    error_response(status, message, CacheStatus::Forwarded(Forwarded::new(forward, None)))
}

/// Creates a response of this cache's own, without the origin.
pub(super) fn own_response(status: StatusCode, message: &str, detail: Detail) -> Answer {
    error_response(status, message, CacheStatus::Own(detail))
}

fn error_response(status: StatusCode, message: &str, cache_status: CacheStatus) -> Answer {
    let response = refuse(status, message)?;
    response.headers().set("cache-status", &cache_status.to_string())?;
    Ok((response, cache_status))
}

/// Returns the seconds of freshness that a response has left when it is stored.
pub(super) fn ttl_secs(response: &StoredResponse) -> i64 {
    let lifetime = response.freshness_lifetime();
    let secs = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    secs(lifetime.duration).saturating_sub(secs(response.current_age(now())))
}

/// Splits a body in two: returns the one for the store, and leaves the one for the client.
///
/// # Errors
/// If the runtime refuses to create a stream.
pub(super) fn tee(body: &mut Option<Body>, has_known_length: bool) -> Result<Option<Incoming>, Error> {
    let Some(whole) = body.take() else { return Ok(None) };
    let (one, other) = whole.tee(has_known_length)?;
    *body = Some(one);
    Ok(Some(other))
}

/// Returns the length of the body that a response states; zero if it states none or has no body.
fn body_length(response: &web_sys::Response) -> f64 {
    if response.body().is_none() {
        return 0.0;
    }
    let length = response.headers().get("content-length").ok().flatten();
    length.and_then(|length| number(&length)).unwrap_or_default() as f64
}

/// Releases the waiters of a response that cannot answer them; each sends a request of its own.
fn release_uncollapsed(leader: Option<Leader>) {
    if let Some(leader) = leader {
        leader.release_uncollapsed(now());
    }
}
