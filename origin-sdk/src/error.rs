//! What can go wrong: building a cache, talking to a store, loading a value.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Any error, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A cache could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The Redis URL is malformed.
    #[error("redis: expected a URL such as redis://127.0.0.1:6379, got {url:?}")]
    RedisUrl {
        /// What was given, without user name and password.
        url: String,
        /// What the client says of it.
        source: redis::RedisError,
    },
    /// A URL of Redis over TLS is given, and the feature `tls` is off.
    #[cfg(not(feature = "tls"))]
    #[error("redis: rediss:// needs the feature `tls` of strata-origin-sdk")]
    TlsFeature,
    /// The edge URL is malformed.
    #[cfg(feature = "shipping")]
    #[error("edge: expected the worker's base URL such as https://shop.example, got {url:?}")]
    EdgeUrl {
        /// What was given.
        url: String,
    },
    /// A zone's ID is malformed.
    #[cfg(feature = "shipping")]
    #[error("zone: expected its ID of 32 hexadecimal digits, as its overview page shows it, got {id:?}")]
    ZoneId {
        /// What was given.
        id: String,
    },
    /// The base URL of the API of a zone is malformed.
    #[cfg(feature = "shipping")]
    #[error("zone: expected the API's base URL such as https://api.cloudflare.com/client/v4/, got {url:?}")]
    ZoneApi {
        /// What was given.
        url: String,
    },
    /// There is no such plan.
    #[cfg(feature = "shipping")]
    #[error("zone: expected the plan free, pro, business or enterprise, got {name:?}")]
    Plan {
        /// What was given.
        name: String,
    },
    /// An API token has characters that no token has.
    #[cfg(feature = "shipping")]
    #[error("zone: expected an API token of printable ASCII characters")]
    ApiToken,
    /// The client for the edge could not be set up.
    #[cfg(feature = "shipping")]
    #[error("edge: the HTTP client could not be set up")]
    EdgeClient(#[source] reqwest::Error),
    /// The app's name could not stand in a key.
    #[error("app: expected one or more of a-z 0-9 _ -, got {app:?}")]
    App {
        /// What was given.
        app: String,
    },
    /// A bound or time that must be more than zero is zero.
    #[error("{setting}: expected more than zero")]
    Zero {
        /// The setting's name.
        setting: &'static str,
    },
    /// A part of a whole is no such thing.
    #[error("{setting}: expected a part from 0.0 to 1.0, got {got}")]
    Part {
        /// The setting's name.
        setting: &'static str,
        /// What was given.
        got: f64,
    },
    /// The overall timeout would end every command before its own does.
    #[error("overall_timeout: expected at least the command timeout of {command:?}, got {overall:?}")]
    OverallTimeout {
        /// What was given.
        overall: std::time::Duration,
        /// What it is too short for.
        command: std::time::Duration,
    },
}

/// The failure of an administrative operation. Nothing was queued or changed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AdminError(AdminFailure);

/// The part of the system that an [`AdminError`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdminErrorKind {
    /// The settings are malformed, or they name no server.
    Settings,
    /// There is no such app; or none was named, and there is not exactly one.
    App,
    /// Redis failed or could not be reached.
    Store,
    /// The edge or its URL is at fault.
    Edge,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminFailure {
    #[error(transparent)]
    Settings(#[from] BuildError),
    #[error("expected a Redis, got the embedded topology")]
    NoServer,
    #[error("expected an app's journal in this Redis, found none: name the app, as `keys!` does")]
    NoApp,
    #[error("expected one app's journal in this Redis, found {}: name the app", .0.join(", "))]
    SeveralApps(Vec<String>),
    #[error("expected {0}'s journal in this Redis, found none: see whether the app's name is right")]
    NoJournal(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[cfg(feature = "shipping")]
    #[error("--edge: expected a URL of a response, got {url:?}: {why}")]
    EdgeUrl { url: String, why: String },
    #[cfg(feature = "shipping")]
    #[error("expected the worker's {member} in Cache-Status of {url}, got none: something else answers there")]
    NoEdge { url: String, member: &'static str },
    #[cfg(feature = "shipping")]
    #[error(transparent)]
    Edge(#[from] reqwest::Error),
}

impl AdminError {
    /// Returns which part of the system failed.
    #[must_use]
    pub fn kind(&self) -> AdminErrorKind {
        match &self.0 {
            AdminFailure::Settings(_) | AdminFailure::NoServer => AdminErrorKind::Settings,
            AdminFailure::NoApp | AdminFailure::NoJournal(_) | AdminFailure::SeveralApps(_) => AdminErrorKind::App,
            AdminFailure::Store(_) => AdminErrorKind::Store,
            #[cfg(feature = "shipping")]
            AdminFailure::EdgeUrl { .. } | AdminFailure::NoEdge { .. } | AdminFailure::Edge(_) => AdminErrorKind::Edge,
        }
    }
}

impl From<AdminFailure> for AdminError {
    fn from(failure: AdminFailure) -> Self {
        Self(failure)
    }
}

impl From<BuildError> for AdminError {
    fn from(error: BuildError) -> Self {
        Self(error.into())
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

/// A store could not do what it was asked. Reads go on inward, invalidations are queued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    #[error("redis failed: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("redis did not answer within {0:?}")]
    Timeout(std::time::Duration),
    #[error("redis failed a moment ago; the next attempt is due in {0:?}")]
    Unavailable(std::time::Duration),
    #[error("a fault was injected")]
    Injected,
    #[error("the journal holds what is no record: {0}")]
    Journal(#[from] shared_keys::ParseError),
}

/// A loader failed, and there was nothing stale that could be served instead. Cheap to clone: all waiters get the same.
#[derive(Debug, Clone)]
pub struct LoadError {
    kind: LoadErrorKind,
    source: Option<Arc<BoxError>>,
    /// How long was waited, where that was too long.
    timeout: Option<Duration>,
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// The loader returned an error.
    Failed,
    /// The loader panicked.
    Panicked,
    /// The load was not done within the namespace's timeout, and was given up.
    TimedOut,
}

impl LoadError {
    pub(crate) fn failed(source: BoxError) -> Self {
        Self { kind: LoadErrorKind::Failed, source: Some(Arc::new(source)), timeout: None }
    }

    pub(crate) fn panicked() -> Self {
        Self { kind: LoadErrorKind::Panicked, source: None, timeout: None }
    }

    pub(crate) fn timed_out(timeout: Duration) -> Self {
        Self { kind: LoadErrorKind::TimedOut, source: None, timeout: Some(timeout) }
    }

    /// Why there is no value.
    #[must_use]
    pub fn kind(&self) -> LoadErrorKind {
        self.kind
    }

    /// The loader's own error, if it is of this type.
    #[must_use]
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.source.as_deref().and_then(|source| source.downcast_ref())
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &self.source) {
            (LoadErrorKind::Failed, Some(source)) => write!(f, "the loader failed: {source}"),
            (LoadErrorKind::Failed, None) => f.write_str("the loader failed"),
            (LoadErrorKind::Panicked, _) => f.write_str("the loader panicked"),
            (LoadErrorKind::TimedOut, _) => {
                write!(f, "the load was not done within {:?}", self.timeout.unwrap_or_default())
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| &**source as _)
    }
}
