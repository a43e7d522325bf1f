//! Health: whether the process lives, and whether it can serve requests.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use super::Status;
use crate::probe::{self, IsolateState};

/// The result of a check.
pub(super) struct Health {
    /// Whether each isolate and the journal object answer.
    pub(super) is_ready: bool,
    members: Value,
}

impl Health {
    pub(super) fn json(&self) -> &Value {
        &self.members
    }
}

/// Probes all isolates and the journal object.
pub(super) async fn check(status: &Status) -> Health {
    let isolates = status.probes.isolates.iter().map(|socket| probe::isolate(socket));
    let (isolates, journal) = join(join_all(isolates), probe::journal(&status.probes.journal)).await;
    let process = &status.process;
    let is_ready = !process.is_stopping() && journal.is_ok() && isolates.iter().all(Result::is_ok);
    let mut reasons = Vec::new();
    if process.is_stopping() {
        reasons.push("it is stopping".to_owned());
    }
    if !process.is_running() {
        let end = process.last_end().unwrap_or_else(|| "workerd is not started yet".to_owned());
        reasons.push(end);
    }
    for (listen, isolate) in status.listen.iter().zip(&isolates) {
        match isolate {
            Ok(IsolateState::Healthy) => {}
            Ok(IsolateState::Faulty) => {
                reasons.push(format!("{listen}: its configuration is invalid in part: see the log"));
            }
            Err(error) => reasons.push(format!("{listen}: {error}")),
        }
    }
    if let Err(error) = &journal {
        reasons.push(format!("the journal object: {error}"));
    }
    let isolates: Vec<Value> = status
        .listen
        .iter()
        .zip(&isolates)
        .map(|(listen, isolate)| json!({ "listen": listen, "ready": isolate.is_ok() }))
        .collect();
    let members = json!({
        "live": true,
        "ready": is_ready,
        "reasons": reasons,
        "uptime_seconds": status.started.elapsed().as_secs(),
        "workerd": { "running": process.is_running(), "restarts": process.restarts() },
        "isolates": isolates,
        "journal": { "ready": journal.is_ok() },
    });
    Health { is_ready, members }
}
