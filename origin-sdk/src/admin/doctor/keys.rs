//! Keys: their lifetimes and sizes, and the entries that the journal has ended.

use std::collections::HashMap;

use super::facts::Facts;
use super::{Diagnosis, Health, human_bytes, percent};
use crate::store::SampledKey;

/// The families that a figure names.
const SHOWN: usize = 3;
/// The sizes of a value that are worth a warning, and a fault.
const LARGE: usize = 1 << 20;
const HUGE: usize = 10 << 20;
/// The smallest sample of entries that is judged.
const JUDGED: usize = 50;

/// Judges the keys without a TTL. Those of a journal have none, and are bounded in number.
pub(super) fn lifetimes(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "keys without a TTL";
    let known: Vec<_> =
        facts.sample.iter().filter(|key| key.expires.is_some() && !key.is_journal()).collect();
    let mut families: HashMap<String, usize> = HashMap::new();
    for key in known.iter().filter(|key| key.expires == Some(false)) {
        *families.entry(key.family()).or_default() += 1;
    }
    let endless: usize = families.values().sum();
    if endless == 0 {
        return Diagnosis::ok(CHECK, format!("none of {} sampled keys", known.len()));
    }
    let mut families: Vec<_> = families.into_iter().collect();
    families.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let named: Vec<_> =
        families.iter().take(SHOWN).map(|(family, count)| format!("{family} ({count})")).collect();
    let more = families.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more families") } else { String::new() };
    let figure = format!("{endless} of {} sampled keys: {}{more}", known.len(), named.join(", "));
    let health = if 10 * endless >= known.len() { Health::Fail } else { Health::Warn };
    Diagnosis::fault(
        CHECK,
        health,
        figure,
        "they stay until somebody deletes them, so that the memory they take only grows",
        "set a TTL where they are written, or keep what must stay on a server of its own",
    )
}

pub(super) fn sizes(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "large values";
    let size = |key: &&SampledKey| key.bytes.unwrap_or(0);
    let Some(largest) = facts.sample.iter().max_by_key(size) else {
        return Diagnosis::ok(CHECK, "no key");
    };
    let figure =
        format!("the largest sampled is {}: {}", human_bytes(size(&largest) as f64), largest.family());
    if size(&largest) < LARGE {
        return Diagnosis::ok(CHECK, figure);
    }
    Diagnosis::fault(
        CHECK,
        if size(&largest) < HUGE { Health::Warn } else { Health::Fail },
        figure,
        "while Redis sends it, every other command waits, and each process that reads it holds a copy",
        "cache the parts that are read together instead of the whole, or compress (feature zstd)",
    )
}

/// Judges how many of the app's entries a record of the journal has removed.
pub(super) fn dead_entries(facts: &Facts) -> Diagnosis {
    const CHECK: &str = "invalidated entries";
    let (dead, entries) = match &facts.judged {
        Ok(judged) => (judged.dead, judged.entries),
        Err(error) => return Diagnosis::unreadable(CHECK, error),
    };
    if entries < JUDGED {
        return Diagnosis::ok(CHECK, format!("{dead} of {entries} sampled entries, too few to judge"));
    }
    let figure = format!("{} of {entries} sampled entries", percent(dead as f64, entries as f64));
    if 2 * dead < entries {
        return Diagnosis::ok(CHECK, figure);
    }
    Diagnosis::fault(
        CHECK,
        Health::Warn,
        figure,
        "they are never served, and take memory until their TTL ends; a floor or a purge of everything has overtaken them",
        "free it with `cachectl sweep`; see `cachectl journal tail` for what invalidates so much",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, expires: bool, bytes: usize) -> SampledKey {
        SampledKey { name: name.to_owned(), is_own: true, expires: Some(expires), bytes: Some(bytes) }
    }

    #[test]
    fn families_without_a_ttl_are_named_largest_first() {
        let mut sample: Vec<_> = (0..100).map(|n| key(&format!("shop:v1:{{item:{n}}}"), true, 9)).collect();
        sample.push(key("shop:{journal}:feed", false, 0));
        let facts = Facts { sample, ..Facts::default() };
        assert_eq!(lifetimes(&facts).health, Health::Ok);

        let mut sample = facts.sample;
        sample.extend((0..5).map(|n| key(&format!("session:{n}"), false, 9)));
        sample.push(key("config", false, 9));
        let facts = Facts { sample, ..Facts::default() };
        let diagnosis = lifetimes(&facts);
        assert_eq!(diagnosis.health, Health::Warn);
        assert_eq!(diagnosis.figure, "6 of 106 sampled keys: session:* (5), config (1)");

        let mut sample = facts.sample;
        sample.extend((5..50).map(|n| key(&format!("session:{n}"), false, 9)));
        assert_eq!(lifetimes(&Facts { sample, ..Facts::default() }).health, Health::Fail);
    }

    #[test]
    fn a_large_value_is_named_by_its_family() {
        let health = |bytes| {
            let sample = vec![key("shop:v1:{page:7}", false, bytes)];
            let diagnosis = sizes(&Facts { sample, ..Facts::default() });
            assert!(diagnosis.figure.contains("shop:v1:{page:*"), "{}", diagnosis.figure);
            diagnosis.health
        };
        assert_eq!(health(1_000), Health::Ok);
        assert_eq!(health(2 << 20), Health::Warn);
        assert_eq!(health(11 << 20), Health::Fail);
    }
}
