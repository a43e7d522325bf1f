//! `Cache-Control`, its targeted forms, and lifetimes.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use shared_keys::{Directives, Lifetime, MAX_DELTA, cache_directives, delta_seconds};

// The first line is the age of a copy in milliseconds; the others are the lines of a field.
fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|&byte| byte == b'\n');
    let age = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok()).unwrap_or_default();
    let lines: Vec<_> = lines.collect();
    for line in &lines {
        for (name, argument) in cache_directives(line) {
            assert!(!name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name}");
            let seconds = argument.as_deref().and_then(delta_seconds);
            assert!(seconds.is_none_or(|seconds| seconds <= MAX_DELTA));
        }
        if let Some(lifetime) = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok()) {
            assert_properties(lifetime, age);
        }
        if let Some(directives) = Directives::from_targeted(line) {
            assert!(directives.targeted);
            directives.lifetime().inspect(|lifetime| assert_properties(*lifetime, age));
        }
    }
    let directives = Directives::from_cache_control(lines.iter().copied());
    if let Some(lifetime) = directives.lifetime() {
        assert_properties(lifetime, age);
        assert!(directives.max_age.or(directives.s_maxage).is_some());
        assert!(!directives.forbids_stale() || lifetime.total() == lifetime.fresh_for());
    }
});

/// Asserts the properties of every parsed lifetime.
fn assert_properties(lifetime: Lifetime, age_ms: u64) {
    let text = lifetime.to_directives();
    assert_eq!(text.parse(), Ok(lifetime), "{text}");
    assert_eq!(Directives::from_cache_control([text.as_bytes()]).lifetime(), Some(lifetime), "{text}");
    assert_eq!(
        Directives::from_targeted(text.as_bytes()).and_then(|read| read.lifetime()),
        Some(lifetime),
        "{text}"
    );
    let age = Duration::from_millis(age_ms);
    let left = lifetime.remaining(age);
    assert_eq!(
        left.total(),
        lifetime.total().saturating_sub(age),
        "a lifetime ends at the same time at every age"
    );
    assert_eq!(lifetime.min(left), left);
}
