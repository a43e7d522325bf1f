//! The Cloudflare zone whose purge API an invalidation is also sent to.

pub use crate::shipping::{ApiToken, Plan, Zone};
