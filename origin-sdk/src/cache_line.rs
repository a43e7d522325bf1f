//! Values that do not share a cache line with others.

use std::ops::Deref;

/// A value in cache lines of its own. A core that writes it then does not slow down others that
/// read what would be beside it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct OwnLine<T>(T);

impl<T> Deref for OwnLine<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
