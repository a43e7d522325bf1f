//! Forbidding words outside their directives: in members of `Cache-Control` that are not
//! well-formed, in arguments and in parameters.
//!
//! An origin that writes `private; max-age=600` or `no-cache no-store` does not want its response
//! shared. Each such word therefore counts as its directive, however it is quoted or separated. A
//! word in the quoted argument of an unknown directive is text of an extension, and does not count.

use alloc::vec::Vec;

use super::directives::Directives;
use super::field_lists::{is_token_byte, split_at_first, split_list};

/// The directives that this cache knows besides `no-store`, `no-cache` and `private`.
const KNOWN: [&str; 9] = [
    "immutable",
    "max-age",
    "must-revalidate",
    "must-understand",
    "proxy-revalidate",
    "public",
    "s-maxage",
    "stale-if-error",
    "stale-while-revalidate",
];

impl Directives {
    /// Adds the restrictions of all forbidding words in `text`. Use it for a targeted field that
    /// does not parse: RFC 9213 section 2.1 ignores the field, but not what it was meant to forbid.
    ///
    /// ```
    /// use shared_keys::Directives;
    /// let mut directives = Directives::from_cache_control([&b"max-age=60"[..]]);
    /// directives.restrict(b"no-cache no-store");
    /// assert!(directives.no_store && directives.no_cache && !directives.private);
    /// ```
    pub fn restrict(&mut self, text: &[u8]) {
        // The spelling does not count: `no-store`, `no_store`, `No Store`.
        let letters: Vec<u8> =
            text.iter().filter(|b| b.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
        let has = |word: &[u8]| letters.windows(word.len()).any(|part| part == word);
        // Not as `must-revalidate`, which also allows to share a response to credentials.
        let revalidate = has(b"mustrevalidate") || has(b"proxyrevalidate");
        for (found, directive) in [
            (has(b"nostore"), &mut self.no_store),
            (has(b"nocache"), &mut self.no_cache),
            (has(b"private"), &mut self.private),
            (revalidate, &mut self.proxy_revalidate),
        ] {
            *directive |= found;
            self.explicit |= found;
        }
    }

    /// Adds the restrictions of the misplaced words in one member of `Cache-Control`. Returns
    /// whether the member is well-formed (RFC 9111 section 5.2).
    pub(super) fn restrict_by_member(&mut self, member: &[u8]) -> bool {
        let (name, argument) = name_and_argument(member);
        let is_well_formed = is_token(name) && argument.is_none_or(|text| is_token(text) || is_quoted(text));
        if is_well_formed {
            self.restrict_by_argument(name, argument);
        } else {
            self.restrict(member);
        }
        is_well_formed || member.is_empty()
    }

    /// Adds the restrictions of the misplaced words in a dictionary, which parses: in arguments and
    /// in parameters.
    pub(super) fn restrict_by_dictionary(&mut self, dictionary: &[u8]) {
        for member in split_list(dictionary) {
            let (head, parameters) = split_at_first(member, b';');
            let (name, argument) = name_and_argument(head);
            self.restrict_by_argument(name, argument);
            self.restrict(parameters);
        }
    }

    fn restrict_by_argument(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
        if ["no-store", "no-cache", "private"].iter().any(is) {
            return;
        }
        let is_known = KNOWN.iter().any(is);
        if is_known || argument.is_none_or(|text| !is_quoted(text)) {
            self.restrict(argument.unwrap_or_default());
        }
        if !is_known {
            self.restrict(name);
        }
    }
}

fn name_and_argument(member: &[u8]) -> (&[u8], Option<&[u8]>) {
    match member.iter().position(|byte| *byte == b'=') {
        Some(at) => (&member[..at], Some(&member[at + 1..])),
        None => (member, None),
    }
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

/// Returns whether the text is one quoted string (RFC 9110 section 5.6.4).
fn is_quoted(text: &[u8]) -> bool {
    let Some((b'"', rest)) = text.split_first() else { return false };
    let mut escaped = false;
    let end = rest.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.is_some_and(|end| end + 1 == rest.len())
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn forbids(directives: &Directives) -> [bool; 3] {
        [directives.private, directives.no_store, directives.no_cache]
    }

    #[test]
    fn rfc9111_5_2_a_misplaced_word_forbids() {
        for (field, private, no_store, no_cache) in [
            ("private; max-age=600", true, false, false),
            ("max-age=600; private", true, false, false),
            ("no-store; no-cache", false, true, true),
            ("no-cache no-store", false, true, true),
            ("\"private\"", true, false, false),
            ("\"no-cache, no-store\"", false, true, true),
            ("max-age=\"600, no-store\"", false, true, false),
            ("max-age=600 no_store", false, true, false),
            ("no store", false, true, false),
            ("cache=private", true, false, false),
            ("Cache-Control: no-store", false, true, false),
            ("\u{fffd}private", true, false, false),
            ("max-age=600, x=\"private\"", false, false, false),
            ("private=\"x\", no-cache=\"y\"", false, false, false),
            ("public; max-age=600", false, false, false),
        ] {
            let directives = Directives::from_cache_control([field.as_bytes()]);
            assert_eq!(forbids(&directives), [private, no_store, no_cache], "{field}");
        }
        let invalid_bytes = Directives::from_cache_control([&b"\xffprivate"[..]]);
        assert!(invalid_bytes.private);
        let revalidates = Directives::from_cache_control([&b"max-age=60; must-revalidate"[..]]);
        assert!(revalidates.forbids_stale() && !revalidates.allows_authorized());
    }

    #[test]
    fn rfc9213_2_1_a_misplaced_word_of_a_dictionary_forbids() {
        for (field, expected) in [
            ("max-age=600;private", [true, false, false]),
            ("max-age=600; x=\"no-store\"", [false, true, false]),
            ("max-age=\"no-cache\"", [false, false, true]),
            ("cache=private", [true, false, false]),
            ("max-age=600, x=\"private; no-store\"", [false; 3]),
            ("max-age=600, private=?0, no-cache=\"x\"", [false; 3]),
        ] {
            assert_eq!(forbids(&Directives::from_targeted(field.as_bytes()).unwrap()), expected, "{field}");
        }
    }

    #[test]
    fn rfc9111_4_2_1_a_malformed_field_has_no_guessed_lifetime() {
        let explicit = |field: &str| {
            let directives = Directives::from_cache_control([field.as_bytes()]);
            (directives.max_age.map(|age| age.as_secs()), directives.explicit)
        };
        for malformed in ["public; max-age=30", "max-age 30", "max-age:30", "=", "\"public\"", "x y"] {
            assert_eq!(explicit(malformed), (Some(0), true), "{malformed}");
        }
        assert_eq!(explicit("max-age=30, x y"), (Some(30), true), "another member states it");
        for well_formed in ["x", "x=1", "x=\"a b\"", "", " , ,"] {
            assert_eq!(explicit(well_formed), (None, false), "{well_formed}");
        }
        let understood = Directives::from_cache_control([&b"must-understand, max-age=9, no-store; x"[..]]);
        assert!(understood.no_store && !understood.must_understand);
    }

    /// Puts each letter of a word into either case.
    fn cased(word: &str, upper: u32) -> String {
        let letter = |(at, letter): (usize, char)| {
            if upper >> (at % 32) & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
        };
        word.chars().enumerate().map(letter).collect()
    }

    proptest! {
        #[test]
        fn any_mutation_of_a_forbidding_field_still_forbids(
            word in select(Vec::from(["private", "no-store", "no-cache"])), upper: u32,
            others in proptest::collection::vec(
                select(Vec::from(["max-age=600", "public", "s-maxage=60", "x", "must-understand", "immutable"])), 0..4),
            separators in proptest::collection::vec("[,; \t\"|/\\\\:()\u{fffd}]{1,3}", 5), at in 0usize..4,
            split in any::<bool>(),
        ) {
            let mut members: Vec<String> = others.into_iter().map(String::from).collect();
            members.insert(at.min(members.len()), cased(word, upper));
            let joined = members.iter().zip(&separators).map(|(member, separator)| format!("{separator}{member}"));
            let joined: String = joined.collect::<String>() + &separators[4];
            let lines = if split { joined.split(',').collect() } else { Vec::from([joined.as_str()]) };
            let directives = Directives::from_cache_control(lines.iter().map(|line| line.as_bytes()));
            let is_forbidden = match word {
                "private" => directives.private,
                "no-cache" => directives.no_cache,
                // Beside `must-understand`, `no-store` is for caches that do not know the status.
                _ => directives.no_store,
            };
            prop_assert!(is_forbidden, "{joined:?}: {directives:?}");
            let ignored = Directives::from_targeted(joined.as_bytes()).unwrap_or_else(|| {
                let mut directives = Directives::default();
                directives.restrict(joined.as_bytes());
                directives
            });
            prop_assert!(forbids(&ignored).contains(&true), "{joined:?}: {ignored:?}");
        }
    }
}
