//! The URLs that share a response (`No-Vary-Search`,
//! draft-ietf-httpbis-no-vary-search).
//!
//! An origin states with a response which query parameters it does not depend on, but a request is
//! looked up before its response is known. A [`SearchMarker`] per path therefore remembers what the
//! latest responses of the path have stated. A request looks for the key that it would share by
//! each of these statements. The response found there is used only if its *own* statement leads
//! from the request's URL to that key.

use http::{HeaderMap, HeaderName};
use shared_keys::{NoVarySearch, TargetKey};

use super::StoredResponse;
use super::directives::joined;

const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// The number of statements that a marker holds. An origin should have one per path; with more than
/// these, responses by the oldest are lost. It bounds the lookups of a request, and lets no client
/// displace what others share by URLs for which the origin states something else.
pub const MAX_STATEMENTS: usize = 4;

/// The statements of the responses of a path, the latest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchMarker {
    /// At most [`MAX_STATEMENTS`], each different from the others.
    pub statements: Vec<Statement>,
}

/// A statement, and the generation that ties responses to it. If the marker is lost, a new one
/// leads to other keys, so that it does not restore responses whose invalidation it has missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The parameters that do not count.
    pub variation: NoVarySearch,
    /// When the statement was first made, in milliseconds since 1970.
    pub generation: u64,
}

/// Returns the statement of a response; `None` if its URL has no equivalents.
pub fn variation(headers: &HeaderMap) -> Option<NoVarySearch> {
    headers
        .contains_key(NO_VARY_SEARCH)
        .then(|| NoVarySearch::parse_field(&joined(headers, &NO_VARY_SEARCH)))
        .flatten()
}

impl SearchMarker {
    /// Returns the keys that the target shares with other URLs, each with its statement.
    pub fn keys(&self, target: &TargetKey) -> impl Iterator<Item = (TargetKey, &Statement)> {
        self.statements.iter().filter_map(|statement| {
            Some((target.equivalent(&statement.variation, statement.generation)?, statement))
        })
    }

    /// Returns the statement of this variation.
    pub fn statement(&self, variation: &NoVarySearch) -> Option<&Statement> {
        self.statements.iter().find(|statement| statement.variation == *variation)
    }

    /// Adds a statement that was made at `generation`.
    #[must_use]
    pub fn with(mut self, variation: NoVarySearch, generation: u64) -> Self {
        // Two statements of one millisecond have different generations.
        let latest = self.statements.iter().map(|statement| statement.generation).max();
        let generation = latest.map_or(generation, |latest| generation.max(latest + 1));
        self.statements.insert(0, Statement { variation, generation });
        self.statements.truncate(MAX_STATEMENTS);
        self
    }
}

impl Statement {
    /// Returns whether a response that is stored under `key` by this statement is also one for
    /// `target`: whether the response states so itself.
    pub fn permits(&self, response: &StoredResponse, target: &TargetKey, key: &TargetKey) -> bool {
        let own = variation(&response.headers);
        own.and_then(|own| target.equivalent(&own, self.generation)).as_ref() == Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{headers, stored};

    fn target(query: &str) -> TargetKey {
        TargetKey::parse(&format!("https://shop.example/x?{query}")).unwrap()
    }

    #[test]
    fn the_lines_of_the_field_are_one_dictionary() {
        let fields = [("no-vary-search", "key-order"), ("no-vary-search", "params=(\"a\")")];
        let expected = NoVarySearch::default().ignoring(["a"]).in_any_order();
        assert_eq!(variation(&headers(&fields)), Some(expected));
        assert_eq!(variation(&headers(&[])), None);
    }

    /// The marker may have learned from another response.
    #[test]
    fn a_response_is_used_only_for_urls_that_its_own_statement_makes_equivalent() {
        let ignoring = |names: &[&str]| NoVarySearch::default().ignoring(names);
        let marker = SearchMarker { statements: vec![] }.with(ignoring(&["a", "b"]), 1);
        let (key, statement) = marker.keys(&target("a=1")).next().unwrap();
        for (field, permits) in [
            ("params=(\"a\" \"b\")", true),
            ("params=(\"a\")", true),
            ("except=()", true),
            ("params=(\"b\")", false),
            ("params=(\"a\" \"b\"), x=(", false),
            ("", false),
        ] {
            let response = stored(&[("no-vary-search", field)]);
            assert_eq!(statement.permits(&response, &target("a=1"), &key), permits, "{field}");
        }
    }

    #[test]
    fn a_marker_holds_the_latest_statements_and_their_generations_differ() {
        let mut marker = SearchMarker { statements: vec![] };
        for number in 0..=MAX_STATEMENTS {
            marker = marker.with(NoVarySearch::default().ignoring([number.to_string()]), 7);
        }
        let generations: Vec<u64> = marker.statements.iter().map(|statement| statement.generation).collect();
        assert_eq!(generations, [11, 10, 9, 8]);
        assert!(marker.statement(&NoVarySearch::default().ignoring(["0"])).is_none());
        assert!(marker.statement(&NoVarySearch::default().ignoring(["4"])).is_some());
    }
}
