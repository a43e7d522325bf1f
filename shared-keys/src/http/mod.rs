//! HTTP fields and URLs, which origin and edge must read alike.

mod content;
mod cookies;
mod directives;
mod entity_tag;
mod field_lists;
mod lifetime;
mod misplaced;
mod negotiate;
mod no_vary_search;
mod normaliser;
mod percent;
mod query;
pub(crate) mod structured_fields;
mod target;
mod variant;

pub use content::ContentHash;
pub use cookies::{ANONYMOUS_COOKIES, has_identifying_cookie};
pub use directives::{Directives, MAX_DELTA, cache_directives, delta_seconds};
pub use entity_tag::{EntityTag, lists_entity_tag};
pub use field_lists::split_list;
pub use lifetime::Lifetime;
pub use no_vary_search::NoVarySearch;
pub use normaliser::Normaliser;
pub use query::{QueryRules, RESERVED_PREFIX};
pub use target::TargetKey;
pub use variant::{VariantKey, VaryFields, VaryRules};
