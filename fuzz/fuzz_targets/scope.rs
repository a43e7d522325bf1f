//! A scope's text, hash and token.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_keys::{Scope, ScopeHash, scopes_from_header};

fuzz_target!(|text: &str| {
    if let Ok(scope) = text.parse::<Scope>() {
        assert_eq!(scope.to_string().parse().as_ref(), Ok(&scope), "printed text parses back");
        let hash = scope.hash();
        assert_eq!(hash.to_string().parse(), Ok(hash));
        let carried = scope.carried_hash();
        assert_eq!(
            scopes_from_header(&scope.to_token()).next(),
            Some(carried),
            "the edge reads what the origin wrote"
        );
    }
    if let Ok(hash) = text.parse::<ScopeHash>() {
        assert_eq!(hash.to_string(), text, "a hash has one text");
    }
    let scopes: Vec<_> = Scope::of_key(text).iter().map(Scope::hash).collect();
    assert_eq!(scopes, ScopeHash::of_key(text));
});
