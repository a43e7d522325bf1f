//! The errors of building a cache, of its stores, of administration, and of loads.

mod load;

pub(crate) use self::load::Work;
pub use self::load::{LoadError, LoadErrorKind};

/// An error of any type, boxed: what a loader returns.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A setting of a cache is malformed; the message names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The Redis URL is malformed.
    #[error("redis: expected a URL such as redis://127.0.0.1:6379: {problem}")]
    RedisUrl {
        /// Which part is wrong and how to correct it. Shows nothing of the URL.
        problem: &'static str,
    },
    /// The URL of sentinels is malformed.
    #[error(
        "redis: expected a URL of sentinels such as redis+sentinel://host1,host2,host3/mymaster: {problem}"
    )]
    SentinelUrl {
        /// Which part is wrong and how to correct it. Shows nothing of the URL.
        problem: &'static str,
    },
    /// A URL over TLS is given, and the feature `tls` is off.
    #[cfg(not(feature = "tls"))]
    #[error(
        "{setting}: expected a URL without TLS, got {scheme}://: turn on the feature `tls` of strata-origin-sdk"
    )]
    TlsFeature {
        /// The setting: `redis`, `edge` or `zone`.
        setting: &'static str,
        /// The scheme of the URL: `rediss` or `https`.
        scheme: &'static str,
    },
    /// The edge URL is malformed.
    #[cfg(feature = "shipping")]
    #[error("edge: expected the worker's base URL such as https://shop.example: {problem}")]
    EdgeUrl {
        /// Which part is wrong and how to correct it. Shows nothing of the URL.
        problem: &'static str,
    },
    /// A zone's ID is malformed.
    #[cfg(feature = "shipping")]
    #[error(
        "zone: expected its ID of 32 hexadecimal digits, as its overview page shows it, got {length} characters that are no such ID"
    )]
    ZoneId {
        /// The length of the given text, in characters. The text is not shown, as it may be a token
        /// in the wrong place.
        length: usize,
    },
    /// The base URL of the API of a zone is malformed.
    #[cfg(feature = "shipping")]
    #[error("zone: expected the API's base URL such as https://api.cloudflare.com/client/v4/: {problem}")]
    ZoneApi {
        /// Which part is wrong and how to correct it. Shows nothing of the URL.
        problem: &'static str,
    },
    /// The name is not one of a plan.
    #[cfg(feature = "shipping")]
    #[error(
        "zone: expected the plan free, pro, business or enterprise, got {length} characters that name none"
    )]
    Plan {
        /// The length of the given text, in characters. The text is not shown, as it may be a token
        /// in the wrong place.
        length: usize,
    },
    /// An API token is empty or has characters that no token has.
    #[cfg(feature = "shipping")]
    #[error("zone: expected an API token of printable ASCII characters")]
    ApiToken,
    /// The HTTP client for the edge could not be built.
    #[cfg(feature = "shipping")]
    #[error("edge: the HTTP client could not be built")]
    EdgeClient(#[source] reqwest::Error),
    /// The app's name cannot be part of a key.
    #[error("app: expected one or more of a-z 0-9 _ -, got {app:?}")]
    App {
        /// The given name.
        app: String,
    },
    /// The environment's name cannot be part of a key in Redis.
    #[error("environment: expected one or more of a-z 0-9 _ -, got {environment:?}")]
    Environment {
        /// The given name.
        environment: String,
    },
    /// A setting that must be more than zero is zero.
    #[error("{setting}: expected more than zero")]
    Zero {
        /// The setting's name.
        setting: &'static str,
    },
    /// A fraction is outside `0.0..=1.0`.
    #[error("{setting}: expected a fraction from 0.0 to 1.0, got {got}")]
    Fraction {
        /// The setting's name.
        setting: &'static str,
        /// The given number.
        got: f64,
    },
    /// The durable queue cannot be read, so invalidations of an earlier run may be lost.
    #[error("durable_queue: expected the invalidations of an earlier run: {0}")]
    DurableQueue(#[source] BoxError),
    /// A namespace of the key type was built before, with other settings.
    #[error(
        "namespace of {name}: expected the settings of its first build, since both share their loads: \
         {differences}: give both the same settings, or build it once and clone it"
    )]
    Namespace {
        /// The key type's name.
        name: &'static str,
        /// The settings that differ, with the text of both.
        differences: String,
    },
    /// The overall timeout is shorter than the command timeout, and would end every command first.
    #[error("overall_timeout: expected at least the command timeout of {command:?}, got {overall:?}")]
    OverallTimeout {
        /// The given overall timeout.
        overall: std::time::Duration,
        /// The command timeout.
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
    #[error(
        "expected an app's journal in this Redis, found none: name the app, as `keys!` does, and its environment"
    )]
    NoApp,
    #[error("expected one app's journal in this Redis, found {}: name the app", .0.join(", "))]
    SeveralApps(Vec<String>),
    #[error("expected {0}'s journal in this Redis, found none: see whether the app's name is right")]
    NoJournal(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[cfg(feature = "shipping")]
    #[error("--edge: expected the URL of a response, such as https://shop.example/: {0}")]
    EdgeUrl(&'static str),
    #[cfg(feature = "shipping")]
    #[error(
        "expected the worker's {member} in Cache-Status of {url}, got none: something else answers there"
    )]
    NoEdge { url: String, member: &'static str },
    #[cfg(feature = "shipping")]
    #[error(transparent)]
    Edge(reqwest::Error),
}

impl AdminError {
    /// Returns which part of the system failed.
    #[must_use]
    pub fn kind(&self) -> AdminErrorKind {
        match &self.0 {
            AdminFailure::Settings(_) | AdminFailure::NoServer => AdminErrorKind::Settings,
            AdminFailure::NoApp | AdminFailure::NoJournal(_) | AdminFailure::SeveralApps(_) => {
                AdminErrorKind::App
            }
            AdminFailure::Store(_) => AdminErrorKind::Store,
            #[cfg(feature = "shipping")]
            AdminFailure::EdgeUrl(_) | AdminFailure::NoEdge { .. } | AdminFailure::Edge(_) => {
                AdminErrorKind::Edge
            }
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

/// A store operation failed. Reads go on to the next layer, invalidations are queued.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    #[error("redis failed: {0}")]
    Redis(#[from] redis::RedisError),
    /// The connection's setup failed, with a message from which the credentials are removed.
    #[error("redis failed: {0}")]
    Setup(String),
    /// The sentinels name no primary.
    #[error("{0}")]
    Sentinels(String),
    #[error(
        "the record is in effect, but a failover may lose it: expected all {expected} replicas to have it within {timeout:?}, got {got}: append it again"
    )]
    NotReplicated { expected: usize, got: usize, timeout: std::time::Duration },
    #[error("expected a primary at {address}, which the sentinels name, got a replica")]
    NoPrimary { address: String },
    #[error("redis did not answer within {0:?}")]
    Timeout(std::time::Duration),
    #[error("redis failed a short while ago; the next attempt is due in {0:?}")]
    Unavailable(std::time::Duration),
    #[error("the value has {0} bytes, more than the store takes")]
    TooLarge(usize),
    #[error("redis returned or received only a part of the values")]
    Incomplete,
    #[error("a fault was injected")]
    Injected,
    #[error("the journal holds an entry that is not a record: {0}")]
    Journal(#[from] shared_keys::ParseError),
}
