//! The paths that an origin may read in the path of a request.
//!
//! A rule matches the normalised path of the target key. Servers and frameworks normalise further:
//! they decode escapes a second time, merge slashes, cut parameters, or compare without case.
//! `//me` is then the page `/me`, for which the deployment may have another rule. [`readings`]
//! applies all of these steps at once. Each step is one that some server takes:
//!
//! - Escapes are decoded until none is left (gateways that decode and forward).
//! - `\` is a separator (IIS), and so is an escaped `/` (most frameworks).
//! - Repeated slashes and `.` segments are dropped (nginx `merge_slashes`).
//! - Dots and spaces at the end of a segment are dropped (Windows).
//! - ASCII letters have no case (IIS, Express), in fullwidth form as well (best-fit mappings).
//! - A path ends at an escaped `?` or `#` (gateways that decode and forward).
//! - A segment ends at a `;`, before or after escapes are decoded (servlet containers).

use std::borrow::Cow;

/// The folder of the paths that belong to the worker and are never forwarded.
const RESERVED: &str = "/__strata";

/// Returns the readings of a path in which an origin could fold it: with the parameters of its
/// segments, and without them.
pub(super) fn readings(path: &str) -> [String; 3] {
    let plain = plain(path);
    let without_query = plain.split(['?', '#']).next().unwrap_or_default();
    [
        joined(&plain, false),
        joined(without_query, true),
        joined(&self::plain(&without_parameters(path)), true),
    ]
}

/// Returns the pattern of a rule in the form in which it matches [`readings`].
pub(super) fn folded_pattern(pattern: &str) -> String {
    let folded = joined(&plain(pattern), false);
    // `**.css` matches a path as well, although it does not begin with a `/`.
    if pattern.starts_with('/') { folded } else { folded.trim_start_matches('/').to_owned() }
}

/// Returns whether a path belongs to the worker in any reading. Such a path is never forwarded,
/// because the origin could be another worker.
pub fn is_reserved(path: &str) -> bool {
    let is_below =
        |path: &str| path.strip_prefix(RESERVED).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    readings(path).iter().any(|reading| is_below(reading))
}

/// Returns whether servers disagree on a path beyond its [`readings`]: in any of them it has a `..`
/// segment (`/static/..%2Faccount`, `/static/..;/account`), a control character, which some cut off
/// with the rest (`/account%00.css`), or an overlong UTF-8 sequence, which some decode (`%C0%AF`).
/// The URL parser has already resolved plain `..` segments.
pub(super) fn is_ambiguous(path: &str) -> bool {
    let (plain, bytes) = (plain(path), decode(path));
    let mut names = plain.split(['/', '?', '#']).filter_map(|segment| segment.split(';').next());
    names.any(|name| name.trim_matches(' ') == "..")
        || bytes.iter().any(u8::is_ascii_control)
        || bytes.windows(2).any(|pair| is_overlong(pair[0], pair[1]))
}

/// Returns whether two bytes begin a UTF-8 sequence that is longer than its character needs.
fn is_overlong(lead: u8, next: u8) -> bool {
    match lead {
        0xC0 | 0xC1 => matches!(next, 0x80..=0xBF),
        0xE0 => matches!(next, 0x80..=0x9F),
        0xF0 => matches!(next, 0x80..=0x8F),
        _ => false,
    }
}

/// Returns a path without escapes, in lower case and with `/` as its only separator.
fn plain(path: &str) -> String {
    let decoded = String::from_utf8_lossy(&decode(path)).into_owned();
    let plain = decoded.chars().map(|char| match char {
        // The fullwidth forms of `!` to `~`.
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(char) - 0xFEE0).unwrap_or(char),
        // The Kelvin sign and the long s.
        '\u{212A}' => 'k',
        '\u{17F}' => 's',
        other => other,
    });
    plain.map(|char| if char == '\\' { '/' } else { char.to_ascii_lowercase() }).collect()
}

/// Joins the segments of a plain path, without empty ones and without what a segment ends in.
fn joined(plain: &str, cuts_parameters: bool) -> String {
    let mut path = String::with_capacity(plain.len() + 1);
    let mut ends_in_slash = true;
    for segment in plain.split('/') {
        let name = if cuts_parameters { segment.split(';').next().unwrap_or_default() } else { segment };
        let name = name.trim_end_matches(['.', ' ']);
        ends_in_slash = name.is_empty();
        if !ends_in_slash {
            path.extend(["/", name]);
        }
    }
    if ends_in_slash {
        path.push('/');
    }
    path
}

/// Cuts the parameters of each segment off an encoded path.
fn without_parameters(path: &str) -> Cow<'_, str> {
    if !path.contains(';') {
        return path.into();
    }
    let segments = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    segments.collect::<Vec<_>>().join("/").into()
}

/// Decodes the escapes of a path, and the escapes that this produces, until none is left.
fn decode(path: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        bytes.push(byte);
        while let [.., b'%', high, low] = bytes[..]
            && let (Some(high), Some(low)) = (char::from(high).to_digit(16), char::from(low).to_digit(16))
        {
            bytes.truncate(bytes.len() - 3);
            bytes.push((high * 16 + low) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_that_an_origin_may_fold_have_the_reading_of_the_plain_path() {
        let has_reading =
            |path| readings(path).iter().any(|reading| matches!(reading.as_str(), "/me" | "/me/"));
        for path in [
            "/me",
            "//me",
            "/me/",
            "/me//",
            "/me;x",
            "/me;x=1/",
            "/;/me",
            "/me%2F",
            "/%2Fme",
            "/ME",
            "/Me.",
            "/me..",
            "/me%20",
            "/me%3Fx",
            "/me%23x",
            "/me%3B",
            "/.%2Fme",
            "/%5Cme",
            "/me%5C",
            "/%256De",
            "/%25256De",
            "/%2%35%36%44e",
            "/me;x%2Fy",
            "/me%3Bx",
            "/%EF%BC%ADe",
            "/%EF%BC%8Fme",
            "/me%2F.",
            "/me/%2E%20",
            "/me%EF%BC%9Fx",
        ] {
            assert!(has_reading(path), "{path}: {:?}", readings(path));
        }
        for path in ["/mee", "/m", "/me/x", "/me%2Fx", "/x/me", "/me%252Fx"] {
            assert!(!has_reading(path), "{path}: {:?}", readings(path));
        }
    }

    #[test]
    fn a_path_with_an_escaped_or_parameterised_parent_segment_is_ambiguous() {
        for (path, ambiguous) in [
            ("/static/..%2Faccount", true),
            ("/static%5C..%5Caccount", true),
            ("/static/..;a=b/account", true),
            ("/static/..%3Ba/account", true),
            ("/static/%2F..", true),
            ("/static/%252e%252e/account", true),
            ("/static/%252e%252e%252faccount", true),
            ("/account%00.css", true),
            ("/acc%0Aount", true),
            ("/account%C0%AFx", true),
            ("/account%E0%80%AFx", true),
            ("/a%2Fb", false),
            ("/a..b/..c/...", false),
            ("/caf%C3%A9/%E0%A4%85", false),
        ] {
            assert_eq!(is_ambiguous(path), ambiguous, "{path}");
        }
    }

    #[test]
    fn no_spelling_of_a_reserved_path_is_forwarded() {
        for path in [
            "/__strata/",
            "/__strata",
            "/__strata/x",
            "/%5F%5Fstrata/purge",
            "/%255f_strata/purge",
            "//__strata/purge",
            "/__STRATA/purge",
            "/__strata;x/purge",
            "/__strata%2Fpurge",
            "/__strata%5Cpurge",
            "/%2F__strata/purge",
        ] {
            assert!(is_reserved(path), "{path}");
        }
        assert!(!["/", "/__stratagem", "/x/__strata/purge", "/_strata/x"].into_iter().any(is_reserved));
    }

    proptest! {
        #[test]
        fn a_reading_is_its_own_reading(path in "[a-bA-B/.%25FCc;?\\\\ ]{0,16}") {
            for reading in readings(&path) {
                prop_assert_eq!(&readings(&reading)[0], &reading);
            }
        }
    }
}
