//! The name of a datum, which is the same in every version of the schema.

use alloc::borrow::Cow;

/// Returns the key of the first version for a key's or prefix's text of any version:
/// `shop:v1:{user:42}` for `shop:v3:{user:42}`.
///
/// Scopes name data by it. While processes of two versions run side by side, each has keys of its
/// own, since it cannot read the other's values. An invalidation means the datum and not one form
/// of it, so it must cover the keys of both.
///
/// ```
/// use shared_keys::datum_of;
/// assert_eq!(datum_of("shop:v3:{user:42}:orders:3"), "shop:v1:{user:42}:orders:3");
/// assert_eq!(datum_of("shop:v3"), "shop:v1");
/// assert_eq!(datum_of("shop:vat:7"), "shop:vat:7");
/// ```
#[must_use]
pub fn datum_of(text: &str) -> Cow<'_, str> {
    let named = text.split_once(":v").and_then(|(app, versioned)| {
        let digits = versioned.bytes().take_while(u8::is_ascii_digit).count();
        let (version, rest) = versioned.split_at(digits);
        let is_version = digits > 0 && !app.contains(':') && (rest.is_empty() || rest.starts_with(':'));
        (is_version && version != "1").then(|| [app, ":v1", rest].concat())
    });
    named.map_or(Cow::Borrowed(text), Cow::<str>::Owned)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_version_of_a_key_is_replaced() {
        for (text, datum) in [
            ("shop:v1:{user:42}", "shop:v1:{user:42}"),
            ("shop:v0:{user:42}", "shop:v1:{user:42}"),
            ("shop:v4294967295:{user:42}:v2", "shop:v1:{user:42}:v2"),
            ("shop:v2:", "shop:v1:"),
            ("shop:v2", "shop:v1"),
            ("shop:v", "shop:v"),
            ("shop:v:2", "shop:v:2"),
            ("shop:v2x:7", "shop:v2x:7"),
            ("shop:{a}:v2", "shop:{a}:v2"),
            ("shop:a:v2:b", "shop:a:v2:b"),
            ("shop", "shop"),
            ("", ""),
        ] {
            assert_eq!(datum_of(text), datum, "{text}");
        }
        assert!(matches!(datum_of("shop:v1:{user:42}"), Cow::Borrowed(_)), "no allocation");
    }

    proptest! {
        #[test]
        fn a_datum_is_its_own_name(text in "[a-c]?(:v[0-9]{0,3}){0,2}(:.{0,9})?") {
            let datum: String = datum_of(&text).into_owned();
            prop_assert_eq!(&*datum_of(&datum), &*datum);
        }
    }
}
