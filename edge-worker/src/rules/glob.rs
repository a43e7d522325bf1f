//! The patterns of paths and names: `*` matches any text without a `/`, `**` matches any text, and
//! every other character matches itself.

/// A pattern of a path or name. Case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(Box<str>);

impl Glob {
    /// Returns the pattern `pattern`. Every text is a valid pattern.
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// Returns whether the whole `text` matches. The time is at most proportional to the product of
    /// the lengths.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at_pattern, mut at_text) = (0, 0);
        // The positions to retry from after a mismatch: in the pattern, behind the last star; in
        // the text, where that star's match ended. Each retry extends the match by one byte.
        // `within` is for `*`, `across` for `**`.
        let mut within: Option<(usize, usize)> = None;
        let mut across: Option<(usize, usize)> = None;
        loop {
            if pattern[at_pattern..].starts_with(b"**") {
                at_pattern += 2;
                (within, across) = (None, Some((at_pattern, at_text)));
            } else if pattern.get(at_pattern) == Some(&b'*') {
                at_pattern += 1;
                within = Some((at_pattern, at_text));
            } else if at_text == text.len() && at_pattern == pattern.len() {
                return true;
            } else if at_text < text.len() && pattern.get(at_pattern) == Some(&text[at_text]) {
                at_pattern += 1;
                at_text += 1;
            } else if let Some((after, from)) =
                within.filter(|(_, from)| text.get(*from).is_some_and(|byte| *byte != b'/'))
            {
                within = Some((after, from + 1));
                (at_pattern, at_text) = (after, from + 1);
            } else if let Some((after, from)) = across.filter(|(_, from)| *from < text.len()) {
                (within, across) = (None, Some((after, from + 1)));
                (at_pattern, at_text) = (after, from + 1);
            } else {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Matches by the definition, in exponential time.
    fn defined(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| defined(rest, &text[at..])),
            [b'*', rest @ ..] => {
                let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
                (0..=end).any(|at| defined(rest, &text[at..]))
            }
            [byte, rest @ ..] => text.first() == Some(byte) && defined(rest, &text[1..]),
        }
    }

    #[test]
    fn a_star_matches_within_a_segment_and_a_double_star_across_segments() {
        for (pattern, text, matches) in [
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/", true),
            ("/a/*", "/a/b/c", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("/**/*.css", "/x/y/z.css", true),
            ("/*.css", "/x/z.css", false),
            ("/**/x/*/y", "/x/x/x/b/y", true),
            ("**", "", true),
            ("", "", true),
            ("", "/", false),
            ("/a", "/A", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), matches, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_glob_matches_as_defined(pattern in "[a/*]{0,7}", text in "[a/]{0,7}") {
            prop_assert_eq!(Glob::new(&pattern).matches(&text), defined(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
