//! Generated attacks on the edge cache: pairs of an attacker's requests and a victim's request,
//! before a model of origins as they are found. What the victim receives must not depend on the
//! attacker's requests.
//!
//! [`pairs`] generates the requests, [`origin`] answers them, and [`oracle`] compares. The pairs
//! run through the policy alone ([`cache`]), and over the wire through the built worker ([`wire`]).

pub mod cache;
pub mod fields;
pub mod message;
pub mod oracle;
pub mod origin;
pub mod pairs;
pub mod wire;

use edge_worker::json::Json;
use edge_worker::rules::Rules;
use serde_json::Value;

use crate::cache::{Cache, Fault, HOST};
use crate::oracle::{Difference, check, spaces};
use crate::pairs::{Pairs, in_space};

/// The deployment's rules: pages that are never stored, a folder whose files are for everyone,
/// lifetimes for pages whose origin says nothing, and a page whose parameters have no order.
pub const RULES: &str = r#"[
    {"path": ["/*/me", "/*/me/**"], "pass": true},
    {"path": "/*/static/**", "lifetime": {"fresh": 600}, "ignore_credentials": true, "check_extension": false},
    {"path": "/*/static", "lifetime": {"fresh": 600}, "ignore_credentials": true},
    {"path": "/*/silent", "lifetime": {"fresh": 600}},
    {"path": "/*/order", "query": {"sort": true}},
    {"path": "/*/marked", "query": {"drop": ["utm_*"]},
     "vary": {"cookie": {"cookies": ["group"]}, "accept-language": {"language": ["en", "de"]}}}
]"#;

/// Returns the rules of [`RULES`].
///
/// # Panics
/// If they are invalid, which a test excludes.
#[must_use]
#[expect(clippy::expect_used, reason = "the text is a constant, and tested")]
pub fn rules() -> Rules {
    let json: Value = serde_json::from_str(RULES).expect("RULES is JSON");
    let mut rules = Rules::read(&to_json(json)).expect("RULES is valid");
    rules.distrust_platform_fields();
    rules
}

fn to_json(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(value),
        Value::Number(number) => Json::Number(number.as_f64().unwrap_or_default()),
        Value::String(text) => Json::Text(text),
        Value::Array(items) => Json::List(items.into_iter().map(to_json).collect()),
        Value::Object(members) => {
            Json::Object(members.into_iter().map(|(name, value)| (name, to_json(value))).collect())
        }
    }
}

/// The result of many pairs.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The pairs whose victim was answered from the store.
    pub hits: u64,
    /// The victims' answers that depend on an attacker.
    pub differences: Vec<Box<Difference>>,
}

/// Runs the first `count` pairs of a seed through the policy. `fault` leaves a defence out; such a
/// run ends at the first difference.
#[must_use]
pub fn run(seed: u64, count: u64, fault: Option<Fault>) -> Outcome {
    let rules = rules();
    let mut outcome = Outcome::default();
    for (number, pair) in (0..count).zip(Pairs::new(seed)) {
        let [used, unused] = spaces(number);
        let mut cache = Cache::new(&rules, fault);
        for request in &pair.attack {
            cache.answer(&in_space(request, &used));
        }
        let seen = cache.answer(&in_space(&pair.victim, &used));
        outcome.hits += u64::from(cache.was_hit());
        let alone = Cache::new(&rules, fault).answer(&in_space(&pair.victim, &unused));
        outcome.differences.extend(check(&rules, HOST, number, &pair, seen, alone).err());
        if fault.is_some() && !outcome.differences.is_empty() {
            break;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 1;

    #[test]
    fn no_victims_answer_depends_on_an_attacker() {
        let outcome = run(SEED, 3_000, None);
        assert!(outcome.differences.is_empty(), "{:#?}", outcome.differences.first());
        assert!(outcome.hits > 300, "the victims are served from the store: {}", outcome.hits);
    }

    /// Otherwise the comparison above would show nothing.
    #[test]
    fn the_comparison_finds_each_defence_that_is_left_out() {
        for fault in [
            Fault::UnkeyedFields,
            Fault::StoredPosts,
            Fault::StoredSpellings,
            Fault::SharedCredentials,
            Fault::LiteralRules,
        ] {
            assert!(!run(SEED, 100_000, Some(fault)).differences.is_empty(), "{fault:?}");
        }
    }
}
