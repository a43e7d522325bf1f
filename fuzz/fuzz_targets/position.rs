//! A position's text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_keys::Position;

fuzz_target!(|text: &str| {
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text, "a position has one text");
    }
});
