//! Variant keys: the second level of a stored response's key, by its `Vary` (RFC 9111 section 4.1).

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write;

use sha2::{Digest, Sha256};

use crate::{Normaliser, TargetKey};

/// The bytes of SHA-256 in a variant key: 128 bits, so that a client cannot find header fields that
/// select another client's variant.
const HASH_BYTES: usize = 16;

/// The field names of a response's `Vary`, in lower case, sorted, each once.
///
/// ```
/// use shared_keys::VaryFields;
/// let lines = ["Accept-Language, accept-encoding", "Accept-Encoding"];
/// let fields = VaryFields::parse(lines).unwrap();
/// assert_eq!(fields.to_header(), "accept-encoding, accept-language");
/// assert!(VaryFields::parse(["Accept, *"]).is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VaryFields(BTreeSet<String>);

impl VaryFields {
    /// Parses all `Vary` lines of a response. Returns `None` if one of them contains `*`, which
    /// matches no request.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let names =
            lines.into_iter().flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty());
        let mut fields = BTreeSet::new();
        for name in names {
            if name == "*" {
                return None;
            }
            // Inserted one by one: collecting into a set would add a sort to the size of the
            // worker.
            fields.insert(name.to_ascii_lowercase());
        }
        Some(Self(fields))
    }

    /// Returns whether the response does not vary.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Returns the names as one header line, which parses back.
    #[must_use]
    pub fn to_header(&self) -> String {
        self.iter().collect::<Vec<_>>().join(", ")
    }
}

/// Rules that map equivalent values of request fields to one value: a [`Normaliser`] per field
/// name.
///
/// By default `Accept-Encoding` becomes those of `dcb`, `dcz`, `zstd`, `br` and `gzip` that the
/// client accepts, or `identity`; `Accept` and `Accept-Language` lose case and spaces; and any
/// other field is unchanged, since only the origin knows its meaning.
///
/// **The origin receives what the key contains**: [`forwarded`](Self::forwarded) returns each field
/// that has a normaliser in the form for the request to the origin, whether or not the response
/// will vary by it.
///
/// ```
/// use shared_keys::{Normaliser, VaryRules};
/// let rules = VaryRules::default()
///     .field("Accept-Language", Normaliser::language(["en", "de"])?)
///     .field("Cookie", Normaliser::cookies(["group"])?);
/// assert_eq!(rules.normal("accept-language", Some("de-CH, en;q=0.5")).as_deref(), Some("de"));
/// assert_eq!(rules.normal("x-other", Some(" A ")).as_deref(), Some("A"));
/// # Ok::<_, shared_keys::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaryRules(Vec<(Box<str>, Normaliser)>);

impl Default for VaryRules {
    fn default() -> Self {
        // These are names of codings, so this never fails. Verbatim would only create more
        // variants.
        let coding =
            Normaliser::coding(["dcb", "dcz", "zstd", "br", "gzip"]).unwrap_or(Normaliser::verbatim());
        Self(Vec::new())
            .field("accept-encoding", coding)
            .field("accept", Normaliser::lower_case_list())
            .field("accept-language", Normaliser::lower_case_list())
    }
}

impl VaryRules {
    /// Sets the normaliser of a field; case does not count in its name.
    #[must_use]
    pub fn field(mut self, name: &str, normaliser: Normaliser) -> Self {
        let name = name.to_ascii_lowercase().into_boxed_str();
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, normaliser));
        self
    }

    /// Returns the normal form of a field's value; `name` is in lower case. See
    /// [`Normaliser::normal`].
    #[must_use]
    pub fn normal<'a>(&'a self, name: &str, value: Option<&'a str>) -> Option<Cow<'a, str>> {
        const VERBATIM: &Normaliser = &Normaliser::verbatim();
        let normaliser =
            self.0.iter().find(|(known, _)| **known == *name).map_or(VERBATIM, |(_, normaliser)| normaliser);
        normaliser.normal(value)
    }

    /// Returns the fields that the origin must receive in normal form: the name in lower case and
    /// the value, or `None` for a field to be left out. `field` returns a field's joined lines by
    /// its name in lower case. All other fields are forwarded unchanged.
    ///
    /// With these fields the origin receives what the variant key contains, and a request with them
    /// has the same variant keys.
    ///
    /// ```
    /// use shared_keys::VaryRules;
    /// let client = |name: &str| (name == "accept-encoding").then(|| "gzip, br".to_string());
    /// let rules = VaryRules::default();
    /// let forwarded: Vec<_> = rules.forwarded(client).collect();
    /// assert_eq!(forwarded[0], ("accept-encoding", Some("br, gzip".to_string())));
    /// assert_eq!(forwarded[1], ("accept", None));
    /// ```
    pub fn forwarded(
        &self,
        field: impl Fn(&str) -> Option<String>,
    ) -> impl Iterator<Item = (&str, Option<String>)> {
        self.0.iter().map(move |(name, normaliser)| {
            let value = field(name);
            (&**name, normaliser.normal(value.as_deref()).map(Cow::into_owned))
        })
    }
}

/// The key of one variant: its target's URL, with a hash of the selecting field values in the
/// reserved parameter.
///
/// ```
/// use shared_keys::{TargetKey, VariantKey, VaryFields, VaryRules};
/// let target = TargetKey::parse("http://a.example/x").unwrap();
/// let vary = VaryFields::parse(["Accept-Encoding"]).unwrap();
/// let rules = VaryRules::default();
/// let with = |value: &str| VariantKey::new(&target, &vary, &rules, |_| Some(value.to_string()));
/// assert_eq!(with("gzip, br"), with("br;q=1, gzip"));
/// assert_ne!(with("gzip"), with("br"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VariantKey(String);

impl VariantKey {
    /// Returns the key of the variant that a request with these fields selects. `field` returns a
    /// field's joined lines by its name in lower case.
    ///
    /// The key contains SHA-256, cut to 128 bits, of each name and each normal value, each preceded
    /// by its length in 8 bytes, big-endian. Eight bytes `0xFF` represent an absent field, which
    /// differs from an empty one.
    pub fn new(
        target: &TargetKey,
        vary: &VaryFields,
        rules: &VaryRules,
        field: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let mut hash = Sha256::new();
        for name in vary.iter() {
            part(&mut hash, name);
            match rules.normal(name, field(name).as_deref()) {
                Some(value) => part(&mut hash, &value),
                None => hash.update([0xFF; 8]),
            }
        }
        let digest = hash.finalize();
        let mut value = String::with_capacity(2 * HASH_BYTES);
        for byte in digest.iter().take(HASH_BYTES) {
            // Writing to a String does not fail.
            let _ = write!(value, "{byte:02x}");
        }
        Self(target.with_reserved("variant", &value))
    }

    /// Returns the URL that names the variant.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VariantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Hashes a part preceded by its length, so that no two lists of parts hash the same bytes. No text
/// is `u64::MAX` long, which represents an absent field.
fn part(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::string::ToString;
    use proptest::prelude::*;

    use super::*;

    fn variant(fields: &[(&str, &str)], vary: &str) -> VariantKey {
        let target = TargetKey::parse("http://a.example/x?a=1").unwrap();
        let field = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        VariantKey::new(&target, &VaryFields::parse([vary]).unwrap(), &rules(), field)
    }

    fn rules() -> VaryRules {
        VaryRules::default().field("X-Cookie", Normaliser::cookies(["a", "b"]).unwrap())
    }

    #[test]
    fn an_absent_field_differs_from_an_empty_one() {
        assert_ne!(variant(&[], "x-a"), variant(&[("x-a", "")], "x-a"));
    }

    #[test]
    fn spaces_inside_an_unknown_field_count() {
        assert_ne!(variant(&[("x-a", "a b")], "x-a"), variant(&[("x-a", "a  b")], "x-a"));
        assert_eq!(variant(&[("x-a", " a b\t")], "x-a"), variant(&[("x-a", "a b")], "x-a"));
    }

    #[test]
    fn the_order_of_vary_does_not_matter() {
        let fields = [("x-a", "1"), ("x-b", "2")];
        assert_eq!(variant(&fields, "X-A, x-b"), variant(&fields, "x-b,x-a,X-a"));
    }

    #[test]
    fn values_of_one_normal_form_select_one_variant() {
        for (name, same) in [
            ("accept-encoding", ["gzip, br", "br;q=0.9, gzip;q=0.1"]),
            ("accept-language", ["DE, en", "de,en"]),
            ("accept", ["text/HTML", " text/html"]),
            ("x-cookie", ["b=1; sid=7; a=2", "a=2;b=1"]),
            ("x-other", ["a", " a"]),
        ] {
            let [one, other] = same.map(|value| variant(&[(name, value)], name));
            assert_eq!(one, other, "{name}");
            assert_ne!(one, variant(&[(name, "other, a=1")], name), "{name}");
        }
        assert_eq!(variant(&[("x-cookie", "sid=7")], "x-cookie"), variant(&[], "x-cookie"));
    }

    #[test]
    fn a_later_normaliser_takes_the_place_of_an_earlier_one_of_any_case() {
        let rules = VaryRules::default().field("ACCEPT-encoding", Normaliser::verbatim());
        assert_eq!(rules.normal("accept-encoding", Some("gzip, br")).as_deref(), Some("gzip, br"));
        assert_eq!(rules.forwarded(|_| None).filter(|(name, _)| *name == "accept-encoding").count(), 1);
    }

    proptest! {
        #[test]
        fn values_do_not_run_into_each_other(a in "[ab]{0,3}", b in "[ab]{0,3}", c in "[ab]{0,3}", d in "[ab]{0,3}") {
            let same = variant(&[("x-a", &a), ("x-b", &b)], "x-a, x-b") == variant(&[("x-a", &c), ("x-b", &d)], "x-a, x-b");
            prop_assert_eq!(same, a == c && b == d);
        }

        #[test]
        fn a_forwarded_request_selects_the_same_variant(
            values in proptest::collection::vec(("(accept|accept-encoding|accept-language|x-cookie|x-a)", "[a-b=;, ]{0,8}|.{0,8}"), 0..5),
        ) {
            let client: BTreeMap<String, String> = values.into_iter().collect();
            let rules = rules();
            let mut forwarded = client.clone();
            for (name, value) in rules.forwarded(|name| client.get(name).cloned()) {
                match value {
                    Some(value) => forwarded.insert(name.into(), value),
                    None => forwarded.remove(name),
                };
            }
            let target = TargetKey::parse("http://a.example/").unwrap();
            let vary = VaryFields::parse(["accept, accept-encoding, accept-language, x-cookie, x-a"]).unwrap();
            let key = |fields: &BTreeMap<String, String>| VariantKey::new(&target, &vary, &rules, |name| fields.get(name).cloned());
            prop_assert_eq!(key(&forwarded), key(&client));
        }

        #[test]
        fn hostile_vary_lines_never_panic(line in any::<String>(), value in any::<String>()) {
            let target = TargetKey::parse("http://a.example/").unwrap();
            if let Some(vary) = VaryFields::parse([line.as_str()]) {
                prop_assert_eq!(VaryFields::parse([vary.to_header().as_str()]), Some(vary.clone()));
                VariantKey::new(&target, &vary, &VaryRules::default(), |_| Some(value.clone()));
            }
        }
    }
}
