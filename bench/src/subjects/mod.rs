//! The caches that are measured, behind one trait.

pub(crate) mod article;
#[cfg(feature = "peers")]
pub(crate) mod peers;
mod strata;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::strata::{Group, Page, Part, Strata};

/// A cached value.
pub(crate) type Value = String;

/// A cache that is measured.
pub(crate) trait Subject: Sync {
    /// Creates a cache that holds this many entries.
    fn with_entries(entries: usize) -> Self;

    /// Runs a task that uses the cache, in the caller's thread.
    fn run<T>(&self, task: impl Future<Output = T>) -> T {
        futures_util::FutureExt::now_or_never(task).expect("the peers wait for nothing")
    }

    /// Returns the value of `page:{id}`, from the cache or else from a loader that has it at once.
    /// A cache with text keys renders the key into `key`, so that no read allocates.
    fn get_or_load(&self, id: u64, key: &mut String) -> impl Future<Output = Arc<Value>>;

    /// Reads `page:{id}`. Returns whether memory had it.
    async fn is_hit(&self, id: u64, key: &mut String) -> bool {
        let before = LOADS.load(Ordering::Relaxed);
        self.get_or_load(id, key).await;
        LOADS.load(Ordering::Relaxed) == before
    }

    /// Replaces the value of `page:{id}`.
    fn put(&self, id: u64, key: &mut String) -> impl Future<Output = ()>;
}

/// Calls a generic function for the subject of this name.
#[macro_export]
macro_rules! for_subject {
    ($name:expr, $function:ident($($argument:expr),*)) => {
        match $name {
            "strata" => Some($function::<$crate::subjects::Strata<true>>($($argument),*)),
            "strata_memory" => Some($function::<$crate::subjects::Strata<false>>($($argument),*)),
            #[cfg(feature = "peers")]
            "quick_cache" => Some($function::<$crate::subjects::peers::QuickCache>($($argument),*)),
            #[cfg(feature = "peers")]
            "quick_cache_async" => Some($function::<$crate::subjects::peers::QuickCacheAsync>($($argument),*)),
            #[cfg(feature = "peers")]
            "moka" => Some($function::<$crate::subjects::peers::Moka>($($argument),*)),
            #[cfg(feature = "peers")]
            "foyer" => Some($function::<$crate::subjects::peers::Foyer>($($argument),*)),
            #[cfg(feature = "peers")]
            "lru" => Some($function::<$crate::subjects::peers::Lru>($($argument),*)),
            _ => None,
        }
    };
}

/// The names of all subjects.
pub(crate) const NAMES: &[&str] = &[
    "strata",
    "strata_memory",
    #[cfg(feature = "peers")]
    "quick_cache",
    #[cfg(feature = "peers")]
    "quick_cache_async",
    #[cfg(feature = "peers")]
    "moka",
    #[cfg(feature = "peers")]
    "foyer",
    #[cfg(feature = "peers")]
    "lru",
];

/// The number of loads so far, of all caches.
static LOADS: AtomicU64 = AtomicU64::new(0);

/// Returns the value of a key, as a loader would. It costs little beside the caches themselves.
fn load(id: u64) -> Value {
    LOADS.fetch_add(1, Ordering::Relaxed);
    let digit = (id % 10) as usize;
    LETTERS[digit..digit + VALUE_BYTES].to_owned()
}

/// The bytes of a value's text.
pub(crate) const VALUE_BYTES: usize = 100;

/// The values are parts of this.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\
                       abcdefghijklmnopqrstuvwxyzabcdefgh";

/// Renders the key of a cache with text keys.
#[cfg(feature = "peers")]
fn render(id: u64, key: &mut String) {
    use std::fmt::Write;

    key.clear();
    // Writing to a `String` does not fail.
    let _ = write!(key, "page:{id}");
}
