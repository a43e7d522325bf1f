//! Ids: the values that fill the `{id}` places of a template.

use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::{NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroU128};

use super::escape::write_escaped;

/// A value that fills one segment of a key or tag.
///
/// Ids are:
///
/// * integers, `NonZero` unsigned integers, `bool` and `char`;
/// * `String`, `Box<str>`, `Arc<str>` and `Cow<str>`;
/// * `IpAddr`, `Ipv4Addr` and `Ipv6Addr`;
/// * `uuid::Uuid` (feature `uuid`);
/// * `chrono::NaiveDate` and `chrono::DateTime<Utc>` (feature `chrono`);
/// * `time::Date` and `time::UtcDateTime` (feature `time`);
/// * enums declared by [`enum_id!`](crate::enum_id) and newtypes declared by
///   [`newtype_id!`](crate::newtype_id).
///
/// An implementation writes plain text, and the crate escapes it, so an implementation cannot break
/// the key's grammar. Different values must write different texts, and `parse_id` must return the
/// value that wrote the text.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use core::fmt::{self, Write};
/// use origin_sdk::{Key, KeyId};
///
/// /// A day, counted from 1970-01-01.
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
/// origin_sdk::keys! {
///     app "shop" version 1;
///
///     /// The sales of one day.
///     pub key Sales { day: Day } = "sales:{day}";
/// }
///
/// assert_eq!(Sales { day: Day(20_000) }.to_text(), "shop:v1:{sales:d20000}");
/// let error = Sales::parse("shop:v1:{sales:20000}").unwrap_err();
/// let message = r#"expected a day as `d` and a number at byte 15 of "shop:v1:{sales:20000}""#;
/// assert_eq!(error.to_string(), message);
/// ```
pub trait KeyId: Sized {
    /// The description of the texts that `parse_id` accepts. Error messages put `expected ` before
    /// it.
    const EXPECTED: &'static str = "an id of the template's type";

    /// Writes the id's text.
    ///
    /// # Errors
    /// Returns only the errors of `out`.
    fn write_id(&self, out: &mut impl Write) -> fmt::Result;

    /// Writes the escaped text. An id whose text never needs an escape writes it as it is.
    #[doc(hidden)]
    #[inline]
    fn write_segment(&self, out: &mut impl Write, _: Private) -> fmt::Result {
        write_escaped(self, out)
    }

    /// Parses an id, or returns `None` if the text is not one.
    ///
    /// The caller renders the id again and rejects a text that differs, so an implementation may
    /// accept several spellings.
    fn parse_id(text: &str) -> Option<Self>;
}

/// An argument of methods that only this crate's types implement.
#[derive(Debug, Clone, Copy)]
pub struct Private(pub(super) ());

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
    u128: "a number from 0 to 2^128 - 1",
    NonZeroU128: "a number from 1 to 2^128 - 1",
    i128: "a number from -2^127 to 2^127 - 1",
    bool: "`true` or `false`",
    char: "a single character",
    IpAddr: "an IP address",
    Ipv4Addr: "an IPv4 address",
    Ipv6Addr: "an IPv6 address",
}

/// Ids of at most 64 bits: they are rendered at each read of their keys, and the formatting
/// machinery would take most of that time.
macro_rules! key_id_by_digits {
    (|$number:ident| $wide:expr; $($id:ty: $expected:literal),* $(,)?) => {$(
        impl KeyId for $id {
            const EXPECTED: &'static str = $expected;

            #[inline]
            fn write_id(&self, out: &mut impl Write) -> fmt::Result {
                let $number = *self;
                write_digits($wide, out)
            }

            #[inline]
            fn write_segment(&self, out: &mut impl Write, _: Private) -> fmt::Result {
                self.write_id(out)
            }

            fn parse_id(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

key_id_by_digits! { |number| number as i128;
    u8: "a number from 0 to 255",
    u16: "a number from 0 to 65535",
    u32: "a number from 0 to 2^32 - 1",
    u64: "a number from 0 to 2^64 - 1",
    usize: "a number that fits usize",
    i8: "a number from -128 to 127",
    i16: "a number from -32768 to 32767",
    i32: "a number from -2^31 to 2^31 - 1",
    i64: "a number from -2^63 to 2^63 - 1",
    isize: "a number that fits isize",
}

key_id_by_digits! { |number| number.get() as i128;
    NonZeroU8: "a number from 1 to 255",
    NonZeroU16: "a number from 1 to 65535",
    NonZeroU32: "a number from 1 to 2^32 - 1",
    NonZeroU64: "a number from 1 to 2^64 - 1",
}

/// Writes a number of at most 64 bits and its sign.
#[inline]
fn write_digits(number: i128, out: &mut impl Write) -> fmt::Result {
    if number < 0 {
        out.write_char('-')?;
    }
    // Four digits at a time, since divisions are slow. Most ids are small.
    let (mut groups, mut rest) = ([0; 5], number.unsigned_abs() as u64);
    let mut count = 0;
    while rest >= 10_000 {
        groups[count] = rest % 10_000;
        rest /= 10_000;
        count += 1;
    }
    let (high, low) = (rest / 100, rest % 100);
    match high {
        0 => {}
        1..10 => out.write_char(digit(high))?,
        _ => write_pair(high, out)?,
    }
    if high == 0 && low < 10 {
        out.write_char(digit(low))?;
    } else {
        write_pair(low, out)?;
    }
    groups[..count].iter().rev().try_for_each(|group| {
        write_pair(group / 100, out)?;
        write_pair(group % 100, out)
    })
}

/// Writes the two digits of a number below 100.
#[inline]
fn write_pair(number: u64, out: &mut impl Write) -> fmt::Result {
    out.write_char(digit(number / 10))?;
    out.write_char(digit(number % 10))
}

/// Returns the digit of a number below 10.
fn digit(number: u64) -> char {
    char::from(b'0' + number as u8)
}

macro_rules! key_id_by_text {
    ($($id:ty),*) => {$(
        impl KeyId for $id {
            const EXPECTED: &'static str = "a text";

            #[inline]
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

/// Implements [`KeyId`] for an enum without fields, with a text for each variant.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::KeyId;
///
/// #[derive(Debug, Clone, PartialEq, Eq, Hash)]
/// pub enum Sort { Rank, Price }
///
/// origin_sdk::enum_id! { Sort { Rank = "rank", Price = "price" } }
///
/// assert_eq!(Sort::parse_id("price"), Some(Sort::Price));
/// assert_eq!(Sort::EXPECTED, "one of `rank` `price`");
/// ```
///
/// An enum with a missing variant, or with two variants of one text, does not compile:
///
/// ```compile_fail
/// # extern crate shared_keys as origin_sdk;
/// pub enum Sort { Rank, Price }
/// origin_sdk::enum_id! { Sort { Rank = "a", Price = "a" } }
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

/// Implements [`KeyId`] for tuple structs with one field, whose type is an id itself.
///
/// Keys with an id type of their own cannot mix up a user's number and an order's. The newtype is
/// written and parsed like the value that it wraps.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::Key;
///
/// #[derive(Debug, Clone, PartialEq, Eq, Hash)]
/// pub struct UserId(u64);
/// #[derive(Debug, Clone, PartialEq, Eq, Hash)]
/// pub struct Country(String);
///
/// origin_sdk::newtype_id! { UserId(u64), Country(String) }
///
/// origin_sdk::keys! {
///     app "shop" version 1;
///
///     /// A user's addresses in one country.
///     pub key Addresses { user: UserId, country: Country } = "user:{user}:addresses:{country}";
/// }
///
/// let key = Addresses { user: UserId(42), country: Country("nl".into()) };
/// assert_eq!(key.to_text(), "shop:v1:{user:42}:addresses:nl");
/// assert_eq!(Addresses::parse("shop:v1:{user:42}:addresses:nl"), Ok(key));
/// ```
#[macro_export]
macro_rules! newtype_id {
    ($($name:ident($id:ty)),+ $(,)?) => {$(
        impl $crate::KeyId for $name {
            const EXPECTED: &'static str = <$id as $crate::KeyId>::EXPECTED;

            #[inline]
            fn write_id(
                &self,
                out: &mut impl $crate::__private::core::fmt::Write,
            ) -> $crate::__private::core::fmt::Result {
                <$id as $crate::KeyId>::write_id(&self.0, out)
            }

            #[inline]
            fn write_segment(
                &self,
                out: &mut impl $crate::__private::core::fmt::Write,
                private: $crate::__private::Private,
            ) -> $crate::__private::core::fmt::Result {
                <$id as $crate::KeyId>::write_segment(&self.0, out, private)
            }

            fn parse_id(text: &str) -> $crate::__private::core::option::Option<Self> {
                <$id as $crate::KeyId>::parse_id(text).map(Self)
            }
        }
    )+};
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

    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct UserId(NonZeroU32);

    crate::newtype_id! { UserId(NonZeroU32) }

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

    #[test]
    fn a_newtype_is_written_and_read_as_the_value_that_it_wraps() {
        let mut text = String::new();
        UserId(NonZeroU32::MIN).write_id(&mut text).unwrap();
        assert_eq!((text.as_str(), UserId::EXPECTED), ("1", NonZeroU32::EXPECTED));
        assert_eq!(UserId::parse_id("0"), None);
    }

    #[test]
    fn an_ipv4_address_and_the_ipv6_address_that_maps_it_are_two_ids() {
        let text = |address: IpAddr| {
            let mut text = String::new();
            address.write_id(&mut text).unwrap();
            text
        };
        let address = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(text(address.into()), "192.0.2.1");
        assert_eq!(text(address.to_ipv6_mapped().into()), "::ffff:192.0.2.1");
    }

    #[test]
    fn a_number_is_written_as_it_is_displayed() {
        let text = |id: &dyn Fn(&mut String) -> fmt::Result| {
            let mut text = String::new();
            id(&mut text).unwrap();
            text
        };
        let powers = (0..20).map(|power| 10_u64.pow(power)).flat_map(|power| [power - 1, power, power + 1]);
        for number in powers.chain([0, u64::MAX]) {
            assert_eq!(text(&|out| number.write_id(out)), number.to_string());
        }
        for number in [i64::MIN, -10_000, -99, -1, 0, 7, i64::MAX] {
            assert_eq!(text(&|out| number.write_id(out)), number.to_string());
        }
    }

    proptest! {
        #[test]
        fn a_number_of_any_digits_is_written_as_it_is_displayed(number: u64, shift in 0_u32..64) {
            let number = number >> shift;
            let mut text = String::new();
            number.write_id(&mut text).unwrap();
            prop_assert_eq!(text, number.to_string());
        }

        #[test]
        fn every_kind_of_id_reads_back_what_it_wrote(
            small: u8, large: u128, negative: i64, page: NonZeroU32, flag: bool, letter: char, text in any::<String>(),
            v4: u32, v6: u128,
        ) {
            round_trip(small)?;
            round_trip(large)?;
            round_trip(negative)?;
            round_trip(page)?;
            round_trip(UserId(page))?;
            round_trip(Ipv4Addr::from_bits(v4))?;
            round_trip(Ipv6Addr::from_bits(v6))?;
            round_trip(IpAddr::V4(Ipv4Addr::from_bits(v4)))?;
            round_trip(IpAddr::V6(Ipv6Addr::from_bits(v6)))?;
            round_trip(flag)?;
            round_trip(letter)?;
            round_trip::<Box<str>>(text.as_str().into())?;
            round_trip::<Arc<str>>(text.as_str().into())?;
            round_trip::<Cow<'static, str>>(Cow::Owned(text.to_string()))?;
            round_trip(text)?;
        }
    }
}
