//! The protection against cache deception: a response whose media type contradicts its URL.
//!
//! In the attack, a user opens `/account/x.css`. If the application answers such paths with the
//! account page and declares no lifetime, a cache that decides by the extension stores the user's
//! page for everyone. Therefore, unless the lifetime is the origin's own, a response whose URL has
//! the extension of a static file must have the media type of that extension.

use http::{HeaderMap, header};

/// The extensions of static files, and what their media types start with or contain. Object stores
/// send files of undeclared type as octets; no application sends a page that way.
const KINDS: [(&[&str], &[&str]); 10] = [
    (
        &["avif", "bmp", "gif", "ico", "jpeg", "jpg", "pict", "png", "svg", "svgz", "tif", "tiff", "webp"],
        &["image/", "octet-stream"],
    ),
    (&["css"], &["text/css", "octet-stream"]),
    (&["js", "mjs"], &["javascript", "octet-stream"]),
    (&["eot", "otf", "ttf", "woff", "woff2"], &["font", "octet-stream"]),
    (
        &["avi", "flac", "m4a", "mid", "midi", "mkv", "mov", "mp3", "mp4", "ogg", "pls", "wav", "webm"],
        &["audio/", "video/", "octet-stream"],
    ),
    (&["csv", "txt"], &["text/csv", "text/plain", "octet-stream"]),
    (&["json", "map"], &["json", "text/plain", "octet-stream"]),
    (&["xml"], &["xml", "text/plain", "octet-stream"]),
    (&["webmanifest"], &["json", "octet-stream"]),
    (
        &[
            "7z", "apk", "bin", "bz2", "class", "dmg", "doc", "docx", "eps", "exe", "gz", "iso", "jar",
            "pdf", "ppt", "pptx", "ps", "rar", "swf", "tar", "wasm", "xls", "xlsx", "zip", "zst",
        ],
        &["application/"],
    ),
];

/// Returns whether the last segment of `path` has the extension of a static file, and the response
/// has another media type. A response without a media type is accepted, since generated pages have
/// one.
pub fn contradicts(path: &str, response: &HeaderMap) -> bool {
    let Some((_, extension)) = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')) else {
        return false;
    };
    let Some(content_type) = response.get(header::CONTENT_TYPE) else { return false };
    let content_type = String::from_utf8_lossy(content_type.as_bytes()).to_ascii_lowercase();
    let essence = content_type.split(';').next().unwrap_or_default();
    let extension = extension.to_ascii_lowercase();
    let kind = KINDS.iter().find(|(extensions, _)| extensions.contains(&extension.as_str()));
    // JSON and XML are `application/` as well, but are generated per user.
    let is_generated =
        |kind: &&str| *kind == "application/" && (essence.ends_with("json") || essence.ends_with("xml"));
    let is_of = |kind: &&str| essence.contains(kind) && !is_generated(kind);
    kind.is_some_and(|(_, kinds)| essence.contains("html") || !kinds.iter().any(is_of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    #[test]
    fn a_media_type_that_differs_from_the_extension_is_a_contradiction() {
        for (path, content_type, contradiction) in [
            ("/account/x.css", "text/html; charset=utf-8", true),
            ("/account/x.CSS", "Text/HTML", true),
            ("/account;x.png", "application/xhtml+xml", true),
            ("/account/x.zip", "application/xhtml+xml", true),
            ("/a/x.css", "text/css", false),
            ("/a/x.js", "application/javascript; charset=utf-8", false),
            ("/a/x.js", "application/json", true),
            ("/api/me/x.pdf", "application/json", true),
            ("/api/me/x.txt", "application/json", true),
            ("/api/me/x.zip", "application/problem+xml", true),
            ("/account/x.json", "text/html", true),
            ("/account/x.xml", "application/xhtml+xml", true),
            ("/a/x.json", "application/json", false),
            ("/a/x.xml", "application/rss+xml", false),
            ("/a/x.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", false),
            ("/a/x.woff2", "application/font-woff2", false),
            ("/a/x.png", "binary/octet-stream", false),
            ("/a/x.svg", "image/svg+xml", false),
            ("/a.css/x", "text/html", false),
            ("/a/x.svgz", "image/svg+xml", false),
            ("/a/x.html", "text/html", false),
            ("/a/x", "text/html", false),
            ("/a/x.", "text/html", false),
        ] {
            assert_eq!(
                contradicts(path, &headers(&[("content-type", content_type)])),
                contradiction,
                "{path} {content_type}"
            );
        }
        assert!(!contradicts("/a/x.css", &headers(&[])));
    }
}
