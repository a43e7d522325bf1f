//! What may stand as an id in a key or tag.

use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write};
use core::num::{NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroU128};

/// A value that can stand as one segment of a key or tag: integers, `bool`, `char`, owned and shared strings,
/// `uuid::Uuid` (feature `uuid`), enums by [`enum_id!`](crate::enum_id), and what else implements it.
///
/// Implementors write plain text; the crate escapes it, so an implementation cannot break the key's grammar. Different
/// values must write different texts, and `parse_id` must give back the value that wrote the text.
///
/// ```
/// use core::fmt::{self, Write};
/// use shared_keys::{Key, KeyId};
///
/// /// A day, as days since 1970.
/// #[derive(Debug, Clone, PartialEq, Eq, Hash)]
/// pub struct Day(u32);
///
/// impl KeyId for Day {
///     const EXPECTED: &'static str = "a day as `d` and a number";
///
///     fn write_id(&self, out: &mut impl Write) -> fmt::Result {
///         write!(out, "d{}", self.0)
///     }
///     fn parse_id(text: &str) -> Option<Self> {
///         text.strip_prefix('d')?.parse().ok().map(Day)
///     }
/// }
///
/// shared_keys::keys! {
///     app "shop" version 1;
///
///     /// What was sold on a day.
///     pub key Sales { day: Day } = "sales:{day}";
/// }
///
/// assert_eq!(Sales { day: Day(20_000) }.to_text(), "shop:v1:{sales:d20000}");
/// let error = Sales::parse("shop:v1:{sales:20000}").unwrap_err();
/// assert_eq!(error.to_string(), r#"expected a day as `d` and a number at byte 15 of "shop:v1:{sales:20000}""#);
/// ```
pub trait KeyId: Sized {
    /// What `parse_id` takes, for error messages: `expected ` goes before it.
    const EXPECTED: &'static str = "an id of the template's type";

    /// Writes the id's text.
    ///
    /// # Errors
    /// Only those of `out`.
    fn write_id(&self, out: &mut impl Write) -> fmt::Result;

    /// The id whose text this is, or `None`. A text that the id would not be written as is refused by the caller.
    fn parse_id(text: &str) -> Option<Self>;
}

macro_rules! key_id_by_display {
    ($($id:ty: $expected:literal),* $(,)?) => {$(
        impl KeyId for $id {
            const EXPECTED: &'static str = $expected;

            fn write_id(&self, out: &mut impl Write) -> fmt::Result {
                write!(out, "{self}")
            }

            fn parse_id(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

key_id_by_display! {
    u8: "a number from 0 to 255",
    u16: "a number from 0 to 65535",
    u32: "a number from 0 to 2^32 - 1",
    u64: "a number from 0 to 2^64 - 1",
    u128: "a number from 0 to 2^128 - 1",
    usize: "a number that fits usize",
    NonZeroU8: "a number from 1 to 255",
    NonZeroU16: "a number from 1 to 65535",
    NonZeroU32: "a number from 1 to 2^32 - 1",
    NonZeroU64: "a number from 1 to 2^64 - 1",
    NonZeroU128: "a number from 1 to 2^128 - 1",
    i8: "a number from -128 to 127",
    i16: "a number from -32768 to 32767",
    i32: "a number from -2^31 to 2^31 - 1",
    i64: "a number from -2^63 to 2^63 - 1",
    i128: "a number from -2^127 to 2^127 - 1",
    isize: "a number that fits isize",
    bool: "`true` or `false`",
    char: "a single character",
}

macro_rules! key_id_by_text {
    ($($id:ty),*) => {$(
        impl KeyId for $id {
            const EXPECTED: &'static str = "a text";

            fn write_id(&self, out: &mut impl Write) -> fmt::Result {
                out.write_str(self)
            }

            fn parse_id(text: &str) -> Option<Self> {
                Some(text.to_owned().into())
            }
        }
    )*};
}

key_id_by_text!(String, Box<str>, Arc<str>, Cow<'_, str>);

#[cfg(feature = "uuid")]
impl KeyId for uuid::Uuid {
    const EXPECTED: &'static str = "a UUID in lower case with hyphens";

    fn write_id(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "{}", self.as_hyphenated())
    }

    fn parse_id(text: &str) -> Option<Self> {
        Self::try_parse(text).ok()
    }
}

/// Makes an enum without fields a [`KeyId`], by a text for each variant.
///
/// ```
/// use shared_keys::KeyId;
///
/// #[derive(Debug, Clone, PartialEq, Eq, Hash)]
/// pub enum Sort { Rank, Price }
///
/// shared_keys::enum_id! { Sort { Rank = "rank", Price = "price" } }
///
/// assert_eq!(Sort::parse_id("price"), Some(Sort::Price));
/// assert_eq!(Sort::EXPECTED, "one of `rank` `price`");
/// ```
///
/// A variant that is left out, or two of one text, do not compile:
///
/// ```compile_fail
/// pub enum Sort { Rank, Price }
/// shared_keys::enum_id! { Sort { Rank = "a", Price = "a" } }
/// ```
#[macro_export]
macro_rules! enum_id {
    ($name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl $crate::KeyId for $name {
            const EXPECTED: &'static str = $crate::__private::core::concat!("one of" $(, " `", $text, "`")+);

            fn write_id(
                &self,
                out: &mut impl $crate::__private::core::fmt::Write,
            ) -> $crate::__private::core::fmt::Result {
                out.write_str(match self { $( Self::$variant => $text, )+ })
            }

            fn parse_id(text: &str) -> $crate::__private::core::option::Option<Self> {
                $( if text == $text { return $crate::__private::core::option::Option::Some(Self::$variant); } )+
                $crate::__private::core::option::Option::None
            }
        }

        const _: () = $crate::template::check_variants(stringify!($name), &[$((stringify!($variant), $text)),+]);
    };
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use core::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    enum Sort {
        Rank,
        Price,
        Empty,
    }

    crate::enum_id! { Sort { Rank = "rank", Price = "by price: *", Empty = "" } }

    fn round_trip<I: KeyId + PartialEq + Debug>(id: I) -> Result<(), TestCaseError> {
        let mut text = String::new();
        id.write_id(&mut text).unwrap();
        prop_assert_eq!(I::parse_id(&text), Some(id));
        Ok(())
    }

    #[test]
    fn an_enum_is_written_and_read_by_its_texts() {
        for sort in [Sort::Rank, Sort::Price, Sort::Empty] {
            round_trip(sort).unwrap();
        }
        assert_eq!(Sort::parse_id("Rank"), None);
    }

    proptest! {
        #[test]
        fn every_kind_of_id_reads_back_what_it_wrote(
            small: u8, large: u128, negative: i64, page: NonZeroU32, flag: bool, letter: char, text in any::<String>(),
        ) {
            round_trip(small)?;
            round_trip(large)?;
            round_trip(negative)?;
            round_trip(page)?;
            round_trip(flag)?;
            round_trip(letter)?;
            round_trip::<Box<str>>(text.as_str().into())?;
            round_trip::<Arc<str>>(text.as_str().into())?;
            round_trip::<Cow<'static, str>>(Cow::Owned(text.to_string()))?;
            round_trip(text)?;
        }
    }
}
