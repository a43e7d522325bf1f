//! Which query parameters are part of a target key, and so of what the origin is asked with.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::percent::{form_bytes, push_normal};
use crate::ParseError;

/// What begins the name of every query parameter that is Strata's own: in the name of a stored response it says which variant
/// that is. A client's own are dropped, so that none can name another's variant.
pub const RESERVED_PREFIX: &str = "__strata_";

/// Parameters of one query that are sorted.
const MAX_SORTED: usize = 256;

/// Which query parameters count, and whether their order does.
///
/// By default all of them count, but those whose name begins with [`RESERVED_PREFIX`], and they are sorted by name. More than 256
/// are not sorted: no page has so many, and a hostile query shall not cost the edge its time.
///
/// **What the key drops, the origin must not see either** where the answer may be stored: ask for the key's own URL. If it did, a client
/// could have the answer to `?utm_source=…` stored for all who ask without it.
///
/// * A parameter is what stands between two `&`; `;` separates nothing. Repeated ones keep their order.
/// * Names are compared as a form decodes them, so no spelling of a name gets around a rule: `utm%5Fid` is `utm_id`, and `a+b`
///   is `a b`. Case counts.
/// * The key has names and values in the normal form of their spelling, which leaves `+` and `%20` apart.
/// * A query of which nothing is left is none, so that `/x?utm_id=1` is `/x`. One that came empty stays: `/x?` is another
///   resource than `/x` (RFC 3986, 6.2.3). A reserved parameter counts as not having been written at all.
///
/// ```
/// use shared_keys::{QueryRules, TargetKey};
/// let rules = QueryRules::default().dropping(["utm_*", "gclid"])?;
/// let key = TargetKey::with_rules("https://a.example/x?b=2&utm_source=mail&a=1", &rules)?;
/// assert_eq!(key.as_str(), "https://a.example/x?a=1&b=2");
/// assert_eq!(rules.forwarded(Some("b=2&utm_source=mail&a=1")).as_deref(), Some("b=2&a=1"));
/// assert_eq!(rules.forwarded(Some("gclid=7")), None);
/// # Ok::<_, shared_keys::ParseError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryRules {
    /// Only what these match counts; `None` is all.
    kept: Option<Vec<Pattern>>,
    /// What these match does not count, even if it is kept.
    dropped: Vec<Pattern>,
    in_order: bool,
}

impl QueryRules {
    /// The same, but only these parameters count, and no others than those that an earlier call named. An empty list drops
    /// every parameter.
    ///
    /// A name is written as it is meant, without escapes; a `*` at its end stands for any rest.
    ///
    /// ```
    /// use shared_keys::QueryRules;
    /// let rules = QueryRules::default().keeping(["page", "filter[*"])?;
    /// assert_eq!(rules.forwarded(Some("page=2&x=1&filter%5Bsize%5D=4")).as_deref(), Some("page=2&filter%5Bsize%5D=4"));
    /// # Ok::<_, shared_keys::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// If a name is empty or has a `*` that is not at its end.
    pub fn keeping(mut self, names: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, ParseError> {
        let names = patterns(names)?;
        self.kept.get_or_insert_default().extend(names);
        Ok(self)
    }

    /// The same, but these parameters do not count, even if [`keeping`](Self::keeping) names them. Names are written as there.
    ///
    /// # Errors
    /// If a name is empty or has a `*` that is not at its end.
    ///
    /// ```
    /// let error = shared_keys::QueryRules::default().dropping(["utm_*", "*_id"]).unwrap_err();
    /// assert_eq!(error.to_string(), r#"expected a parameter's name, with `*` only at its end at byte 0 of "*_id""#);
    /// ```
    pub fn dropping(mut self, names: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, ParseError> {
        self.dropped.extend(patterns(names)?);
        Ok(self)
    }

    /// The same, but the parameters are not sorted: for origins to which the order of different parameters means something.
    ///
    /// ```
    /// use shared_keys::{QueryRules, TargetKey};
    /// let rules = QueryRules::default().in_order();
    /// assert_eq!(TargetKey::with_rules("http://a.example/?b&a", &rules)?.as_str(), "http://a.example/?b&a");
    /// # Ok::<_, shared_keys::ParseError>(())
    /// ```
    #[must_use]
    pub fn in_order(self) -> Self {
        Self { in_order: true, ..self }
    }

    /// The client's query without what the key drops, the rest as it came and in its order.
    ///
    /// A URL with this query has the same target key as one with the client's.
    #[must_use]
    pub fn forwarded(&self, query: Option<&str>) -> Option<String> {
        let mut parameters: Vec<&str> = query?.split('&').filter(|parameter| !is_reserved(parameter)).collect();
        if parameters.is_empty() {
            parameters = vec![""];
        }
        parameters.retain(|parameter| self.counts(name_of(parameter)));
        (!parameters.is_empty()).then(|| parameters.join("&"))
    }

    /// As [`forwarded`](Self::forwarded), but in the order of the key.
    fn sorted(&self, query: Option<&str>) -> Option<String> {
        let forwarded = self.forwarded(query)?;
        let is_sorted = !self.in_order && forwarded.split('&').count() <= MAX_SORTED;
        let mut parameters: Vec<&str> = Vec::new();
        for parameter in forwarded.split('&') {
            // By what the names mean: those that an origin may take for one name keep their order, however they are spelled. Put in
            // their place one by one, since they are few, and a sort is much code for the edge.
            let is_before = |before: &&str| form_bytes(name_of(before)).le(form_bytes(name_of(parameter)));
            let place = if is_sorted { parameters.partition_point(is_before) } else { parameters.len() };
            parameters.insert(place, parameter);
        }
        Some(parameters.join("&"))
    }

    /// The query as it stands in the key.
    pub(crate) fn normal(&self, query: Option<&str>) -> Option<String> {
        let sorted = self.sorted(query)?;
        let mut normal = String::with_capacity(sorted.len());
        push_normal(&sorted, &mut normal);
        Some(normal)
    }

    fn counts(&self, name: &str) -> bool {
        let named_in = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        self.kept.as_deref().is_none_or(named_in) && !named_in(&self.dropped)
    }
}

fn is_reserved(parameter: &str) -> bool {
    let mut name = form_bytes(name_of(parameter));
    RESERVED_PREFIX.bytes().all(|byte| name.next() == Some(byte))
}

fn name_of(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

/// A parameter's name, or the beginning of some.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    text: Box<str>,
    /// Any rest may follow.
    open: bool,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, ParseError> {
        let (name, open) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        match name.find('*').or(text.is_empty().then_some(0)) {
            Some(at) => Err(ParseError::new("a parameter's name, with `*` only at its end", at, text)),
            None => Ok(Self { text: name.into(), open }),
        }
    }

    fn matches(&self, name: &str) -> bool {
        let mut name = form_bytes(name);
        self.text.bytes().all(|byte| name.next() == Some(byte)) && (self.open || name.next().is_none())
    }
}

fn patterns(names: impl IntoIterator<Item: AsRef<str>>) -> Result<Vec<Pattern>, ParseError> {
    names.into_iter().map(|name| Pattern::parse(name.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    use super::*;
    use crate::TargetKey;

    fn keeping(names: &[&str]) -> QueryRules {
        QueryRules::default().keeping(names).unwrap()
    }

    fn dropping(names: &[&str]) -> QueryRules {
        QueryRules::default().dropping(names).unwrap()
    }

    fn key(query: Option<&str>, rules: &QueryRules) -> String {
        let url = query.map_or("http://a.example/".into(), |query| alloc::format!("http://a.example/?{query}"));
        TargetKey::with_rules(&url, rules).unwrap().as_str().into()
    }

    #[test]
    fn more_parameters_than_any_page_has_stay_in_their_order() {
        let all = QueryRules::default();
        let descending =
            |count: usize| (0..count).rev().map(|n| alloc::format!("p{n:03}")).collect::<Vec<_>>().join("&");
        let sorted = |count: usize| key(Some(&descending(count)), &all).contains("?p000&p001&");
        assert!(sorted(MAX_SORTED) && !sorted(MAX_SORTED + 1));
    }

    #[test]
    fn what_the_origin_is_asked_with_lacks_what_the_key_drops_and_nothing_else() {
        let all = QueryRules::default();
        for (rules, query, left) in [
            (&all, "b=2&__strata_variant=x&a=%2f&b=1", Some("b=2&a=%2f&b=1")),
            (&all, "&a=__strata_variant&", Some("&a=__strata_variant&")),
            (&all, "", Some("")),
            (&dropping(&["utm_*", "gclid"]), "utm_source=x&b=1&utm_=&gclid&a", Some("b=1&a")),
            (&dropping(&["utm_*", "gclid"]), "utm=x&gclid2=1&Gclid=1&xgclid", Some("utm=x&gclid2=1&Gclid=1&xgclid")),
            (&dropping(&["utm_*"]), "utm%5Fsource=x&%75tm_id=1&utm%255Fx=1", Some("utm%255Fx=1")),
            (&dropping(&["*"]), "a=1&b", None),
            (&dropping(&["a b", "é"]), "a+b=1&a%20b=2&a%2Bb=3&%C3%a9=4&é", Some("a%2Bb=3")),
            (&dropping(&["a"]), "a=1;b=2", None),
            (&dropping(&["b"]), "a=1;b=2", Some("a=1;b=2")),
            (&keeping(&["page", "f[*"]), "x=1&page=2&f%5B%5D=3&f[a]=4&Page=5", Some("page=2&f%5B%5D=3&f[a]=4")),
            (&keeping(&["page"]), "", None),
            (&keeping(&["page"]), "__strata_variant=x", None),
            (&keeping(&[]), "a=1", None),
            (&keeping(&["u*"]).dropping(["utm_*"]).unwrap(), "utm_id=1&user=2", Some("user=2")),
        ] {
            assert_eq!(rules.forwarded(Some(query)).as_deref(), left, "{query}");
        }
        assert_eq!(all.forwarded(None), None);
    }

    #[test]
    fn rfc3986_6_2_3_an_empty_query_is_not_none_but_one_that_was_emptied_is() {
        let rules = dropping(&["utm_*"]);
        assert_ne!(key(Some(""), &rules), key(None, &rules));
        assert_eq!(key(Some("utm_id=1"), &rules), key(None, &rules));
        assert_eq!(key(Some("utm_id=1&__strata_variant=1"), &rules), key(None, &rules));
        assert_eq!(key(Some("utm_id=1&"), &rules), key(Some(""), &rules));
        // As if the client had not written it, which leaves what it has written: a query.
        assert_eq!(key(Some("__strata_variant=1"), &rules), key(Some(""), &rules));
    }

    #[test]
    fn names_that_mean_the_same_keep_their_order() {
        let all = QueryRules::default();
        assert_ne!(key(Some("a[]=1&a%5B%5D=2"), &all), key(Some("a%5B%5D=2&a[]=1"), &all));
        assert_ne!(key(Some("a+b=1&a%20b=2"), &all), key(Some("a%20b=2&a+b=1"), &all));
        assert_ne!(key(Some("a+b=1"), &all), key(Some("a%20b=1"), &all));
    }

    #[test]
    fn a_pattern_is_refused_with_what_was_expected_and_where() {
        for (name, at) in [("", 0), ("**", 0), ("a*b", 1), ("utm_*_*", 4), ("é*x*", 2)] {
            for error in [QueryRules::default().keeping([name]), QueryRules::default().dropping([name])] {
                let error = error.unwrap_err();
                assert_eq!(
                    (error.expected(), error.at()),
                    ("a parameter's name, with `*` only at its end", at),
                    "{name}"
                );
            }
        }
    }

    /// What a query means under the rules: the parameters of each name in their order, or all in theirs.
    fn meaning(query: Option<&str>, rules: &QueryRules) -> Option<BTreeMap<Vec<u8>, Vec<String>>> {
        let parameters: Vec<&str> = query?.split('&').filter(|parameter| !is_reserved(parameter)).collect();
        let parameters = if parameters.is_empty() { vec![""] } else { parameters };
        let mut meaning: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for parameter in parameters.into_iter().filter(|parameter| rules.counts(name_of(parameter))) {
            let mut normal = String::new();
            push_normal(parameter, &mut normal);
            let name = if rules.in_order { Vec::new() } else { form_bytes(name_of(parameter)).collect() };
            meaning.entry(name).or_default().push(normal);
        }
        (!meaning.is_empty()).then_some(meaning)
    }

    fn query() -> impl Strategy<Value = Option<String>> {
        let name = prop_oneof![
            "a",
            "b",
            "%61",
            "a\\+b",
            "a%20b",
            "__strata_v",
            "__strata%5Fv",
            "",
            "%5f%5Fstrata_x",
            "utm_[ab]"
        ];
        let parameter = (name, prop_oneof!["", "=", "=1", "=2", "=%2f", "=%2F", "=;b=1"]);
        let parameters = proptest::collection::vec(parameter.prop_map(|(name, value)| name + &value), 0..5);
        proptest::option::of(parameters.prop_map(|parameters| parameters.join("&")))
    }

    fn rules() -> impl Strategy<Value = QueryRules> {
        let names = || proptest::collection::vec(prop_oneof!["a", "a b", "b", "\\*", "a\\*", "utm_\\*"], 0..3);
        (proptest::option::of(names()), names(), any::<bool>()).prop_map(|(kept, dropped, in_order)| {
            let rules = QueryRules::default().dropping(dropped).unwrap();
            let rules = if in_order { rules.in_order() } else { rules };
            kept.map_or(rules.clone(), |kept| rules.keeping(kept).unwrap())
        })
    }

    proptest! {
        #[test]
        fn two_queries_share_a_key_exactly_if_they_mean_the_same(a in query(), b in query(), rules in rules()) {
            let same = meaning(a.as_deref(), &rules) == meaning(b.as_deref(), &rules);
            prop_assert_eq!(key(a.as_deref(), &rules) == key(b.as_deref(), &rules), same);
        }

        #[test]
        fn what_is_forwarded_has_the_clients_key(query in query(), rules in rules()) {
            let forwarded = rules.forwarded(query.as_deref());
            prop_assert_eq!(key(forwarded.as_deref(), &rules), key(query.as_deref(), &rules));
            prop_assert_eq!(rules.forwarded(forwarded.as_deref()), forwarded);
        }

        #[test]
        fn hostile_queries_and_names_never_panic(query in any::<String>(), name in any::<String>()) {
            let rules = QueryRules::default().dropping([name]).unwrap_or_default();
            let _ = (rules.forwarded(Some(&query)), rules.normal(Some(&query)));
        }
    }
}
