//! Generates pairs: an attacker's requests, and the request of a victim that they could affect.

use http::Method;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::fields::{ACTED_ON, OVERRIDES};
use crate::message::Message;
use crate::origin::PAGES;

/// Stands for the space of a pair in its requests.
const SPACE: &str = "@";

/// An attacker's requests and a victim's request after them.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The attacker's requests, in order.
    pub attack: Vec<Message>,
    /// The victim's request.
    pub victim: Message,
}

/// Spellings of `/@/NAME` that some server takes for that page.
const SPELLINGS: [&str; 30] = [
    "//@/NAME",
    "/@//NAME",
    "/@/./NAME",
    "/@/x/../NAME",
    "/@/NAME/",
    "/@/NAME;x=1",
    "/@;x/NAME",
    "/@/NAME.",
    "/@/NAME%20",
    "/@%2fNAME",
    "/@%5cNAME",
    "/@\\NAME",
    "/@/NAME%00",
    "/@/NAME%00.css",
    "/@/NAME%3fx",
    "/@/NAME%23x",
    "/@/NAME%0a",
    "/@/NAME/x.css",
    "/@/NAME;x.css",
    "/@/static/..%2fNAME",
    "/@/static/..%252fNAME",
    "/@/static/%2e%2e/NAME",
    "/@/static/..;/NAME",
    "/@/static/..%5cNAME",
    "/@/static/x/..%2f..%2fNAME",
    "/@/static/..%c0%afNAME",
    "/@/static;/../NAME",
    "/@/%2e/NAME",
    "/@/silent/..%2fNAME",
    "/@/NAME%2f",
];

const PARAMETERS: [&str; 14] = [
    "a=1",
    "a=2",
    "b=1",
    "b=%2f",
    "b=/",
    "c",
    "c=",
    "d=a+b",
    "d=a%20b",
    "%61=1",
    "utm_source=x",
    "utm%5fid=x",
    "__strata_variant=x",
    "a=1;b=2",
];

/// Fields of any user's request, each with values that several users send.
const FIELDS: [(&str, &[&str]); 9] = [
    ("cookie", &["sid=ann", "sid=eve", "_ga=1", "group=a; _ga=1", "group=b", "theme=dark; sid=ann"]),
    ("accept-language", &["en", "de-AT, en;q=0.3", "DE", "fr", "*"]),
    ("accept-encoding", &["gzip, br", "br;q=0, gzip", "identity", "gzip;q=0.1, *"]),
    ("accept", &["*/*", "text/html", "text/HTML,*/*;q=0.8"]),
    ("x-tenant", &["a", "b", "A", "a, b"]),
    ("authorization", &["Basic YW5u", "Bearer eve"]),
    ("range", &["bytes=2-4", "bytes=0-9", "bytes=20-30", "bytes=5-", "lines=1-2"]),
    ("if-none-match", &["\"v1\"", "W/\"v1\", \"x\"", "\"v2\""]),
    ("cache-control", &["no-cache", "max-age=0", "no-store", "only-if-cached"]),
];

/// Fields that only an attacker sends.
const ODD_FIELDS: [(&str, &[&str]); 15] = [
    ("connection", &["cookie", "x-tenant", "accept-language, cookie", "cache-control", "authorization"]),
    ("accept_language", &["de", "evil"]),
    ("accept.language", &["de", "evil"]),
    ("x_tenant", &["b", "evil"]),
    ("x.tenant", &["b"]),
    ("accept_encoding", &["br", "gzip"]),
    ("if_none_match", &["\"v1\""]),
    ("if-none-match", &["*", "\"v1\""]),
    ("if-match", &["\"v2\"", "*"]),
    ("content-type", &["evil"]),
    ("pragma", &["no-cache", "evil"]),
    ("max-forwards", &["0", "3"]),
    ("via", &["1.1 evil"]),
    ("cdn-loop", &["evil"]),
    ("x-http-method-override", &["POST", "DELETE", "HEAD", "evil"]),
];

/// An endless sequence of pairs.
#[derive(Debug)]
pub struct Pairs(Xoshiro256PlusPlus);

impl Pairs {
    /// Creates the sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.0.random_ratio(percent, 100)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.0).expect("the lists have members")
    }

    fn query(&mut self) -> Vec<&'static str> {
        (0..self.0.random_range(0..4)).map(|_| self.one(&PARAMETERS)).collect()
    }

    fn path(&mut self, page: &str, odd_percent: u32) -> String {
        if !self.chance(odd_percent) {
            return format!("/{SPACE}/{page}");
        }
        let name = match self.0.random_range(0..8) {
            0 => page.to_uppercase(),
            1 => format!("%{:02x}{}", page.as_bytes()[0], &page[1..]),
            2 => format!("%25{:02x}{}", page.as_bytes()[0], &page[1..]),
            3 => format!("%EF%BD%{:02X}{}", page.as_bytes()[0] + 0x20, &page[1..]),
            _ => page.to_owned(),
        };
        self.one(&SPELLINGS).replace("NAME", &name)
    }

    fn target(&mut self, page: &str, query: &[&str], odd_percent: u32) -> String {
        let path = self.path(page, odd_percent);
        let mut query = query.to_vec();
        if self.chance(odd_percent) {
            match self.0.random_range(0..4) {
                0 => query.reverse(),
                1 => query.push(self.one(&PARAMETERS)),
                2 => drop(query.pop()),
                _ => query.insert(0, ""),
            }
        }
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }

    /// Appends some of the fields that any user sends.
    fn fields_of_a_user(&mut self, message: &mut Message) {
        for (name, values) in FIELDS {
            let percent = if matches!(name, "range" | "if-none-match" | "authorization") { 6 } else { 20 };
            if self.chance(percent) {
                message.append(name, self.one(values));
            }
        }
    }

    fn attack(&mut self, page: &str, query: &[&str]) -> Message {
        let page = if self.chance(90) { page } else { self.one(&PAGES) };
        let mut message = Message::get(&self.target(page, query, 40));
        message.method = match self.0.random_range(0..20) {
            0..14 => Method::GET,
            14..17 => Method::POST,
            17 | 18 => Method::HEAD,
            _ => self.one(&["PUT", "OPTIONS", "DELETE", "QUERY"]).parse().unwrap_or_default(),
        };
        if message.method == Method::POST || self.chance(3) {
            message.body = "evil body".to_owned();
        }
        self.fields_of_a_user(&mut message);
        for _ in 0..self.0.random_range(0..5) {
            if self.chance(50) {
                let name = self.one(&ACTED_ON);
                // Gateways read other marks as `-`.
                let name = match self.0.random_range(0..10) {
                    0 => name.replace('-', "_"),
                    1 => name.replacen('-', "_", 1),
                    2 => name.replace('-', "."),
                    _ => name.to_owned(),
                };
                message.append(&name, "evil");
            } else if self.chance(20) {
                let target = format!("/{SPACE}/{}", self.one(&PAGES));
                message.append(self.one(&OVERRIDES[..2]), &target);
            } else {
                let (name, values) = self.one(&ODD_FIELDS);
                message.append(name, self.one(values));
            }
        }
        message
    }
}

impl Iterator for Pairs {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        let page = self.one(&PAGES);
        let query = self.query();
        let attack: Vec<Message> =
            (0..self.0.random_range(1..3)).map(|_| self.attack(page, &query)).collect();
        let mut victim = Message::get(&self.target(page, &query, 12));
        // The attacker may have led the victim to its own spelling of the URL.
        if self.chance(20)
            && let Some(last) = attack.last()
        {
            victim.target.clone_from(&last.target);
        }
        if self.chance(5) {
            victim.method = Method::HEAD;
        }
        self.fields_of_a_user(&mut victim);
        if !victim.target.contains("range") {
            // A cache may cut a range out of a response whose origin ignores the field.
            victim.headers.remove("range");
        }
        Some(Pair { attack, victim })
    }
}

/// Returns a request of a pair in a space of its own.
#[must_use]
pub fn in_space(message: &Message, space: &str) -> Message {
    let mut message = message.clone();
    message.target = message.target.replace(SPACE, space);
    for value in message.headers.values_mut() {
        if let Some(replaced) =
            value.to_str().ok().and_then(|text| text.replace(SPACE, space).try_into().ok())
        {
            *value = replaced;
        }
    }
    message
}
