//! Cookies that identify no user, for the layers that decide whether a response is shared.

/// Cookies that identify no user to an application: those of analytics tools, which scripts in the
/// page read, and those of Cloudflare's bot management. A `*` at the end matches any rest.
pub const ANONYMOUS_COOKIES: &[&str] = &[
    // Google Analytics, Ads and Tag Manager.
    "_ga",
    "_ga_*",
    "_gid",
    "_gat",
    "_gat_*",
    "_gac_*",
    "_gcl_*",
    "__utm*",
    // Meta, TikTok, Microsoft Advertising.
    "_fbp",
    "_fbc",
    "_ttp",
    "_uetsid",
    "_uetvid",
    // Microsoft Clarity, Hotjar, Matomo, Yandex Metrica.
    "_clck",
    "_clsk",
    "_hj*",
    "_pk_*",
    "_ym_*",
    // HubSpot, Segment. `ajs_user_id` is missing on purpose: it identifies a user.
    "__hstc",
    "__hssc",
    "__hssrc",
    "ajs_anonymous_id",
    // Cloudflare.
    "__cf_bm",
    "_cfuvid",
    "cf_clearance",
];

/// Returns whether a value of `Cookie` has a cookie that may identify its sender: any but those of
/// [`ANONYMOUS_COOKIES`] and of `ignored`, whose names may end with a `*` for any rest. Names are
/// compared with case, as browsers do (RFC 6265 section 5.3).
///
/// ```
/// use shared_keys::has_identifying_cookie;
/// assert!(has_identifying_cookie(b"_ga=GA1.1.1.2; sid=31d4d96e", &["theme"]));
/// assert!(!has_identifying_cookie(b"_ga=GA1.1.1.2; theme=dark", &["theme"]));
/// ```
#[must_use]
pub fn has_identifying_cookie(cookies: &[u8], ignored: &[impl AsRef<str>]) -> bool {
    cookies.split(|byte| *byte == b';').any(|pair| identifies(pair.trim_ascii(), ignored))
}

/// Returns whether a cookie, `name=value`, may identify its sender.
fn identifies(pair: &[u8], ignored: &[impl AsRef<str>]) -> bool {
    let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len()));
    let known = ANONYMOUS_COOKIES.iter().copied();
    let is_anonymous = known.chain(ignored.iter().map(AsRef::as_ref)).any(|pattern| matches(pattern, name));
    // Some servers see a second cookie behind a comma or inside quotes (RFC 2965), so a value that
    // is not of cookie octets (RFC 6265 section 4.1.1) is not taken for an anonymous one.
    let is_harmless = is_anonymous && value.iter().all(|byte| is_cookie_octet(*byte));
    !pair.is_empty() && !is_harmless
}

/// Returns whether a name is `pattern`, or begins with what stands before its final `*`.
fn matches(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == pattern.as_bytes(),
    }
}

fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_analytics_cookies_identify_nobody() {
        let has_identifying = |cookies: &str| has_identifying_cookie(cookies.as_bytes(), &["theme", "ab_*"]);
        for cookies in [
            "",
            " ; ;",
            "_ga=GA1.1.1.2",
            "_ga_4XJ=GS1.1.1; _gid=GA1.2.3",
            "_pk_id.1.1fff=a;_hjid=b",
            "theme=dark; ab_checkout=2; _ga=1",
            "_ga",
        ] {
            assert!(!has_identifying(cookies), "{cookies}");
        }
        for cookies in [
            "sid=1",
            "_ga=1; sid=1",
            "sid=1;_ga=1",
            "_GA=1",
            "_gax=1",
            "theme_=1",
            "sid",
            "=x",
            "_ga=1,sid=2",
            "_ga=\"x; sid=2\"",
            "_ga=1 sid=2",
            "ajs_user_id=7",
        ] {
            assert!(has_identifying(cookies), "{cookies}");
        }
    }
}
