//! A hash of a value as serde sees it, and the values that a format would change without an error.
//!
//! Two values of one type have the same hash if they serialise alike. The elements of a sequence
//! count in any order, because those of a set come in any order. A field that serde skips does not
//! count, because serde does not show it.

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

/// Returns the hash of a value.
///
/// # Errors
/// If the format would store it as another value, or as one that its reader refuses.
pub(super) fn fingerprint<V: Serialize + ?Sized>(value: &V, format: Format) -> Result<u64, Unfaithful> {
    Ok(value.serialize(Walker { format, depth: 0 })?.hash)
}

/// A part of the value that was walked.
struct Node {
    hash: u64,
    /// Whether the part is stored as null.
    is_null: bool,
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

fn leaf(kind: Kind, bytes: &[u8]) -> Node {
    Node { hash: xxh3_64_with_seed(bytes, kind as u64), is_null: false }
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
        Ok(Parts { walker: self.inside()?, kind, variant: None, sum: 0, count: 0, key: 0 })
    }

    fn variant_parts(self, kind: Kind, variant: &'static str) -> Result<Parts, Unfaithful> {
        let parts = self.inside()?.parts(kind)?;
        Ok(Parts { variant: Some(variant), ..parts })
    }

    fn integer(number: i128) -> Node {
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
}

impl Parts {
    fn add<T: Serialize + ?Sized>(&mut self, label: u64, part: &T) -> Result<(), Unfaithful> {
        let node = part.serialize(self.walker)?;
        self.sum = self.sum.wrapping_add(joined(self.kind, label, node.hash));
        self.count += 1;
        Ok(())
    }

    fn add_field<T: Serialize + ?Sized>(&mut self, name: &'static str, part: &T) -> Result<(), Unfaithful> {
        self.add(leaf(Kind::Text, name.as_bytes()).hash, part).map_err(|error| error.in_field(name))
    }

    fn finish(self) -> Node {
        let hash = joined(self.kind, self.count, self.sum);
        let variant = self.variant.map(|name| leaf(Kind::Variant, name.as_bytes()).hash);
        Node { hash: variant.map_or(hash, |variant| joined(Kind::Variant, variant, hash)), is_null: false }
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, number: $type) -> Result<Node, Unfaithful> { Ok(Self::integer(number.into())) })*
    };
}

impl Serializer for Walker {
    type Ok = Node;
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

    fn serialize_u128(self, number: u128) -> Result<Node, Unfaithful> {
        Ok(leaf(Kind::Integer, &number.to_le_bytes()))
    }

    fn serialize_bool(self, value: bool) -> Result<Node, Unfaithful> {
        Ok(leaf(Kind::Bool, &[value.into()]))
    }

    fn serialize_f32(self, number: f32) -> Result<Node, Unfaithful> {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<Node, Unfaithful> {
        if !number.is_finite() && self.format == Format::Json {
            return Err(Unfaithful::new(Reason::NotFinite));
        }
        // There are many bit patterns of NaN.
        let bits = if number.is_nan() { u64::MAX } else { number.to_bits() };
        Ok(leaf(Kind::Float, &bits.to_le_bytes()))
    }

    fn serialize_char(self, value: char) -> Result<Node, Unfaithful> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<Node, Unfaithful> {
        Ok(leaf(Kind::Text, text.as_bytes()))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Node, Unfaithful> {
        Ok(leaf(Kind::Bytes, bytes))
    }

    fn serialize_none(self) -> Result<Node, Unfaithful> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Node, Unfaithful> {
        let node = value.serialize(self)?;
        if node.is_null {
            return Err(Unfaithful::new(Reason::NestedNull));
        }
        Ok(Node { hash: joined(Kind::Some, node.hash, 0), is_null: false })
    }

    fn serialize_unit(self) -> Result<Node, Unfaithful> {
        Ok(Node { is_null: true, ..leaf(Kind::Null, &[]) })
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Node, Unfaithful> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Node, Unfaithful> {
        Ok(leaf(Kind::Variant, variant.as_bytes()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Node, Unfaithful> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Node, Unfaithful> {
        let node = value.serialize(self.inside()?)?;
        let name = leaf(Kind::Variant, variant.as_bytes()).hash;
        Ok(Node { hash: joined(Kind::Variant, name, node.hash), is_null: false })
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
            type Ok = Node;
            type Error = Unfaithful;

            fn $method<T: Serialize + ?Sized>(&mut self, part: &T) -> Result<(), Unfaithful> {
                let label: fn(&Self) -> u64 = $label;
                self.add(label(self), part)
            }

            fn end(self) -> Result<Node, Unfaithful> {
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
            type Ok = Node;
            type Error = Unfaithful;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                part: &T,
            ) -> Result<(), Unfaithful> {
                self.add_field(name, part)
            }

            fn end(self) -> Result<Node, Unfaithful> {
                Ok(self.finish())
            }
        })*
    };
}

named!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Parts {
    type Ok = Node;
    type Error = Unfaithful;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unfaithful> {
        self.key = key.serialize(self.walker)?.hash;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfaithful> {
        self.add(self.key, value)
    }

    fn end(self) -> Result<Node, Unfaithful> {
        Ok(self.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use serde::Deserialize;

    use super::*;

    fn hash<V: Serialize>(value: &V) -> u64 {
        fingerprint(value, Format::Json).unwrap()
    }

    fn error<V: Serialize>(value: &V) -> String {
        fingerprint(value, Format::Json).unwrap_err().to_string()
    }

    #[test]
    fn values_that_serialise_alike_have_one_hash_and_others_have_another() {
        let distinct = [
            hash(&()),
            hash(&Some(1)),
            hash(&1),
            hash(&1.0),
            hash(&"1"),
            hash(&true),
            hash(&0.0),
            hash(&-0.0),
            hash(&[1]),
            hash(&[1, 1]),
            hash(&(1, 2)),
            hash(&(2, 1)),
            hash(&[[1], [2]]),
            hash(&HashMap::from([(1, 2)])),
            hash(&HashMap::from([(2, 1)])),
            hash(&Tree::Leaf),
            hash(&Tree::Boxed(Box::new(Tree::Leaf))),
        ];
        assert_eq!(distinct.iter().collect::<HashSet<_>>().len(), distinct.len());
        // Two sets have their elements in different orders.
        let set = || (0..100).collect::<HashSet<_>>();
        let map = || (0..100).map(|n| (n, n)).collect::<HashMap<_, _>>();
        assert_eq!((hash(&set()), hash(&map())), (hash(&set()), hash(&map())));
    }

    #[test]
    fn an_error_names_the_part_of_the_value_and_how_to_correct_it() {
        #[derive(Serialize)]
        struct Outer {
            inner: Inner,
        }
        #[derive(Serialize)]
        struct Inner {
            ratio: f64,
        }
        let message = error(&Outer { inner: Inner { ratio: f64::NAN } });
        assert!(message.contains("use an enum, or `Format::Msgpack` (at .inner.ratio)"), "{message}");
        assert!(error(&Some(None::<u8>)).starts_with("expected a value that is not stored as null"));
    }

    #[derive(Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Children(Vec<Tree>),
        Boxed(Box<Tree>),
        Pair(Box<Tree>, u8),
        Named { child: Box<Tree> },
        Maybe(Option<Box<Tree>>),
    }

    #[test]
    fn a_value_is_too_deep_if_the_formats_reader_refuses_it() {
        let wraps: [fn(Tree) -> Tree; 5] = [
            |tree| Tree::Children(vec![tree]),
            |tree| Tree::Boxed(Box::new(tree)),
            |tree| Tree::Pair(Box::new(tree), 1),
            |tree| Tree::Named { child: Box::new(tree) },
            |tree| Tree::Maybe(Some(Box::new(tree))),
        ];
        for wrap in wraps {
            let (mut tree, mut refused) = (Tree::Leaf, 0);
            for depth in 1..200 {
                tree = wrap(tree);
                let is_faithful = |format| fingerprint(&tree, format).is_ok();
                let is_readable = |format: Format| {
                    let mut raw = Vec::new();
                    format.write(&tree, &mut raw).is_ok() && format.read::<Tree>(&raw).is_ok()
                };
                assert_eq!(is_faithful(Format::Json), is_readable(Format::Json), "at {depth}");
                refused += u32::from(!is_faithful(Format::Json));
                #[cfg(feature = "msgpack")]
                assert!(!is_faithful(Format::Msgpack) || is_readable(Format::Msgpack), "at {depth}");
            }
            assert!(refused > 0);
        }
    }
}
