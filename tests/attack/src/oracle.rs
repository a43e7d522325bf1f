//! Decides whether an attacker's requests changed what a victim received.
//!
//! The victim sends its request twice: in the space that the attacker has used, and in one that no
//! request has used. Both answers must be the same, or the first must be what the origin answers to
//! the victim's key alone: its URL and the fields that the response varies by.

use edge_worker::origin::request::fill_headers;
use edge_worker::policy::select::vary_fields;
use edge_worker::rules::{Client, Rules};
use http::HeaderMap;
use shared_keys::TargetKey;
use url::{Position, Url};

use crate::message::{Message, Reply};
use crate::origin;
use crate::pairs::{Pair, in_space};

/// A victim's answer that depends on the attacker's requests.
#[derive(Debug)]
pub struct Difference {
    /// The number of the pair.
    pub number: u64,
    /// The pair.
    pub pair: Pair,
    /// The answer after the attacker's requests.
    pub seen: Reply,
    /// The answer without them.
    pub alone: Reply,
    /// The origin's answer to the key.
    pub of_key: Option<Reply>,
}

/// Returns the two spaces of a pair: the one that the attacker uses, and the victim's alone.
#[must_use]
pub fn spaces(number: u64) -> [String; 2] {
    [format!("p{number}a"), format!("p{number}b")]
}

/// Compares the two answers to the victim of a pair.
///
/// # Errors
/// The difference, if the attacker caused it.
pub fn check(
    rules: &Rules,
    host: &str,
    number: u64,
    pair: &Pair,
    seen: Reply,
    alone: Reply,
) -> Result<(), Box<Difference>> {
    let [used, unused] = spaces(number);
    let (seen, alone) = (without_space(seen, &used), without_space(alone, &unused));
    if seen.is_same_as(&alone) {
        return Ok(());
    }
    let of_key = of_key(rules, host, &in_space(&pair.victim, &used)).map(|reply| without_space(reply, &used));
    if of_key.as_ref().is_some_and(|reply| seen.is_same_as(reply)) {
        return Ok(());
    }
    Err(Box::new(Difference { number, pair: pair.clone(), seen, alone, of_key }))
}

/// Returns the origin's answer to the key of a request.
fn of_key(rules: &Rules, host: &str, request: &Message) -> Option<Reply> {
    let url = Url::parse(&format!("http://{host}{}", request.target)).ok()?;
    let plain = TargetKey::parse(url.as_str()).ok()?;
    let client = Client { headers: &request.headers, country: "XX" };
    let rule = rules.of(&request.method, &plain, client);
    let key = Url::parse(rule.target(url.as_str(), plain)?.as_str()).ok()?;
    let target = key[Position::BeforePath..Position::AfterQuery].to_owned();
    let forwarded = fill_headers(&request.headers, &rule.vary, &rule.unkeyed, &url);
    let mut bare = Message {
        method: request.method.clone(),
        target,
        headers: fill_headers(&HeaderMap::new(), &rule.vary, &rule.unkeyed, &url),
        body: String::new(),
    };
    let selecting = vary_fields(&origin::answer(&bare).headers)?;
    for name in selecting.iter() {
        bare.headers.remove(name);
        for value in forwarded.get_all(name) {
            bare.append(name, value.to_str().ok()?);
        }
    }
    Some(origin::answer(&bare))
}

fn without_space(mut reply: Reply, space: &str) -> Reply {
    reply.body = reply.body.replace(space, "@");
    for value in reply.headers.values_mut() {
        if let Some(replaced) = value.to_str().ok().and_then(|text| text.replace(space, "@").try_into().ok())
        {
            *value = replaced;
        }
    }
    reply
}
