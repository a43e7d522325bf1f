//! Conversion of keys, tags and prefixes into the scopes of one invalidation.

use alloc::vec::Vec;

use crate::Scope;

/// The scopes of one invalidation: a key, tag, prefix or scope; any iterator over values of the
/// same type (an array, slice, `Vec`, range mapped to keys); a tuple of up to eight of mixed types;
/// or `()` for none.
///
/// [`scopes!`](crate::scopes) builds a `Vec` of any length from mixed types. `Form` is inferred: it
/// only keeps the implementations for iterators, tuples and single values apart.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::{IntoScopes, Scope};
///
/// origin_sdk::keys! {
///     app "shop" version 1;
///
///     /// One product.
///     pub key Product { id: u64 } = "product:{id}";
///     /// Everything of a category.
///     pub tag Category { category: u32 } = "category:{category}";
/// }
///
/// assert_eq!(Category { category: 7 }.into_scopes().len(), 1);
/// assert_eq!([Category { category: 7 }, Category { category: 8 }].into_scopes().len(), 2);
/// assert_eq!((0..1000).map(|id| Product { id }).into_scopes().len(), 1000);
/// let mixed = (Product { id: 7 }, Category { category: 7 }).into_scopes();
/// assert_eq!(mixed[0].to_string(), "key:shop:v1:{product:7}");
/// assert_eq!(mixed[1].to_string(), "tag:category:7");
/// assert_eq!(().into_scopes(), []);
/// ```
pub trait IntoScopes<Form> {
    /// Returns the scopes in the order given.
    fn into_scopes(self) -> Vec<Scope>;
}

/// The form of a single key, tag, prefix or scope.
#[derive(Debug)]
pub struct Single(());

/// The form of an iterator.
#[derive(Debug)]
pub struct Iterated(());

/// The form of a tuple, `()` included.
#[derive(Debug)]
pub struct Mixed(());

impl<T: Into<Scope>> IntoScopes<Single> for T {
    fn into_scopes(self) -> Vec<Scope> {
        Vec::from([self.into()])
    }
}

impl<I: IntoIterator<Item: Into<Scope>>> IntoScopes<Iterated> for I {
    fn into_scopes(self) -> Vec<Scope> {
        self.into_iter().map(Into::into).collect()
    }
}

impl IntoScopes<Mixed> for () {
    fn into_scopes(self) -> Vec<Scope> {
        Vec::new()
    }
}

macro_rules! into_scopes_by_tuple {
    ($($item:ident)+) => {
        impl<$($item: Into<Scope>),+> IntoScopes<Mixed> for ($($item,)+) {
            fn into_scopes(self) -> Vec<Scope> {
                #[expect(non_snake_case, reason = "each item is named after its type parameter")]
                let ($($item,)+) = self;
                Vec::from([$($item.into()),+])
            }
        }
    };
}

into_scopes_by_tuple!(A);
into_scopes_by_tuple!(A B);
into_scopes_by_tuple!(A B C);
into_scopes_by_tuple!(A B C D);
into_scopes_by_tuple!(A B C D E);
into_scopes_by_tuple!(A B C D E F);
into_scopes_by_tuple!(A B C D E F G);
into_scopes_by_tuple!(A B C D E F G H);

/// Builds a `Vec` of [`Scope`](crate::Scope)s from keys, tags, prefixes and scopes of mixed types.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::{Scope, Tag, scopes};
///
/// let scopes = scopes![Tag::new("category:7").unwrap(), Scope::path("shop.example/api").unwrap()];
/// assert_eq!(scopes[1].to_string(), "path:shop.example/api");
/// ```
#[macro_export]
macro_rules! scopes {
    ($($scope:expr),* $(,)?) => {
        <$crate::__private::Vec<$crate::Scope>>::from([$($crate::Scope::from($scope)),*])
    };
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use super::*;
    use crate::{Key, Prefix, Tag, TypedTag};

    crate::keys! {
        app "shop" version 1;

        /// One product.
        key Product { id: u64 } = "product:{id}";
        /// Everything of a category.
        tag Category { category: u32 } = "category:{category}";
    }

    const PRODUCT: Product = Product { id: 7 };
    const CATEGORY: Category = Category { category: 7 };

    #[track_caller]
    fn assert_scopes<Form>(scopes: impl IntoScopes<Form>, texts: &[&str]) {
        let scopes: Vec<String> = scopes.into_scopes().iter().map(ToString::to_string).collect();
        assert_eq!(scopes, texts);
    }

    #[test]
    fn keys_prefixes_tags_and_scopes_convert_by_value_and_by_reference() {
        let (prefix, tag): (Prefix, Tag) = (PRODUCT.prefix(), CATEGORY.into());
        assert_eq!((&tag, &Tag::from(&CATEGORY)), (&CATEGORY.to_tag(), &CATEGORY.to_tag()));
        let (key_text, prefix_text, tag_text) =
            ("key:shop:v1:{product:7}", "prefix:shop:v1:{product:7}:", "tag:category:7");
        assert_scopes(
            (&PRODUCT, &prefix, &tag, &CATEGORY, &Scope::All),
            &[key_text, prefix_text, tag_text, tag_text, "all"],
        );
        assert_scopes(
            (PRODUCT, prefix, tag, CATEGORY, Scope::All),
            &[key_text, prefix_text, tag_text, tag_text, "all"],
        );
    }

    #[test]
    fn lists_of_any_length_and_kind_convert_in_their_order() {
        let categories = [8, 7].map(|category| Category { category });
        let texts = ["tag:category:8", "tag:category:7"];
        assert_scopes(categories.as_slice(), &texts);
        assert_scopes(categories.to_vec(), &texts);
        assert_scopes([8, 7].into_iter().map(|category| Category { category }), &texts);
        assert_scopes(Category { category: 8 }, &texts[..1]);
        assert_scopes(&Category { category: 8 }, &texts[..1]);
        assert_scopes(categories, &texts);
        assert_scopes(Some(PRODUCT), &["key:shop:v1:{product:7}"]);
        assert_scopes((), &[]);
        assert_scopes(crate::scopes![PRODUCT, &CATEGORY], &["key:shop:v1:{product:7}", "tag:category:7"]);
        const ALL: Scope = Scope::All;
        assert_scopes(
            (ALL, ALL, ALL, ALL, ALL, ALL, ALL, CATEGORY),
            &["all", "all", "all", "all", "all", "all", "all", texts[1]],
        );
    }
}
