//! Whether a response may be stored (RFC 9111 section 3), and for how long it is of use.
//!
//! In: the request, the response with its place in the journal, and the journal as known now. Out: how long to keep it,
//! or the one reason not to.
//!
//! Stricter than the RFC in three points: responses with `Set-Cookie` are not stored (they are one user's, whatever the
//! directives say), neither are those that a journal record already covers, and neither are those without any word about
//! caching that could only ever be validated.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use shared_keys::{Applied, Verdict};

use super::StoredResponse;
use super::directives::Directives;
use super::lifetime::{LifetimeSource, freshness_lifetime, heuristically_cacheable};
use super::select::{can_select, vary_fields};
use super::stale::longest_window;
use super::validate::has_validator;

/// A response with a validator is kept this much longer than it can be served, so that the origin can answer 304 (4.3).
const KEEP_FOR_VALIDATION: Duration = Duration::from_secs(24 * 60 * 60);

/// No stored copy is kept longer; the runtime's store takes no more either.
const KEEP_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A longer body is not stored: until the last of it has come it is held in the isolate's memory, of which there are 128 MB
/// for all requests.
pub const MAX_STORED_BYTES: u64 = 8 << 20;

/// Why a response was passed on and not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStored {
    /// Partial, not modified, interim, or not understood where `must-understand` asks for it.
    Status,
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// The response sets a cookie.
    SetCookie,
    /// The request had credentials and the response does not allow sharing (3.5).
    Authorization,
    /// `Vary: *` matches no later request (4.1).
    VaryAny,
    /// It varies by a field whose value in the request cannot be read.
    VaryUnreadable,
    /// It is stale at once and nothing allows to use it later.
    NoLifetime,
    /// The body is longer than 8 MiB.
    TooLarge,
    /// A journal record covers it: the origin process had not yet applied a purge that this cache knows.
    Outdated,
}

impl NotStored {
    /// The value of the `detail` parameter in `Cache-Status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::Authorization => "authorization",
            Self::VaryAny => "vary-any",
            Self::VaryUnreadable => "vary-unreadable",
            Self::NoLifetime => "no-lifetime",
            Self::TooLarge => "too-large",
            Self::Outdated => "outdated",
        }
    }

    /// Whether a response of this status takes back what was stored for the resource before: the origin no longer lets it be
    /// shared. Other statuses (forbidden, too many requests) may be about the client that happened to ask.
    pub fn withdraws(self, status: StatusCode) -> bool {
        let about_the_resource = status.is_success() || status.is_redirection() || matches!(status.as_u16(), 404 | 410);
        about_the_resource && matches!(self, Self::NoStore | Self::Private | Self::SetCookie | Self::VaryAny)
    }
}

/// How long to keep the response to a GET with these fields, from when it arrived.
///
/// # Errors
/// The reason not to store it.
pub fn keep_for(request: &HeaderMap, response: &StoredResponse, journal: &Applied) -> Result<Duration, NotStored> {
    let directives = response.directives();
    // 206 is stored by no one here: a part must never stand for the whole (3.3).
    if response.status.is_informational()
        || matches!(response.status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
        || (directives.must_understand && !understood(response.status))
    {
        return Err(NotStored::Status);
    }
    if directives.private {
        return Err(NotStored::Private);
    }
    // must-understand tells a cache that understands the status to ignore no-store (5.2.2.3).
    if directives.no_store && !directives.must_understand {
        return Err(NotStored::NoStore);
    }
    if response.headers.contains_key(header::SET_COOKIE) {
        return Err(NotStored::SetCookie);
    }
    if request.contains_key(header::AUTHORIZATION) && !directives.allows_authorized() {
        return Err(NotStored::Authorization);
    }
    let Some(selecting) = vary_fields(&response.headers) else { return Err(NotStored::VaryAny) };
    if !can_select(&selecting, request) {
        return Err(NotStored::VaryUnreadable);
    }
    if content_length(response).is_some_and(|bytes| bytes > MAX_STORED_BYTES) {
        return Err(NotStored::TooLarge);
    }
    let keep_for = time_of_use(&directives, response);
    if keep_for.is_zero() {
        return Err(NotStored::NoLifetime);
    }
    if response.verdict(journal) != Verdict::Valid {
        return Err(NotStored::Outdated);
    }
    Ok(keep_for)
}

/// The time until the response can no longer be served in any way; whole seconds, zero if it never can.
fn time_of_use(directives: &Directives, response: &StoredResponse) -> Duration {
    let lifetime = freshness_lifetime(directives, response.status, &response.headers, response.response_time);
    // Without an explicit lifetime, only `public` or the status allows to store it at all (section 3); a window does not.
    let declared =
        matches!(lifetime.source, LifetimeSource::SMaxAge | LifetimeSource::MaxAge | LifetimeSource::Expires);
    if !(declared || directives.public || heuristically_cacheable(response.status)) {
        return Duration::ZERO;
    }
    let age = response.current_age(response.response_time);
    let servable = (lifetime.duration + longest_window(directives)).saturating_sub(age);
    let told = directives.explicit || lifetime.source != LifetimeSource::None;
    let validation = if told && has_validator(&response.headers) { KEEP_FOR_VALIDATION } else { Duration::ZERO };
    Duration::from_secs((servable + validation).min(KEEP_MAX).as_secs())
}

/// How long the body is, if the origin said so before it sent it.
fn content_length(response: &StoredResponse) -> Option<u64> {
    response.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The final statuses whose caching behaviour this cache implements (5.2.2.3).
fn understood(status: StatusCode) -> bool {
    heuristically_cacheable(status) || matches!(status.as_u16(), 302 | 303 | 307 | 400 | 403 | 451 | 500 | 502..=504)
}

#[cfg(test)]
mod tests {
    use shared_keys::{Mode, Position, Record, Scope, Seq, Stamp};

    use super::*;
    use crate::policy::testing::{headers, http_date, nothing_applied, stored};

    fn of(status: u16, fields: &[(&str, &str)]) -> Result<u64, NotStored> {
        let mut response = stored(fields);
        response.status = StatusCode::from_u16(status).unwrap();
        keep_for(&headers(&[]), &response, &nothing_applied()).map(|keep| keep.as_secs())
    }

    #[test]
    fn rfc9111_3_directives_and_fields_decide() {
        let modified = http_date(0);
        #[expect(clippy::type_complexity, reason = "a table's row")]
        let rows: Vec<(u16, Vec<(&str, &str)>, Result<u64, NotStored>)> = vec![
            (200, vec![("cache-control", "max-age=60")], Ok(60)),
            (200, vec![("cache-control", "s-maxage=60")], Ok(60)),
            (200, vec![("cache-control", "no-store, max-age=60")], Err(NotStored::NoStore)),
            (200, vec![("cache-control", "private, max-age=60")], Err(NotStored::Private)),
            (200, vec![("cache-control", "private, no-store")], Err(NotStored::Private)),
            (200, vec![("cache-control", "private=\"x\", max-age=60")], Err(NotStored::Private)),
            (200, vec![("cache-control", "private"), ("cdn-cache-control", "max-age=60")], Ok(60)),
            (200, vec![("cache-control", "max-age=60"), ("cdn-cache-control", "no-store")], Err(NotStored::NoStore)),
            (200, vec![("cache-control", "max-age=60"), ("set-cookie", "a=b")], Err(NotStored::SetCookie)),
            (200, vec![("cache-control", "max-age=60"), ("vary", "*")], Err(NotStored::VaryAny)),
            (200, vec![("cache-control", "max-age=60"), ("vary", "a, *")], Err(NotStored::VaryAny)),
            (200, vec![], Err(NotStored::NoLifetime)),
            (200, vec![("etag", "\"a\"")], Err(NotStored::NoLifetime)),
            (200, vec![("cache-control", "max-age=0")], Err(NotStored::NoLifetime)),
            (200, vec![("cache-control", "max-age=60"), ("age", "60")], Err(NotStored::NoLifetime)),
            (200, vec![("cache-control", "max-age=60"), ("age", "20")], Ok(40)),
            (200, vec![("cache-control", "no-cache"), ("etag", "\"a\"")], Ok(86_400)),
            (200, vec![("last-modified", &modified)], Ok(2 * 86_400)),
            (200, vec![("cache-control", "max-age=60"), ("content-length", "8388608")], Ok(60)),
            (200, vec![("cache-control", "max-age=60"), ("content-length", "8388609")], Err(NotStored::TooLarge)),
            (206, vec![("cache-control", "max-age=60")], Err(NotStored::Status)),
            (304, vec![("cache-control", "max-age=60")], Err(NotStored::Status)),
            (404, vec![("cache-control", "max-age=60")], Ok(60)),
            (403, vec![("cache-control", "stale-while-revalidate=60")], Err(NotStored::NoLifetime)),
            (403, vec![("cache-control", "no-cache"), ("etag", "\"a\"")], Err(NotStored::NoLifetime)),
            (403, vec![("cache-control", "public, stale-while-revalidate=60")], Ok(60)),
            (404, vec![("cache-control", "stale-while-revalidate=60")], Ok(60)),
            (500, vec![("cache-control", "max-age=60")], Ok(60)),
            (299, vec![("cache-control", "max-age=60")], Ok(60)),
            (299, vec![("cache-control", "max-age=60, must-understand")], Err(NotStored::Status)),
            (200, vec![("cache-control", "max-age=60, must-understand, no-store")], Ok(60)),
        ];
        for (status, fields, expected) in rows {
            assert_eq!(of(status, &fields), expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn rfc5861_a_copy_is_kept_to_the_end_of_the_longest_window() {
        let windows = "max-age=60, stale-while-revalidate=30, stale-if-error=300";
        assert_eq!(of(200, &[("cache-control", windows)]), Ok(360));
        assert_eq!(of(200, &[("cache-control", &format!("{windows}, must-revalidate"))]), Ok(60));
        assert_eq!(of(200, &[("cache-control", "max-age=0, stale-while-revalidate=30")]), Ok(30));
    }

    #[test]
    fn rfc9111_3_5_authorization_needs_an_explicit_permission() {
        let request = headers(&[("authorization", "Basic eDp5")]);
        for (value, allowed) in [
            ("max-age=60", false),
            ("max-age=60, public", true),
            ("max-age=60, must-revalidate", true),
            ("s-maxage=60", true),
            ("max-age=60, proxy-revalidate", false),
        ] {
            let result = keep_for(&request, &stored(&[("cache-control", value)]), &nothing_applied());
            assert_eq!(result.is_ok(), allowed, "{value}");
        }
    }

    #[test]
    fn rfc9111_4_1_a_value_that_cannot_be_read_selects_nothing() {
        let request = headers(&[("x-name", "Zo\u{FFFD}")]);
        let response = |vary| stored(&[("cache-control", "max-age=60"), ("vary", vary)]);
        assert_eq!(keep_for(&request, &response("x-name"), &nothing_applied()), Err(NotStored::VaryUnreadable));
        assert!(keep_for(&request, &response("accept"), &nothing_applied()).is_ok());
    }

    #[test]
    fn only_what_is_said_of_the_resource_withdraws_it() {
        for (status, withdraws) in [(200, true), (301, true), (404, true), (410, true), (403, false), (429, false)] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(NotStored::NoStore.withdraws(status), withdraws, "{status}");
            assert!(!NotStored::Outdated.withdraws(status) && !NotStored::VaryUnreadable.withdraws(status));
        }
    }

    #[test]
    fn g2_a_response_that_a_known_record_covers_is_not_stored() {
        let tag: Scope = "tag:a".parse().unwrap();
        let mut journal = nothing_applied();
        let stamp = Stamp { origin: Some(Position::new(200, 0)), edge: Some(Seq(7)) };
        journal.apply(Record { scope: tag.hash(), mode: Mode::Expire, stamp });
        for (position, expected) in [(199, Err(NotStored::Outdated)), (200, Ok(60)), (201, Ok(60))] {
            let mut response = stored(&[("cache-control", "max-age=60")]);
            response.scopes = vec![tag.hash()];
            response.stamp = Stamp { origin: Some(Position::new(position, 0)), edge: Some(Seq(6)) };
            let result = keep_for(&headers(&[]), &response, &journal).map(|keep| keep.as_secs());
            assert_eq!(result, expected, "{position}");
        }
    }
}
