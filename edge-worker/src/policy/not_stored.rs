//! The reasons not to store a response, and what each means for the stored one.

use http::StatusCode;

/// The reason why a response was not stored. The sections are those of RFC 9111.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStored {
    /// The status is interim, not modified, or about one client's requests; or it is a 206 without
    /// a known position in the whole; or `must-understand` requires a known status (5.2.2.3).
    Status,
    /// The method's responses are not stored, or the request has `no-store` (5.2.1.5).
    Request,
    /// The response has `no-store` (5.2.2.5).
    NoStore,
    /// The response has `private` (5.2.2.7).
    Private,
    /// A qualified `private` or `no-cache` excludes a field that this cache requires (5.2.2.4,
    /// 5.2.2.7).
    Qualified,
    /// The response has `Set-Cookie` (7.3).
    SetCookie,
    /// The request had credentials and the response does not allow sharing (3.5).
    Authorization,
    /// The request had credentials, and neither the origin nor a rule says that the response is for
    /// everyone.
    Credentials,
    /// `Vary: *` matches no later request (4.1).
    VaryAny,
    /// A selecting field of the request is not UTF-8, or is stated with `_` in place of `-` (4.1).
    VaryUnreadable,
    /// A field of the response is not UTF-8. The runtime decodes it to the replacement character,
    /// so two entity tags or file names could look alike.
    Undecodable,
    /// It is not fresh on arrival, and nothing that it declares allows a later use (4.2).
    NoLifetime,
    /// The body has a media type whose bodies do not end: an event stream, or parts that replace
    /// each other.
    Endless,
    /// The body is longer than 8 MiB.
    TooLarge,
    /// The media type contradicts the extension of the URL, and the lifetime is not the origin's
    /// own.
    Deceptive,
    /// It redirects to a URL with the same target key.
    SelfRedirect,
    /// It answers the client's own spelling of the URL, because the origin redirects the key's
    /// spelling to it.
    Spelling,
    /// It has more scopes than are checked in a short time.
    Tags,
    /// A journal record covers it: this cache knows a purge that the origin process had not
    /// applied.
    Outdated,
}

impl NotStored {
    /// Returns the value of the `detail` parameter in `Cache-Status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Request => "request",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Qualified => "qualified",
            Self::SetCookie => "set-cookie",
            Self::Authorization => "authorization",
            Self::Credentials => "credentials",
            Self::VaryAny => "vary-any",
            Self::VaryUnreadable => "vary-unreadable",
            Self::Undecodable => "undecodable",
            Self::NoLifetime => "no-lifetime",
            Self::Endless => "endless",
            Self::TooLarge => "too-large",
            Self::Deceptive => "content-type",
            Self::SelfRedirect => "self-redirect",
            Self::Spelling => "spelling",
            Self::Tags => "tags",
            Self::Outdated => "outdated",
        }
    }

    /// Returns whether a response that was not stored for this reason outdates the response stored
    /// for the same request, because it shows the resource's current state (RFC 9111 section
    /// 4.3.3).
    ///
    /// `false` if the reason is the client, such as a cookie for it alone, or an origin that lags
    /// behind the journal. Also `false` for `private` if the request had credentials: it says that
    /// the response is for their owner, and nothing about the one for everyone. Also `false` for
    /// other statuses, such as 403 or 429, which can be about the client as well.
    pub fn supersedes_stored(self, status: StatusCode, has_credentials: bool) -> bool {
        let about_the_resource =
            status.is_success() || status.is_redirection() || matches!(status.as_u16(), 404 | 410);
        about_the_resource
            && match self {
                Self::Private => !has_credentials,
                Self::NoStore
                | Self::Qualified
                | Self::VaryAny
                | Self::Undecodable
                | Self::NoLifetime
                | Self::Endless
                | Self::TooLarge
                | Self::Tags
                | Self::Deceptive => true,
                Self::Status
                | Self::Request
                | Self::SetCookie
                | Self::Authorization
                | Self::Credentials
                | Self::VaryUnreadable
                | Self::SelfRedirect
                | Self::Spelling
                | Self::Outdated => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9111_4_3_3_an_unstored_response_supersedes_unless_the_request_is_the_reason() {
        let supersedes = |reason: NotStored, status| {
            reason.supersedes_stored(StatusCode::from_u16(status).unwrap(), false)
        };
        for reason in [NotStored::NoStore, NotStored::NoLifetime, NotStored::TooLarge, NotStored::Deceptive] {
            assert!([200, 301, 404, 410].into_iter().all(|status| supersedes(reason, status)), "{reason:?}");
            assert!(
                ![401, 403, 429, 500, 503].into_iter().any(|status| supersedes(reason, status)),
                "{reason:?}"
            );
        }
        for reason in
            [NotStored::Request, NotStored::Authorization, NotStored::SetCookie, NotStored::Outdated]
        {
            assert!(!supersedes(reason, 200), "{reason:?}");
        }
    }

    #[test]
    fn rfc9111_4_3_3_only_a_status_about_the_resource_supersedes() {
        for (status, supersedes) in
            [(200, true), (301, true), (404, true), (410, true), (403, false), (429, false)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(NotStored::NoStore.supersedes_stored(status, false), supersedes, "{status}");
            assert_eq!(NotStored::Private.supersedes_stored(status, false), supersedes, "{status}");
            for reason in [NotStored::Outdated, NotStored::VaryUnreadable] {
                assert!(!reason.supersedes_stored(status, false), "{status}");
            }
        }
    }

    #[test]
    fn a_private_response_to_credentials_does_not_supersede_the_one_for_everyone() {
        assert!(NotStored::Private.supersedes_stored(StatusCode::OK, false));
        assert!(!NotStored::Private.supersedes_stored(StatusCode::OK, true));
        assert!(NotStored::NoStore.supersedes_stored(StatusCode::OK, true));
    }
}
