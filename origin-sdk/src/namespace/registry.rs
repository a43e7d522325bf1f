//! The namespaces that a cache has built. Namespaces of one key type share their loads and limits,
//! however often they are built.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use shared_keys::Key;

use crate::error::BuildError;

/// The settings of a namespace, as their names and texts.
pub(super) type Settings = Vec<(&'static str, String)>;

/// The text that the keys of a type begin with, and their template. Two key types that agree in
/// both render the same keys.
type Keys = (&'static str, &'static str);

/// The namespaces by their keys.
#[derive(Default)]
pub(crate) struct Registry(Mutex<HashMap<Keys, Registered>>);

struct Registered {
    settings: Settings,
    /// The shared part of the namespaces, an `Inner<V>`.
    shared: Arc<dyn Any + Send + Sync>,
}

impl Registry {
    /// Returns the shared part of the namespaces of `K`, which `build` builds the first time.
    ///
    /// # Errors
    /// [`BuildError::Namespace`] if an earlier build had other settings. These include the type of
    /// the values.
    pub(super) fn shared<K: Key, T: Any + Send + Sync>(
        &self,
        settings: &Settings,
        build: impl FnOnce() -> Arc<T>,
    ) -> Result<Arc<T>, BuildError> {
        let mut namespaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let registered = namespaces
            .entry((K::HEAD, K::TEMPLATE))
            .or_insert_with(|| Registered { settings: settings.clone(), shared: build() });
        let differences = differences(&registered.settings, settings);
        match Arc::clone(&registered.shared).downcast() {
            Ok(shared) if differences.is_empty() => Ok(shared),
            _ => Err(BuildError::Namespace { name: K::NAME, differences }),
        }
    }
}

/// Returns the settings that differ, as one text.
fn differences(first: &Settings, now: &Settings) -> String {
    let differing = first.iter().zip(now).filter(|(first, now)| first != now);
    let texts = differing.map(|((name, first), (_, now))| format!("{name}: expected {first}, got {now}"));
    texts.collect::<Vec<_>>().join("; ")
}
