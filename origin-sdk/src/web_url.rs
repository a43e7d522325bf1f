//! The URLs of the worker, of a zone's API and of pages: parsing them, and showing them without
//! secrets.

use std::fmt;

use reqwest::Url;

/// A URL as a builder received it. Its `Debug` form hides what may be a secret.
#[derive(Clone)]
pub(crate) struct UrlText(pub(crate) String);

impl fmt::Debug for UrlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match parse(&self.0) {
            Ok(url) => f.write_str(&shown(&url)),
            Err(_) => f.write_str("a malformed URL"),
        }
    }
}

/// Parses an `http` or `https` URL.
///
/// # Errors
/// Returns which part is wrong and how to correct it. Shows nothing of the URL, since a password
/// can be anywhere in a malformed one.
pub(crate) fn parse(text: &str) -> Result<Url, &'static str> {
    match text.split_once("://") {
        None => Err("the scheme is missing: begin with `https://`"),
        Some(("http" | "https", _)) => Url::parse(text).map_err(
            |_| "its host or port is malformed: write `/`, `?`, `#` and `@` in a password as %2F, %3F, %23 and %40",
        ),
        Some(_) => Err("the scheme is unknown: use `https://` or `http://`"),
    }
}

/// Formats a URL without user name, password, query and fragment.
pub(crate) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    // These fail only for URLs without a host, which `parse` refuses.
    let _ = (shown.set_username(""), shown.set_password(None));
    shown.set_fragment(None);
    shown.set_query(url.query().map(|_| "…"));
    // An `@` in the path: the authority has probably ended at a raw `/` in a password.
    if url.path().contains('@') {
        format!("{}://…", url.scheme())
    } else {
        shown.to_string().replace("%E2%80%A6", "…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_credentials_and_query() {
        for (url, expected) in [
            ("https://user:hunter2@shop.example:8443/a", "https://shop.example:8443/a"),
            ("https://shop.example/a?token=hunter2#hunter2", "https://shop.example/a?…"),
            ("http://user:1/hunter2@shop.example/", "http://…"),
            ("user:hunter2@shop.example", "a malformed URL"),
        ] {
            assert_eq!(format!("{:?}", UrlText(url.to_owned())), expected, "{url}");
        }
    }
}
