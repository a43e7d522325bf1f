//! What a loader or writer may say of the value that it makes.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared_keys::{Lifetime, Tag};

/// A handle that a loader gets, to tag its value and to set its lifetime. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Load(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    tags: Vec<Tag>,
    lifetime: Option<Lifetime>,
}

impl Load {
    /// Tags the value: an invalidation of the tag covers it.
    pub fn tag(&self, tag: Tag) {
        self.said().tags.push(tag);
    }

    /// Gives the value this lifetime instead of its namespace's.
    pub fn lifetime(&self, lifetime: Lifetime) {
        self.said().lifetime = Some(lifetime);
    }

    pub(crate) fn take(&self) -> (Vec<Tag>, Option<Lifetime>) {
        let said = mem::take(&mut *self.said());
        (said.tags, said.lifetime)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
