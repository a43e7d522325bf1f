//! Which stored response matches a request (RFC 9111 section 4.1), by two lookups: target key, then variant key.
//!
//! Under a URL's target key stands either the response itself (the origin sent no `Vary`) or a [`VaryMarker`] that names
//! the selecting fields; the response is then under the variant key, which spells their normalised values out. What
//! differs in a selecting field therefore has another key, and no stored request needs to be compared.

use http::{HeaderMap, HeaderName, header};
use shared_keys::{TargetKey, VariantKey, VaryFields};

use super::StoredResponse;

/// What the lookup of a request found.
#[derive(Debug, Clone, Copy)]
pub enum Selected<'a> {
    /// Nothing for the URI.
    UriMiss,
    /// A marker, and nothing under the variant key that it leads to.
    VaryMiss,
    /// A response for these selecting fields, fresh or not.
    Response(&'a StoredResponse),
}

/// What stands under the target key of a URL whose responses vary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaryMarker {
    /// The selecting fields of the latest response.
    pub fields: VaryFields,
    /// Ties variants to their marker: a variant of another generation is not selected. So removing the marker removes
    /// all variants, and writing a new one does not bring them back.
    pub generation: u64,
}

/// The selecting fields of a response: `None` if it may not be selected at all (`Vary: *`), empty if it does not vary.
pub fn vary_fields(headers: &HeaderMap) -> Option<VaryFields> {
    VaryFields::parse(headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok()))
}

/// The key of the variant that these request fields select.
pub fn variant_key(target: &TargetKey, fields: &VaryFields, request: &HeaderMap) -> VariantKey {
    VariantKey::new(target, fields, |name| combined(request, name))
}

/// All lines of a request field as one value; `None` if it is absent, which differs from empty.
fn combined(request: &HeaderMap, name: &str) -> Option<String> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let mut lines = request.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let first = lines.next()?.into_owned();
    Some(lines.fold(first, |all, line| all + ", " + &line))
}
