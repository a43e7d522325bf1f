//! A model of origins as they are found: a pure function from a request to its response.
//!
//! It decodes and folds paths, obeys override fields, echoes what it receives, redirects by the
//! order of parameters, and mostly says nothing about caching. Its behaviour follows HTTP in one
//! respect: an ordinary field that changes a response is named in `Vary`, or the response says
//! nothing about caching. Otherwise no cache could be right.
//!
//! The first segment of a path is the *space* of a pair, such as `p17a`. Its number selects which
//! of the foldings the origin performs.

use std::collections::BTreeMap;

use http::Method;

use crate::fields::{is_acted_on, with_hyphens};
use crate::message::{Message, Reply};

/// The pages of an origin.
pub const PAGES: [&str; 17] = [
    "page", "acted-on", "lang", "tenant", "enc", "cookie", "silent", "me", "static", "order", "slash",
    "form", "range", "etag", "auth", "session", "marked",
];

/// The lifetime of most pages.
const SHARED: (&str, &str) = ("cache-control", "max-age=600");
/// The content of the page with parts.
const PARTS: &str = "0123456789";
const ETAG: &str = "\"v1\"";

/// Returns the answer to a request.
#[must_use]
pub fn answer(request: &Message) -> Reply {
    let (received_path, received_query) = split(&request.target);
    let folding = Folding::of(received_path);
    let fields = folding.fields(request);
    let path = ["x-original-url", "x-rewrite-url"].iter().find_map(|name| fields.get(*name));
    let (path, query) = path.map_or((received_path, received_query), |target| split(target));
    let method = ["x-http-method-override", "x-http-method", "x-method-override"]
        .iter()
        .find_map(|name| fields.get(*name).map(String::as_str))
        .unwrap_or(request.method.as_str());
    let folded = folding.fold(path);
    let mut segments = folded.trim_start_matches('/').splitn(3, '/');
    let (space, page) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
    let call = Call { method, query, received: &request.target, folded: &folded, space, fields: &fields };
    let reply = call.page(page, &request.body);
    if request.method == Method::HEAD { Reply { body: String::new(), ..reply } } else { reply }
}

fn split(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

/// A request as the page's code sees it.
struct Call<'a> {
    method: &'a str,
    query: &'a str,
    received: &'a str,
    folded: &'a str,
    space: &'a str,
    fields: &'a BTreeMap<String, String>,
}

impl Call<'_> {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("-", String::as_str)
    }

    /// Returns the text of a page that shows where its links lead, as many do.
    fn text(&self, more: &str) -> String {
        format!("{} {} host {} {}", self.method, self.received, self.field("x-forwarded-host"), more)
    }

    fn page(&self, page: &str, body: &str) -> Reply {
        let shared = |more: &str| Reply::new(200, &[SHARED], self.text(more));
        let varies = |by: &'static str| Reply::new(200, &[SHARED, ("vary", by)], self.text(self.field(by)));
        if !matches!(self.method, "GET" | "HEAD" | "POST") {
            return Reply::new(405, &[SHARED], format!("no method {}", self.method));
        }
        match page {
            "page" | "marked" => shared(""),
            "acted-on" => {
                let acted_on = self.fields.iter().filter(|(name, _)| is_acted_on(name));
                let acted_on: Vec<String> = acted_on.map(|(name, value)| format!("{name}={value}")).collect();
                let location = format!("http://{}{}", self.field("x-forwarded-host"), self.received);
                let fields = [SHARED, ("content-location", &*location)];
                Reply::new(200, &fields, self.text(&acted_on.join(" ")))
            }
            "lang" => varies("accept-language"),
            "tenant" => varies("x-tenant"),
            "cookie" => varies("cookie"),
            "enc" => {
                let accepted = self.field("accept-encoding");
                match ["br", "gzip"].iter().find(|coding| accepted.contains(**coding)) {
                    // Without `Vary`, as many send it.
                    Some(coding) => {
                        Reply::new(200, &[SHARED, ("content-encoding", coding)], self.text(coding))
                    }
                    None => shared(""),
                }
            }
            // These depend on the user, and say nothing about caching. The cookies of analytics
            // tools are for scripts in the page, so no origin reads them.
            "silent" | "me" => {
                let cookies = self.field("cookie").split([';', ',']).map(str::trim);
                let own: Vec<&str> =
                    cookies.filter(|cookie| *cookie != "-" && !cookie.starts_with("_ga")).collect();
                let user = format!("{} {}", own.join("; "), self.field("authorization"));
                Reply::new(200, &[("content-type", "text/html")], self.text(&user))
            }
            "static" => Reply::new(200, &[("content-type", "text/css")], self.text("")),
            "order" => self.in_own_order(),
            "slash" if !self.folded.ends_with('/') => {
                let location = format!("/{}/slash/?{}", self.space, self.query);
                Reply::new(301, &[SHARED, ("location", &location)], "")
            }
            "slash" => shared(""),
            "form" if self.method == "POST" => {
                let fields = [SHARED, ("content-location", self.received)];
                Reply::new(200, &fields, self.text(body))
            }
            "form" => shared(body),
            // Conditions precede ranges (RFC 9110 section 13.2.2).
            "range" | "etag" if self.field("if-none-match").contains(ETAG) => {
                Reply::new(304, &[SHARED, ("etag", ETAG)], "")
            }
            "range" => self.part(),
            "etag" if self.fields.contains_key("if-match") => Reply::new(412, &[SHARED], "changed"),
            "etag" => Reply::new(200, &[SHARED, ("etag", ETAG)], self.text("")),
            "auth" if self.fields.contains_key("authorization") => shared(self.field("authorization")),
            "auth" => Reply::new(401, &[("www-authenticate", "Basic")], "who is there"),
            "session" => {
                let cookie = format!("sid={}", self.field("cookie").len());
                Reply::new(200, &[SHARED, ("set-cookie", &cookie)], self.text(""))
            }
            _ => Reply::new(404, &[SHARED], format!("nothing at {}", self.folded)),
        }
    }

    /// Redirects to the order of parameters that this origin prefers: descending.
    fn in_own_order(&self) -> Reply {
        let mut parameters: Vec<&str> = self.query.split('&').filter(|text| !text.is_empty()).collect();
        let received = parameters.join("&");
        parameters.sort_unstable_by(|a, b| b.cmp(a));
        let preferred = parameters.join("&");
        if received == preferred {
            return Reply::new(200, &[SHARED], self.text(""));
        }
        let location = format!("/{}/order?{preferred}", self.space);
        Reply::new(302, &[SHARED, ("location", &location)], "")
    }

    /// Answers a range of the form `bytes=2-4` or `bytes=2-`.
    fn part(&self) -> Reply {
        let fields = [SHARED, ("etag", ETAG), ("accept-ranges", "bytes")];
        let range = self.fields.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let Some((Ok(first), last)) = range.map(|(first, last)| (first.parse::<usize>(), last)) else {
            return Reply::new(200, &fields, PARTS);
        };
        let end = last.parse::<usize>().map_or(PARTS.len(), |last| PARTS.len().min(last + 1));
        match PARTS.get(first..end).filter(|part| !part.is_empty()) {
            Some(part) => {
                let range = format!("bytes {first}-{}/{}", end - 1, PARTS.len());
                Reply::new(206, &[&fields[..], &[("content-range", &*range)]].concat(), part)
            }
            None => Reply::new(416, &[("content-range", &format!("bytes */{}", PARTS.len()))], ""),
        }
    }
}

/// The changes that an origin makes to paths and to the names of fields.
#[derive(Debug, Clone, Copy)]
struct Folding(u64);

impl Folding {
    /// Returns the folding of the space that a path begins with.
    fn of(path: &str) -> Self {
        let digits: String =
            path.trim_start_matches('/').chars().skip(1).take_while(char::is_ascii_digit).collect();
        // Spread, so that successive spaces differ in more than one step.
        Self(digits.parse::<u64>().unwrap_or_default().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48)
    }

    fn does(self, step: u32) -> bool {
        self.0 >> step & 1 == 1
    }

    /// Returns the fields by name. A gateway that passes fields as variables reads all marks of a
    /// name as `-`.
    fn fields(self, request: &Message) -> BTreeMap<String, String> {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &request.headers {
            let name = if self.does(0) { with_hyphens(name.as_str()) } else { name.as_str().to_owned() };
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let all = fields.entry(name).or_default();
            if !all.is_empty() {
                all.push_str(", ");
            }
            all.push_str(&value);
        }
        fields
    }

    fn fold(self, path: &str) -> String {
        let mut path = path.to_owned();
        for _ in 0..(self.0 >> 1) & 3 {
            path = decoded(&path);
        }
        if self.does(3) {
            path = path.replace('\\', "/");
        }
        if self.does(4) {
            path = path.split(['?', '#', '\0']).next().unwrap_or_default().to_owned();
        }
        let mut segments: Vec<&str> = Vec::new();
        for segment in path.split('/') {
            let segment = if self.does(5) { segment.split(';').next().unwrap_or_default() } else { segment };
            let plain = if self.does(6) { segment.trim_end_matches(['.', ' ']) } else { segment };
            match segment {
                ".." if self.does(7) => drop(segments.pop()),
                "." if self.does(7) => {}
                "" if self.does(8) => {}
                _ => segments.push(plain),
            }
        }
        let ends_in_slash = path.ends_with('/');
        let mut folded = format!("/{}", segments.join("/").trim_start_matches('/'));
        if ends_in_slash && !folded.ends_with('/') {
            folded.push('/');
        }
        if self.does(9) { folded.to_ascii_lowercase() } else { folded }
    }
}

fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |byte: &u8| char::from(*byte).to_digit(16);
        match after {
            [high, low, behind @ ..] if *first == b'%' && hex(high).is_some() && hex(low).is_some() => {
                bytes.push((hex(high).unwrap_or_default() * 16 + hex(low).unwrap_or_default()) as u8);
                rest = behind;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
