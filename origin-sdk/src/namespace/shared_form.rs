//! The form in which values reach the tier that processes share.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Codec, Decoded, Encoded};
use crate::entry::Meta;
use crate::error::BoxError;

/// Encodes and decodes the values of a namespace. Values in memory alone need neither, so their
/// types need not be known to serde.
pub(crate) struct SharedForm<V> {
    pub(super) encode: fn(Codec, &Meta, &V) -> Result<Encoded<V>, BoxError>,
    pub(super) decode: fn(&[u8], usize) -> Option<Decoded<V>>,
}

impl<V: Serialize + DeserializeOwned> SharedForm<V> {
    pub(crate) fn new() -> Self {
        Self { encode: Codec::encode, decode: codec::decode }
    }
}
