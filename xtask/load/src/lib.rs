//! The plan of a load, which `strata-load` reads, and the outcome, which it prints; both as JSON.

pub mod cache_status;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::cache_status::Layer;

/// A load: a fixed number of connections, each of which sends the next request once it has an
/// answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Hosts and ports, such as "127.0.0.1:4001". Request number `n` goes to target `n` modulo
    /// their number.
    pub targets: Vec<String>,
    /// Connections, and so requests in flight; at least 1.
    pub connections: usize,
    /// The time after which no request is sent, in milliseconds; `None` for no limit.
    pub limit_ms: Option<u64>,
    /// The requests, in order.
    pub operations: Vec<Operation>,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A `GET` of this path and query.
    Get(String),
    /// A `PUT` of a JSON body to this path.
    Put(String, String),
}

/// The measurements of a load.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Requests with an expected answer.
    pub answered: u64,
    /// From the first request to the last answer, in microseconds.
    pub duration_us: u64,
    /// The median duration of the answered requests, in microseconds.
    pub p50_us: u64,
    /// The 95th percentile, in microseconds.
    pub p95_us: u64,
    /// The 99th percentile, in microseconds.
    pub p99_us: u64,
    /// The processor time of the client itself, in microseconds; zero where the system does not
    /// say.
    pub client_us: u64,
    /// Answered reads by the layer that answered.
    pub layers: BTreeMap<Layer, u64>,
    /// The answered writes.
    pub writes: Vec<Write>,
    /// The first few failures.
    pub errors: Vec<String>,
    /// The number of all failures.
    pub error_count: u64,
}

/// An answered write.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Write {
    /// Its number in [`Plan::operations`].
    pub operation: usize,
    /// When it was sent, in microseconds since the load began.
    pub began_us: u64,
    /// When its answer was complete, in microseconds since the load began.
    pub ended_us: u64,
}
