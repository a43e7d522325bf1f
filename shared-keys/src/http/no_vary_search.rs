//! No-Vary-Search: the query parameters that a response does not depend on
//! (draft-ietf-httpbis-no-vary-search).
//!
//! In: the field's value. Out: a [`NoVarySearch`], which maps each URL to the URL that stands for
//! all URLs with the same response.

use alloc::string::String;
use alloc::vec::Vec;

use super::percent::{form_bytes, is_unreserved, push_escaped};
use super::structured_fields::{Member, parse_dictionary};

/// The longest field that is read, in bytes. A longer one is ignored.
const MAX_FIELD_BYTES: usize = 4096;

/// The largest number of parameters in a query that is compared. A longer query is a URL of its
/// own, because sorting it would cost the edge time.
const MAX_PARAMETERS: usize = 256;

/// The query parameters that a response does not depend on, as `No-Vary-Search` declares them. By
/// default it depends on all of them and on their order.
///
/// ```
/// use shared_keys::NoVarySearch;
/// let variation = NoVarySearch::default().ignoring(["utm_source"]).in_any_order();
/// assert_eq!(variation.to_field(), r#"key-order, params=("utm_source")"#);
/// assert_eq!(NoVarySearch::parse_field(br#"params=("utm_source"), key-order"#), Some(variation));
/// assert_eq!(NoVarySearch::default().only(["page"]).to_field(), r#"except=("page")"#);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoVarySearch {
    /// Decoded names, sorted, each once.
    names: Vec<Vec<u8>>,
    /// Whether the named parameters are the only ones that count, and not the ones that do not.
    are_relevant: bool,
    in_any_order: bool,
}

impl NoVarySearch {
    /// Declares that these parameters do not count, and all others do. Names are unescaped.
    #[must_use]
    pub fn ignoring(self, names: impl IntoIterator<Item: AsRef<str>>) -> Self {
        self.naming(names.into_iter().map(|name| name.as_ref().as_bytes().to_vec()).collect(), false)
    }

    /// Declares that only these parameters count. Names are unescaped; without any, no parameter
    /// counts.
    #[must_use]
    pub fn only(self, names: impl IntoIterator<Item: AsRef<str>>) -> Self {
        self.naming(names.into_iter().map(|name| name.as_ref().as_bytes().to_vec()).collect(), true)
    }

    /// Declares that the order of parameters with different names does not count.
    #[must_use]
    pub fn in_any_order(self) -> Self {
        Self { in_any_order: true, ..self }
    }

    fn naming(self, names: Vec<Vec<u8>>, are_relevant: bool) -> Self {
        let mut sorted: Vec<Vec<u8>> = Vec::with_capacity(names.len());
        for name in names {
            if let Err(place) = sorted.binary_search(&name) {
                sorted.insert(place, name);
            }
        }
        Self { names: sorted, are_relevant, ..self }
    }

    /// Parses the field's value, with all its lines joined by commas. Returns `None` if URLs must
    /// be compared as they are: for the default, and for a value that is malformed or longer than
    /// 4,096 bytes. Unknown members are ignored.
    ///
    /// `except=(…)` is also accepted in its older form `params, except=(…)`, and `except=()` as
    /// `params`, because browsers had that form first.
    ///
    /// ```
    /// use shared_keys::NoVarySearch;
    /// let only = Some(NoVarySearch::default().only(["id"]));
    /// assert_eq!(NoVarySearch::parse_field(br#"except=("id")"#), only);
    /// assert_eq!(NoVarySearch::parse_field(br#"params, except=("id")"#), only);
    /// assert_eq!(NoVarySearch::parse_field(br#"params=("id"), except=("x")"#), None);
    /// ```
    #[must_use]
    pub fn parse_field(value: &[u8]) -> Option<Self> {
        if value.len() > MAX_FIELD_BYTES {
            return None;
        }
        let (mut params, mut except, mut in_any_order) = (None, None, false);
        for (name, member) in parse_dictionary(value)? {
            match (name.as_str(), member) {
                ("key-order", Member::Boolean(order)) => in_any_order = order,
                ("key-order", _) => return None,
                ("params", member) => params = Some(member),
                ("except", member) => except = Some(member),
                _ => {}
            }
        }
        let variation = Self { in_any_order, ..Self::default() };
        let variation = match (params, except) {
            (None | Some(Member::Boolean(false)), None) => variation,
            (Some(Member::Boolean(true)), None) => variation.naming(Vec::new(), true),
            (Some(Member::Strings(ignored)), None) => variation.naming(decoded(&ignored)?, false),
            (None | Some(Member::Boolean(true)), Some(Member::Strings(relevant))) => {
                variation.naming(decoded(&relevant)?, true)
            }
            _ => return None,
        };
        (variation != Self::default()).then_some(variation)
    }

    /// Returns the field's value; empty for the default.
    #[must_use]
    pub fn to_field(&self) -> String {
        let mut field = String::from(if self.in_any_order { "key-order" } else { "" });
        if self.names.is_empty() && !self.are_relevant {
            return field;
        }
        if self.in_any_order {
            field.push_str(", ");
        }
        field.push_str(if self.are_relevant { "except=(" } else { "params=(" });
        for (number, name) in self.names.iter().enumerate() {
            field.push_str(if number == 0 { "\"" } else { " \"" });
            push_form(name, &mut field);
            field.push('"');
        }
        field.push(')');
        field
    }

    /// Returns the query that stands for all queries with the same response; empty if no parameter
    /// counts. Returns `None` if the query has more than 256 parameters.
    ///
    /// Names and values are compared byte by byte in decoded form. This distinguishes values that
    /// are not UTF-8, which the draft does not: a cache may.
    pub(crate) fn normal_query(&self, query: &str) -> Option<String> {
        let mut parameters: Vec<(Vec<u8>, &str)> = Vec::new();
        for (number, parameter) in query.split('&').filter(|parameter| !parameter.is_empty()).enumerate() {
            if number >= MAX_PARAMETERS {
                return None;
            }
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let name: Vec<u8> = form_bytes(name).collect();
            if self.names.binary_search(&name).is_ok() == self.are_relevant {
                let is_before = |(before, _): &(Vec<u8>, &str)| *before <= name;
                let place = match self.in_any_order {
                    true => parameters.partition_point(is_before),
                    false => parameters.len(),
                };
                parameters.insert(place, (name, value));
            }
        }
        let mut normal = String::with_capacity(query.len());
        for (name, value) in parameters {
            if !normal.is_empty() {
                normal.push('&');
            }
            push_form(&name, &mut normal);
            normal.push('=');
            form_bytes(value).for_each(|byte| push_form(&[byte], &mut normal));
        }
        Some(normal)
    }
}

/// Decodes names as the draft's "parse a key" does. Returns `None` if one of them is not UTF-8.
fn decoded(names: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let decode = |name: &Vec<u8>| {
        let name: Vec<u8> = form_bytes(core::str::from_utf8(name).ok()?).collect();
        core::str::from_utf8(&name).is_ok().then_some(name)
    };
    names.iter().map(decode).collect()
}

fn push_form(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        if is_unreserved(byte) { out.push(char::from(byte)) } else { push_escaped(byte, out) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(field: &str) -> Option<NoVarySearch> {
        NoVarySearch::parse_field(field.as_bytes())
    }

    fn normal(field: &str, query: &str) -> String {
        parse(field).unwrap().normal_query(query).unwrap()
    }

    #[test]
    fn the_forms_of_the_field_and_what_they_mean() {
        let default = NoVarySearch::default;
        for (field, variation) in [
            ("key-order", default().in_any_order()),
            ("params=(\"a\")", default().ignoring(["a"])),
            ("params=(\"b\" \"a\" \"b\"), key-order", default().ignoring(["a", "b"]).in_any_order()),
            ("except=(\"x\")", default().only(["x"])),
            ("except=()", default().only([""; 0])),
            ("params, except=(\"x\")", default().only(["x"])),
            ("params=?1", default().only([""; 0])),
            ("key-order;p, params=?0", default().in_any_order()),
            ("unknown=1, params=(\"%C3%A9+%E6%B0%97\";q)", default().ignoring(["é 気"])),
        ] {
            assert_eq!(parse(field), Some(variation), "{field}");
        }
    }

    #[test]
    fn a_default_or_malformed_field_compares_urls_as_they_are() {
        for field in [
            "",
            "unknown-key",
            "key-order=?0",
            "params=()",
            "params=?0",
            "key-order=\"not a boolean\"",
            "params=\"not an inner list\"",
            "params=(not-a-string)",
            "params=(\"a\" 1)",
            "params=(\"a\"), except=(\"x\")",
            "params=(), except=()",
            "params=?0, except=(\"x\")",
            "except=(not-a-string)",
            "except=\"x\"",
            "except=?1",
            "params=(\"%FF\")",
            "params=(\"a\"),",
            "Params=(\"a\")",
        ] {
            assert_eq!(parse(field), None, "{field}");
        }
        assert_eq!(parse(&alloc::format!("params=(\"{}\")", "a".repeat(MAX_FIELD_BYTES))), None);
    }

    #[test]
    fn equivalent_queries_have_one_normal_form() {
        for (field, a, b) in [
            ("params=(\"utm\")", "utm=1&a=1", "a=1&utm=2&utm"),
            ("params=(\"utm\")", "%75tm=1", ""),
            ("params=(\"é 気\")".replace("é 気", "%C3%A9+%E6%B0%97").as_str(), "%C3%A9%20%E6%B0%97=1", ""),
            ("except=(\"id\")", "id=1&x=2", "y&id=1"),
            ("params", "a=1&b", ""),
            ("key-order", "b=2&a=1&b=1", "a=1&b=2&b=1"),
            // The examples of the draft.
            ("key-order", "a=x", "%61=%78"),
            ("key-order", "a=x&&&&", "a=x"),
            ("key-order", "a=", "a"),
            ("key-order", "a=%20", "a=+"),
        ] {
            assert_eq!(normal(field, a), normal(field, b), "{field}: {a} {b}");
        }
    }

    #[test]
    fn different_queries_have_different_normal_forms() {
        for (field, a, b) in [
            ("params=(\"utm\")", "a=1&b=2", "b=2&a=1"),
            ("params=(\"utm\")", "UTM=1", ""),
            ("params=(\"utm\")", "a=1", "a=2"),
            ("params=(\"a\")", "a[]=1", ""),
            ("except=(\"id\")", "id=1", "id=1&id=1"),
            ("except=(\"id\")", "id", ""),
            ("key-order", "a=1&a=2", "a=2&a=1"),
            ("key-order", "a=1%26b=2", "a=1&b=2"),
            ("key-order", "a=b=c", "a=b&c"),
            ("key-order", "a=%2B", "a=+"),
        ] {
            assert_ne!(normal(field, a), normal(field, b), "{field}: {a} {b}");
        }
        let many = |count| "a&".repeat(count);
        let variation = NoVarySearch::default().in_any_order();
        assert!(variation.normal_query(&many(MAX_PARAMETERS)).is_some());
        assert_eq!(variation.normal_query(&many(MAX_PARAMETERS + 1)), None);
    }

    fn variations() -> impl Strategy<Value = NoVarySearch> {
        let names = proptest::collection::vec("[a-c é\"+%]{0,3}", 0..4);
        (names, any::<bool>(), any::<bool>()).prop_map(|(names, only, order)| {
            let variation = NoVarySearch::default();
            let variation = if only { variation.only(names) } else { variation.ignoring(names) };
            if order { variation.in_any_order() } else { variation }
        })
    }

    proptest! {
        #[test]
        fn a_variation_parses_back(variation in variations()) {
            let parsed = NoVarySearch::parse_field(variation.to_field().as_bytes());
            prop_assert_eq!(parsed, (variation != NoVarySearch::default()).then_some(variation));
        }

        #[test]
        fn a_normal_query_is_its_own(
            variation in variations(), query in "([a-c]|%6[1-3]|=|&|\\+|%20|%FF|%2B){0,12}",
        ) {
            let once = variation.normal_query(&query).unwrap();
            prop_assert_eq!(variation.normal_query(&once), Some(once.clone()));
            prop_assert!(once.bytes().all(|byte| is_unreserved(byte) || matches!(byte, b'%' | b'=' | b'&')));
        }

        #[test]
        fn hostile_fields_and_queries_never_panic(field in any::<Vec<u8>>(), query in any::<String>()) {
            if let Some(variation) = NoVarySearch::parse_field(&field) {
                let _ = variation.normal_query(&query);
            }
        }
    }
}
