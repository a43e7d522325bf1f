//! `Vary`, and request fields in their normal form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_keys::{Normaliser, TargetKey, VariantKey, VaryFields, VaryRules};

const FIELDS: [&str; 5] = ["accept-encoding", "accept-language", "accept", "cookie", "x-other"];

// Lines: a `Vary`, the members of a normaliser's list, then a value per field; an empty line stands
// for an absent field.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let vary = lines.next().unwrap_or_default();
    let members: Vec<&str> = lines.next().unwrap_or_default().split(';').collect();
    let values: Vec<_> = lines.collect();
    let client = |name: &str| {
        let at = FIELDS.iter().position(|field| *field == name)?;
        values.get(at).filter(|value| !value.is_empty()).map(|value| (*value).to_owned())
    };

    // Each field gets a normaliser of its kind, if the list is one for it.
    let normalisers = [
        Normaliser::coding(&members),
        Normaliser::language(&members),
        Normaliser::media_type(&members),
        Normaliser::cookies(&members),
        Ok(Normaliser::lower_case_list()),
    ];
    let mut rules = VaryRules::default();
    for (field, normaliser) in FIELDS.into_iter().zip(normalisers) {
        let Ok(normaliser) = normaliser else { continue };
        for value in values.iter().copied().map(Some).chain([None]) {
            let once = normaliser.normal(value);
            assert_eq!(normaliser.normal(once.as_deref()), once, "a normal value stays itself");
        }
        rules = rules.field(field, normaliser);
    }

    let Some(vary) = VaryFields::parse([vary]) else { return };
    assert_eq!(VaryFields::parse([vary.to_header().as_str()]).as_ref(), Some(&vary));
    let target = TargetKey::parse("http://a.example/?a").expect("a URL");
    for rules in [&VaryRules::default(), &rules] {
        let forwarded: Vec<_> = rules.forwarded(client).collect();
        let origin = |name: &str| match forwarded.iter().find(|(field, _)| *field == name) {
            Some((_, value)) => value.clone(),
            None => client(name),
        };
        let key = VariantKey::new(&target, &vary, rules, client);
        assert_eq!(
            VariantKey::new(&target, &vary, rules, origin),
            key,
            "what is forwarded selects the same variant"
        );
        assert_ne!(key.as_str(), target.as_str());
    }
});
