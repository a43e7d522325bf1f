//! Query rules: which parameters are part of a target key, and so of the URL sent to the origin.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::percent::{form_bytes, push_normal};
use crate::ParseError;

/// The prefix of Strata's own query parameters, which name the variant of a stored response. A
/// client's parameters with this prefix are dropped, so that no client can name another's variant.
pub const RESERVED_PREFIX: &str = "__strata_";

/// The largest number of parameters that [`QueryRules::sorted`] sorts.
const MAX_SORTED: usize = 256;

/// Rules that select the query parameters of a target key, and decide whether their order counts.
///
/// By default every parameter counts except those with the prefix [`RESERVED_PREFIX`], and so does
/// their order. Pages write the parameters of a link in one order, so sorting them gains next to no
/// hits; it changes the URL that the origin receives ([`sorted`](Self::sorted)).
///
/// **The origin must not receive what the key drops**, wherever the response may be stored: request
/// the key's own URL. Otherwise a client could store the response to `?utm_source=…` for everyone
/// who requests the URL without it.
///
/// * A parameter is the text between two `&`; `;` does not separate. Repeated parameters stay in
///   their order.
/// * Names are compared in decoded form, so no spelling of a name evades a rule: `utm%5Fid` is
///   `utm_id`, and `a+b` is `a b`. Case counts.
/// * The key contains names and values in normal form, in which `+` and `%20` stay different.
/// * A query without remaining parameters is removed, so `/x?utm_id=1` is `/x`. A query that was
///   empty stays: `/x?` and `/x` are different resources (RFC 3986 section 6.2.3). A reserved
///   parameter counts as not written at all.
///
/// ```
/// use shared_keys::{QueryRules, TargetKey};
/// let rules = QueryRules::default().dropping(["utm_*", "gclid"])?;
/// let key = TargetKey::with_rules("https://a.example/x?b=2&utm_source=mail&a=1", &rules)?;
/// assert_eq!(key.as_str(), "https://a.example/x?b=2&a=1");
/// assert_eq!(rules.forwarded(Some("b=2&utm_source=mail&a=1")).as_deref(), Some("b=2&a=1"));
/// assert_eq!(rules.forwarded(Some("gclid=7")), None);
/// # Ok::<_, shared_keys::ParseError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryRules {
    /// The patterns of the parameters that count; `None` for all.
    kept: Option<Vec<Pattern>>,
    /// The patterns of the parameters that do not count, even if `kept` has them.
    dropped: Vec<Pattern>,
    form: Form,
}

/// The form of the URL in the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    /// Normal form, with the parameters in their order.
    #[default]
    Ordered,
    /// Normal form, with the parameters sorted by name.
    Sorted,
    /// The spelling of the client, with the parameters in their order.
    Exact,
}

impl QueryRules {
    /// Makes only these parameters count, along with those of earlier calls. An empty list drops
    /// every parameter.
    ///
    /// A name is written unescaped; a `*` at its end matches any rest.
    ///
    /// ```
    /// use shared_keys::QueryRules;
    /// let rules = QueryRules::default().keeping(["page", "filter[*"])?;
    /// let forwarded = rules.forwarded(Some("page=2&x=1&filter%5Bsize%5D=4"));
    /// assert_eq!(forwarded.as_deref(), Some("page=2&filter%5Bsize%5D=4"));
    /// # Ok::<_, shared_keys::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// Fails if a name is empty or has a `*` that is not at its end.
    pub fn keeping(mut self, names: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, ParseError> {
        let names = patterns(names)?;
        self.kept.get_or_insert_default().extend(names);
        Ok(self)
    }

    /// Drops these parameters, even if [`keeping`](Self::keeping) names them. Names are written as
    /// there.
    ///
    /// # Errors
    /// Fails if a name is empty or has a `*` that is not at its end.
    ///
    /// ```
    /// let error = shared_keys::QueryRules::default().dropping(["utm_*", "*_id"]).unwrap_err();
    /// assert_eq!(error.expected(), "a parameter's name, with `*` only at its end");
    /// assert!(error.to_string().ends_with(r#" at byte 0 of "*_id""#));
    /// ```
    pub fn dropping(mut self, names: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, ParseError> {
        self.dropped.extend(patterns(names)?);
        Ok(self)
    }

    /// Sorts the parameters by name, for an origin to which the order of different parameters does
    /// not matter and whose clients write several orders.
    ///
    /// More than 256 parameters are not sorted: no page has that many, and sorting a hostile query
    /// would cost the edge time.
    ///
    /// ```
    /// use shared_keys::{QueryRules, TargetKey};
    /// let rules = QueryRules::default().sorted();
    /// let key = TargetKey::with_rules("http://a.example/?b&a", &rules)?;
    /// assert_eq!(key.as_str(), "http://a.example/?a&b");
    /// # Ok::<_, shared_keys::ParseError>(())
    /// ```
    #[must_use]
    pub fn sorted(self) -> Self {
        Self { form: Form::Sorted, ..self }
    }

    /// Keeps path and query as the client spelled them, for an origin that checks a signature over
    /// the URL. Only the parameters that do not count are removed.
    ///
    /// Each spelling is a key of its own. A key in normal form for an origin that receives the
    /// client's spelling would let one client choose what all others receive.
    ///
    /// ```
    /// use shared_keys::{QueryRules, TargetKey};
    /// let rules = QueryRules::default().exact();
    /// let key = TargetKey::with_rules("http://A.example:80/%7e?b=%2f&a", &rules)?;
    /// assert_eq!(key.as_str(), "http://a.example/%7e?b=%2f&a");
    /// # Ok::<_, shared_keys::ParseError>(())
    /// ```
    #[must_use]
    pub fn exact(self) -> Self {
        Self { form: Form::Exact, ..self }
    }

    /// Returns whether the parameters are sorted by name.
    #[must_use]
    pub fn is_sorted(&self) -> bool {
        self.form == Form::Sorted
    }

    pub(crate) fn is_exact(&self) -> bool {
        self.form == Form::Exact
    }

    /// Returns the client's query without what the key drops; the rest is unchanged and in its
    /// order.
    ///
    /// A URL with this query has the same target key as the client's URL.
    #[must_use]
    pub fn forwarded(&self, query: Option<&str>) -> Option<String> {
        let mut parameters: Vec<&str> =
            query?.split('&').filter(|parameter| !is_reserved(parameter)).collect();
        if parameters.is_empty() {
            parameters = vec![""];
        }
        parameters.retain(|parameter| self.counts(name_of(parameter)));
        (!parameters.is_empty()).then(|| parameters.join("&"))
    }

    /// Like [`forwarded`](Self::forwarded), but in the order of the key.
    fn ordered(&self, query: Option<&str>) -> Option<String> {
        let forwarded = self.forwarded(query)?;
        let is_sorted = self.is_sorted() && forwarded.split('&').count() <= MAX_SORTED;
        let mut parameters: Vec<&str> = Vec::new();
        for parameter in forwarded.split('&') {
            // Sorted by decoded names, so that parameters which an origin may read as one name stay
            // in their order, however they are escaped. Inserted one by one, since they are few and
            // a sort would add much code to the edge worker.
            let is_before = |before: &&str| form_bytes(name_of(before)).le(form_bytes(name_of(parameter)));
            let place = if is_sorted { parameters.partition_point(is_before) } else { parameters.len() };
            parameters.insert(place, parameter);
        }
        Some(parameters.join("&"))
    }

    /// Returns the query as written in the key.
    pub(crate) fn normal(&self, query: Option<&str>) -> Option<String> {
        let ordered = self.ordered(query)?;
        if self.is_exact() {
            return Some(ordered);
        }
        let mut normal = String::with_capacity(ordered.len());
        push_normal(&ordered, &mut normal);
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

/// A parameter's name, or the prefix of names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    text: Box<str>,
    /// Whether any rest may follow.
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
        let url =
            query.map_or("http://a.example/".into(), |query| alloc::format!("http://a.example/?{query}"));
        TargetKey::with_rules(&url, rules).unwrap().as_str().into()
    }

    #[test]
    fn a_query_of_more_than_256_parameters_is_not_sorted() {
        let all = QueryRules::default().sorted();
        let descending =
            |count: usize| (0..count).rev().map(|n| alloc::format!("p{n:03}")).collect::<Vec<_>>().join("&");
        let sorted = |count: usize| key(Some(&descending(count)), &all).contains("?p000&p001&");
        assert!(sorted(MAX_SORTED) && !sorted(MAX_SORTED + 1));
    }

    #[test]
    fn the_forwarded_query_lacks_exactly_what_the_key_drops() {
        let all = QueryRules::default();
        for (rules, query, left) in [
            (&all, "b=2&__strata_variant=x&a=%2f&b=1", Some("b=2&a=%2f&b=1")),
            (&all, "&a=__strata_variant&", Some("&a=__strata_variant&")),
            (&all, "", Some("")),
            (&dropping(&["utm_*", "gclid"]), "utm_source=x&b=1&utm_=&gclid&a", Some("b=1&a")),
            (
                &dropping(&["utm_*", "gclid"]),
                "utm=x&gclid2=1&Gclid=1&xgclid",
                Some("utm=x&gclid2=1&Gclid=1&xgclid"),
            ),
            (&dropping(&["utm_*"]), "utm%5Fsource=x&%75tm_id=1&utm%255Fx=1", Some("utm%255Fx=1")),
            (&dropping(&["*"]), "a=1&b", None),
            (&dropping(&["a b", "é"]), "a+b=1&a%20b=2&a%2Bb=3&%C3%a9=4&é", Some("a%2Bb=3")),
            (&dropping(&["a"]), "a=1;b=2", None),
            (&dropping(&["b"]), "a=1;b=2", Some("a=1;b=2")),
            (
                &keeping(&["page", "f[*"]),
                "x=1&page=2&f%5B%5D=3&f[a]=4&Page=5",
                Some("page=2&f%5B%5D=3&f[a]=4"),
            ),
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
    fn rfc3986_6_2_3_an_empty_query_stays_and_an_emptied_one_is_removed() {
        let rules = dropping(&["utm_*"]);
        assert_ne!(key(Some(""), &rules), key(None, &rules));
        assert_eq!(key(Some("utm_id=1"), &rules), key(None, &rules));
        assert_eq!(key(Some("utm_id=1&__strata_variant=1"), &rules), key(None, &rules));
        assert_eq!(key(Some("utm_id=1&"), &rules), key(Some(""), &rules));
        // A reserved parameter counts as not written; what remains is an empty query.
        assert_eq!(key(Some("__strata_variant=1"), &rules), key(Some(""), &rules));
    }

    #[test]
    fn the_order_of_parameters_counts_unless_a_rule_sorts_them() {
        let (all, sorted) = (QueryRules::default(), QueryRules::default().sorted());
        assert_eq!(key(Some("b=1&a=%2f"), &all), "http://a.example/?b=1&a=%2F");
        assert_eq!(key(Some("b=1&a=%2f"), &sorted), "http://a.example/?a=%2F&b=1");
    }

    #[test]
    fn an_exact_key_lacks_only_what_does_not_count() {
        let rules = dropping(&["utm_*"]).exact();
        let query = "b=%2f&&utm_id=1&a=+&a=%20&__strata_variant=x&%7E=%c3%A9";
        assert_eq!(key(Some(query), &rules), "http://a.example/?b=%2f&&a=+&a=%20&%7E=%c3%A9");
        assert_eq!(key(Some("utm_id=1"), &rules), "http://a.example/");
    }

    #[test]
    fn names_that_mean_the_same_keep_their_order() {
        let all = QueryRules::default().sorted();
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

    /// Returns the meaning of a query under the rules: the parameters of each name in their order,
    /// or all parameters in their order.
    fn meaning(query: Option<&str>, rules: &QueryRules) -> Option<BTreeMap<Vec<u8>, Vec<String>>> {
        let parameters: Vec<&str> = query?.split('&').filter(|parameter| !is_reserved(parameter)).collect();
        let parameters = if parameters.is_empty() { vec![""] } else { parameters };
        let mut meaning: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for parameter in parameters.into_iter().filter(|parameter| rules.counts(name_of(parameter))) {
            let mut normal = String::new();
            push_normal(parameter, &mut normal);
            let name = if rules.is_sorted() { form_bytes(name_of(parameter)).collect() } else { Vec::new() };
            let normal = if rules.is_exact() { parameter.into() } else { normal };
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
        let names =
            || proptest::collection::vec(prop_oneof!["a", "a b", "b", "\\*", "a\\*", "utm_\\*"], 0..3);
        let form = prop_oneof![Just(Form::Ordered), Just(Form::Sorted), Just(Form::Exact)];
        (proptest::option::of(names()), names(), form).prop_map(|(kept, dropped, form)| {
            let rules = QueryRules { form, ..QueryRules::default().dropping(dropped).unwrap() };
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
