//! The figures of the fleet's processes: a sorted set of their names, by the time at which their
//! reports expire, and a key for each report, which expires unless the process publishes another.

use std::time::Duration;

use redis::Script;

use super::connection::Connection;
use super::to_millis;
use crate::error::StoreError;

/// The most processes whose reports are read.
const MAX_PROCESSES: usize = 10_000;
/// The reports read at a time.
const PAGE: usize = 100;

pub(super) struct Reports {
    /// The beginning of the reports' keys. They share a slot with the set.
    prefix: String,
    publish: Script,
}

impl Reports {
    pub(super) fn new(app: &str) -> Self {
        let publish = Script::new(concat!("#!lua\n", include_str!("lua/report.lua")));
        Self { prefix: format!("{app}:{{stats}}:"), publish }
    }

    pub(super) async fn publish(
        &self,
        connection: &Connection,
        process: &str,
        report: &str,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let mut call = self.publish.prepare_invoke();
        call.key(self.processes_key()).key(self.report_key(process));
        call.arg(process).arg(report).arg(to_millis(ttl));
        connection.run_script(&call).await
    }

    /// Returns the reports of the processes that have published one of late, by their names.
    pub(super) async fn all(&self, connection: &Connection) -> Result<Vec<String>, StoreError> {
        let mut range = redis::cmd("ZRANGE");
        let mut processes: Vec<String> =
            connection.run(range.arg(self.processes_key()).arg(0).arg(MAX_PROCESSES - 1)).await?;
        processes.sort_unstable();
        let mut reports = Vec::new();
        for page in processes.chunks(PAGE) {
            let mut reads = redis::pipe();
            page.iter().for_each(|process| {
                reads.get(self.report_key(process));
            });
            let page: Vec<Option<String>> = connection.run_pipeline(&reads).await?;
            reports.extend(page.into_iter().flatten());
        }
        Ok(reports)
    }

    fn processes_key(&self) -> String {
        format!("{}processes", self.prefix)
    }

    fn report_key(&self, process: &str) -> String {
        format!("{}of:{process}", self.prefix)
    }
}
