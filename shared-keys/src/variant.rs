//! `Vary` → the second level of the name of a stored response (RFC 9111, 4.1).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write;

use sha2::{Digest, Sha256};

use crate::TargetKey;

/// Bytes of SHA-256 in a variant key: 128 bits, so that no client can find headers that land on another's variant.
const HASH_BYTES: usize = 16;

/// The field names of a response's `Vary`, in lower case, sorted, each once.
///
/// ```
/// use shared_keys::VaryFields;
/// let fields = VaryFields::parse(["Accept-Language, accept-encoding", "Accept-Encoding"]).unwrap();
/// assert_eq!(fields.to_header(), "accept-encoding, accept-language");
/// assert!(VaryFields::parse(["Accept, *"]).is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VaryFields(BTreeSet<String>);

impl VaryFields {
    /// The fields of all `Vary` lines of a response; `None` if one of them is `*`, which matches no request.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let names = lines.into_iter().flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty());
        names.map(|name| (name != "*").then(|| name.to_ascii_lowercase())).collect::<Option<_>>().map(Self)
    }

    /// Whether the response does not vary.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The names as one header line.
    #[must_use]
    pub fn to_header(&self) -> String {
        self.iter().collect::<Vec<_>>().join(", ")
    }
}

/// The name of one variant: its target's URL with the selecting field values in the reserved parameter.
///
/// ```
/// use shared_keys::{TargetKey, VariantKey, VaryFields};
/// let target = TargetKey::parse("http://a.example/x").unwrap();
/// let vary = VaryFields::parse(["Accept-Encoding"]).unwrap();
/// let with = |value: &str| VariantKey::new(&target, &vary, |_| Some(value.to_string()));
/// assert_eq!(with("gzip, br"), with("br;q=1, gzip"));
/// assert_ne!(with("gzip"), with("br"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VariantKey(String);

impl VariantKey {
    /// The variant that a request with these fields selects. `field` gives a field's joined lines by its lower-case name.
    pub fn new(target: &TargetKey, vary: &VaryFields, field: impl Fn(&str) -> Option<String>) -> Self {
        let mut hash = Sha256::new();
        for name in vary.iter() {
            part(&mut hash, name);
            // An absent field differs from an empty one.
            match normalise(name, field(name).as_deref()) {
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
        Self(target.with_variant(&value))
    }

    /// The URL that names the variant.
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

/// Length first, so that no two lists of parts give the same bytes. No text is `u64::MAX` long, which stands for absent.
fn part(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

/// A request field's value as the cache sees it, and as the origin must be asked, or `None` for an absent field.
///
/// `Accept-Encoding` becomes the best of `br`, `gzip` and `identity` that the client takes; `Accept` and `Accept-Language`
/// lose case and spaces. What spaces mean in any other field, only the origin knows: those at its ends are no part of it.
#[must_use]
pub fn normalise(name: &str, value: Option<&str>) -> Option<String> {
    match name {
        "accept-encoding" => Some(best_encoding(value).to_string()),
        "accept" | "accept-language" => value.map(|value| list(&value.to_ascii_lowercase())),
        _ => value.map(|value| value.trim_ascii().to_string()),
    }
}

/// RFC 9110, 12.5.3. A client that sends no field takes anything, but most such clients cannot decode: identity.
fn best_encoding(value: Option<&str>) -> &'static str {
    let value = value.unwrap_or_default().to_ascii_lowercase();
    let quality_of = |coding: &str| {
        let quality = |wanted: &str| {
            value.split(',').find_map(|item| {
                let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
                (name.trim() == wanted).then(|| quality_in_thousandths(parameters))
            })
        };
        quality(coding).or_else(|| quality("*")).unwrap_or(0)
    };
    match (quality_of("br"), quality_of("gzip")) {
        (0, 0) => "identity",
        (br, gzip) if br >= gzip => "br",
        _ => "gzip",
    }
}

/// The weight in a list item's parameters (RFC 9110, 12.4.2): 1,000 if there is none, 0 if it is malformed.
fn quality_in_thousandths(parameters: &str) -> u32 {
    let weight = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
    let Some(weight) = weight else { return 1000 };
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    match (whole, fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit())) {
        ("1", true) => 1000,
        ("0", true) => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// A list with its items in their order and no optional spaces.
fn list(value: &str) -> String {
    let without_spaces = |item: &str| item.split_ascii_whitespace().collect::<String>();
    value.split(',').map(without_spaces).filter(|item| !item.is_empty()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variant(fields: &[(&str, &str)], vary: &str) -> VariantKey {
        let target = TargetKey::parse("http://a.example/x?a=1").unwrap();
        let field = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        VariantKey::new(&target, &VaryFields::parse([vary]).unwrap(), field)
    }

    #[test]
    fn the_best_encoding_that_the_client_takes_is_chosen() {
        for (value, best) in [
            ("gzip, deflate, br", "br"),
            ("gzip", "gzip"),
            ("br;q=0.5, gzip;q=0.8", "gzip"),
            ("br;q=0, *", "gzip"),
            ("*;q=0", "identity"),
            ("identity", "identity"),
            ("", "identity"),
            ("BR", "br"),
            ("br;q=2, gzip;q=x", "identity"),
        ] {
            assert_eq!(normalise("accept-encoding", Some(value)).as_deref(), Some(best), "{value}");
        }
        assert_eq!(normalise("accept-encoding", None).as_deref(), Some("identity"));
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

    proptest! {
        #[test]
        fn values_do_not_run_into_each_other(a in "[ab]{0,3}", b in "[ab]{0,3}", c in "[ab]{0,3}", d in "[ab]{0,3}") {
            let same = variant(&[("x-a", &a), ("x-b", &b)], "x-a, x-b") == variant(&[("x-a", &c), ("x-b", &d)], "x-a, x-b");
            prop_assert_eq!(same, a == c && b == d);
        }

        #[test]
        fn a_normal_value_stays_itself(name in "(accept|accept-encoding|accept-language|x-a)", value in any::<String>()) {
            let once = normalise(&name, Some(&value));
            prop_assert_eq!(normalise(&name, once.as_deref()), once);
        }
    }
}
