//! A hash of a value as serde sees it, and the values that a format may change without an error.
//!
//! Two values of one type have the same hash if they serialise alike. The elements of a sequence
//! count in any order, because those of a set come in any order. A field that serde skips does not
//! count, because serde does not show it.

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::ser::{self, Serializer};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Format;
use super::unfaithful::{Reason, Unfaithful};

/// The depth of containers and variants that the reader of JSON accepts.
const MAX_JSON_DEPTH: usize = 127;
/// A depth of containers and variants that the reader of MessagePack accepts. It may accept more,
/// up to 1,023 containers, but a thread's stack is short.
#[cfg(feature = "msgpack")]
const MAX_MSGPACK_DEPTH: usize = 255;

/// A value that was walked, or a part of it.
pub(super) struct Fingerprint {
    pub(super) hash: u64,
    /// Whether it is stored as null.
    is_null: bool,
    /// The first part that the format stores as null and its reader takes for another value, unless
    /// the type has a reader of its own.
    pub(super) doubt: Option<Unfaithful>,
}

/// Returns the fingerprint of a value.
///
/// # Errors
/// If the format would store it as one that its reader refuses.
pub(super) fn fingerprint<V: Serialize + ?Sized>(
    value: &V,
    format: Format,
) -> Result<Fingerprint, Unfaithful> {
    value.serialize(Walker { format, depth: 0 })
}

/// The kinds of parts, so that equal bytes of different kinds differ.
#[derive(Clone, Copy)]
enum Kind {
    Null = 1,
    Bool,
    Integer,
    Float,
    Text,
    Bytes,
    Some,
    Variant,
    Sequence,
    Tuple,
    Map,
    Struct,
}

fn leaf(kind: Kind, bytes: &[u8]) -> Fingerprint {
    Fingerprint { hash: xxh3_64_with_seed(bytes, kind as u64), is_null: false, doubt: None }
}

/// Combines two hashes in this order.
fn joined(kind: Kind, first: u64, second: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&second.to_le_bytes());
    xxh3_64_with_seed(&bytes, kind as u64)
}

/// A serializer whose output is the hash.
#[derive(Clone, Copy)]
struct Walker {
    format: Format,
    depth: usize,
}

impl Walker {
    /// Returns the walker of the parts of a container.
    fn inside(self) -> Result<Self, Unfaithful> {
        let limit = match self.format {
            Format::Json => MAX_JSON_DEPTH,
            #[cfg(feature = "msgpack")]
            Format::Msgpack => MAX_MSGPACK_DEPTH,
        };
        if self.depth >= limit {
            return Err(Unfaithful::new(Reason::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn parts(self, kind: Kind) -> Result<Parts, Unfaithful> {
        Ok(Parts { walker: self.inside()?, kind, variant: None, sum: 0, count: 0, key: 0, doubt: None })
    }

    fn variant_parts(self, kind: Kind, variant: &'static str) -> Result<Parts, Unfaithful> {
        let parts = self.inside()?.parts(kind)?;
        Ok(Parts { variant: Some(variant), ..parts })
    }

    fn integer(number: i128) -> Fingerprint {
        leaf(Kind::Integer, &number.to_le_bytes())
    }
}

/// A container whose parts are walked. The sum does not depend on their order.
struct Parts {
    walker: Walker,
    kind: Kind,
    variant: Option<&'static str>,
    sum: u64,
    count: u64,
    /// The hash of the key whose value comes next.
    key: u64,
    doubt: Option<Unfaithful>,
}

impl Parts {
    fn add<T: Serialize + ?Sized>(&mut self, label: u64, part: &T) -> Result<(), Unfaithful> {
        let part = part.serialize(self.walker)?;
        self.sum = self.sum.wrapping_add(joined(self.kind, label, part.hash));
        self.count += 1;
        self.doubt = self.doubt.take().or(part.doubt);
        Ok(())
    }

    fn add_field<T: Serialize + ?Sized>(&mut self, name: &'static str, part: &T) -> Result<(), Unfaithful> {
        let earlier_doubt = self.doubt.take();
        let added = self.add(leaf(Kind::Text, name.as_bytes()).hash, part);
        self.doubt = earlier_doubt.or_else(|| self.doubt.take().map(|doubt| doubt.in_field(name)));
        added.map_err(|error| error.in_field(name))
    }

    fn finish(self) -> Fingerprint {
        let hash = joined(self.kind, self.count, self.sum);
        let variant = self.variant.map(|name| leaf(Kind::Variant, name.as_bytes()).hash);
        let hash = variant.map_or(hash, |variant| joined(Kind::Variant, variant, hash));
        Fingerprint { hash, is_null: false, doubt: self.doubt }
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, number: $type) -> Result<Fingerprint, Unfaithful> { Ok(Self::integer(number.into())) })*
    };
}

impl Serializer for Walker {
    type Ok = Fingerprint;
    type Error = Unfaithful;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    integers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    }

    fn serialize_u128(self, number: u128) -> Result<Fingerprint, Unfaithful> {
        Ok(leaf(Kind::Integer, &number.to_le_bytes()))
    }

    fn serialize_bool(self, value: bool) -> Result<Fingerprint, Unfaithful> {
        Ok(leaf(Kind::Bool, &[value.into()]))
    }

    fn serialize_f32(self, number: f32) -> Result<Fingerprint, Unfaithful> {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<Fingerprint, Unfaithful> {
        // There are many bit patterns of NaN.
        let bits = if number.is_nan() { u64::MAX } else { number.to_bits() };
        let becomes_null = !number.is_finite() && self.format == Format::Json;
        let doubt = becomes_null.then(|| Unfaithful::new(Reason::NotFinite));
        Ok(Fingerprint { doubt, ..leaf(Kind::Float, &bits.to_le_bytes()) })
    }

    fn serialize_char(self, value: char) -> Result<Fingerprint, Unfaithful> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<Fingerprint, Unfaithful> {
        Ok(leaf(Kind::Text, text.as_bytes()))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Fingerprint, Unfaithful> {
        Ok(leaf(Kind::Bytes, bytes))
    }

    fn serialize_none(self) -> Result<Fingerprint, Unfaithful> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Fingerprint, Unfaithful> {
        let inner = value.serialize(self)?;
        let nested_null = || inner.is_null.then(|| Unfaithful::new(Reason::NestedNull));
        let doubt = inner.doubt.or_else(nested_null);
        Ok(Fingerprint { hash: joined(Kind::Some, inner.hash, 0), doubt, ..inner })
    }

    fn serialize_unit(self) -> Result<Fingerprint, Unfaithful> {
        Ok(Fingerprint { is_null: true, ..leaf(Kind::Null, &[]) })
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Fingerprint, Unfaithful> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Fingerprint, Unfaithful> {
        Ok(leaf(Kind::Variant, variant.as_bytes()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Fingerprint, Unfaithful> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Fingerprint, Unfaithful> {
        let inner = value.serialize(self.inside()?)?;
        let name = leaf(Kind::Variant, variant.as_bytes()).hash;
        Ok(Fingerprint { hash: joined(Kind::Variant, name, inner.hash), is_null: false, ..inner })
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts, Unfaithful> {
        self.parts(Kind::Sequence)
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts, Unfaithful> {
        self.parts(Kind::Tuple)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts, Unfaithful> {
        self.parts(Kind::Tuple)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, Unfaithful> {
        self.variant_parts(Kind::Tuple, variant)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts, Unfaithful> {
        self.parts(Kind::Map)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts, Unfaithful> {
        self.parts(Kind::Struct)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, Unfaithful> {
        self.variant_parts(Kind::Struct, variant)
    }

    fn is_human_readable(&self) -> bool {
        self.format == Format::Json
    }
}

/// Implements a trait of containers whose parts have no labels.
macro_rules! unlabelled {
    ($($trait:ident: $method:ident $label:expr;)*) => {
        $(impl ser::$trait for Parts {
            type Ok = Fingerprint;
            type Error = Unfaithful;

            fn $method<T: Serialize + ?Sized>(&mut self, part: &T) -> Result<(), Unfaithful> {
                let label: fn(&Self) -> u64 = $label;
                self.add(label(self), part)
            }

            fn end(self) -> Result<Fingerprint, Unfaithful> {
                Ok(self.finish())
            }
        })*
    };
}

unlabelled! {
    SerializeSeq: serialize_element |_| 0;
    SerializeTuple: serialize_element |parts| parts.count;
    SerializeTupleStruct: serialize_field |parts| parts.count;
    SerializeTupleVariant: serialize_field |parts| parts.count;
}

/// Implements a trait of containers whose parts have names.
macro_rules! named {
    ($($trait:ident),*) => {
        $(impl ser::$trait for Parts {
            type Ok = Fingerprint;
            type Error = Unfaithful;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                part: &T,
            ) -> Result<(), Unfaithful> {
                self.add_field(name, part)
            }

            fn end(self) -> Result<Fingerprint, Unfaithful> {
                Ok(self.finish())
            }
        })*
    };
}

named!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Parts {
    type Ok = Fingerprint;
    type Error = Unfaithful;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unfaithful> {
        let key = key.serialize(self.walker)?;
        self.key = key.hash;
        self.doubt = self.doubt.take().or(key.doubt);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfaithful> {
        self.add(self.key, value)
    }

    fn end(self) -> Result<Fingerprint, Unfaithful> {
        Ok(self.finish())
    }
}
