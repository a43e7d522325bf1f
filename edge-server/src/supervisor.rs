//! Keeps workerd running, and stops it in order.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::listeners::Listeners;
use crate::probe;
use crate::settings::Settings;
use crate::signals::StopSignals;
use crate::workerd::{self, Workerd};

/// The delay before the first restart. It doubles with each.
const MIN_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);
/// The time after which a workerd counts as stable, so that its end is followed by the shortest
/// delay.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Runs workerd.
pub(crate) struct Supervisor {
    /// The workerd program.
    pub(crate) program: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) listeners: Listeners,
    /// The folder of workerd's configuration and sockets.
    pub(crate) folder: PathBuf,
    /// The time that requests in flight get to end, once a signal arrives.
    pub(crate) stop_timeout: Duration,
    pub(crate) state: Arc<ProcessState>,
}

/// The state of the workerd process, for health and metrics.
#[derive(Default)]
pub(crate) struct ProcessState {
    is_running: AtomicBool,
    is_stopping: AtomicBool,
    restarts: AtomicU64,
    last_end: Mutex<Option<String>>,
}

impl Supervisor {
    /// Runs workerd until a signal arrives, and starts it again when it ends.
    ///
    /// # Errors
    /// If it cannot be started, or ends before it has ever answered: its configuration is then
    /// wrong. If a second signal cuts off its requests.
    pub(crate) async fn run(&self, signals: &mut StopSignals) -> Result<(), String> {
        workerd::write_files(&self.settings, &self.folder)?;
        let (mut delays, mut has_answered) = (Delays::default(), false);
        loop {
            let started = Instant::now();
            let end = match Workerd::start(&self.program, &self.settings, &self.listeners, &self.folder) {
                Err(error) => error,
                Ok(mut workerd) => {
                    self.state.is_running.store(true, Ordering::Relaxed);
                    tokio::select! {
                        end = self.watch(&mut workerd, &mut has_answered) => end,
                        () = signals.next() => return self.stop(workerd, signals).await,
                    }
                }
            };
            self.state.is_running.store(false, Ordering::Relaxed);
            if !has_answered {
                return Err(format!("{end}; its messages are above"));
            }
            let delay = delays.next(started.elapsed());
            eprintln!("strata-edge: {end}; starting it again in {} ms", delay.as_millis());
            self.state.note_end(end);
            tokio::select! {
                () = sleep(delay) => {}
                () = signals.next() => return Ok(()),
            }
        }
    }

    /// Waits until workerd ends, and returns the description. Notes whether it has answered.
    async fn watch(&self, workerd: &mut Workerd, has_answered: &mut bool) -> String {
        loop {
            tokio::select! {
                end = workerd.wait() => match end {
                    Ok(status) => return format!("workerd ended with {status}"),
                    Err(error) => return error,
                },
                () = probe::isolates_answer(&self.settings.probes), if !*has_answered => *has_answered = true,
            }
        }
    }

    /// Refuses new connections, and lets the requests in flight end.
    async fn stop(&self, mut workerd: Workerd, signals: &mut StopSignals) -> Result<(), String> {
        self.state.is_stopping.store(true, Ordering::Relaxed);
        workerd.request_stop();
        tokio::select! {
            end = workerd.wait() => end.map(|_| ()),
            () = self.listeners.refuse() => Ok(()),
            () = sleep(self.stop_timeout) => {
                let seconds = self.stop_timeout.as_secs();
                eprintln!("strata-edge: cutting off the requests that have not ended within {seconds} s");
                Ok(())
            }
            () = signals.next() => Err("a second signal has cut off the requests in flight".to_owned()),
        }
    }
}

impl ProcessState {
    pub(crate) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Relaxed)
    }

    /// Whether a signal to stop has arrived.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// The number of times that workerd has ended by itself.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// The description of the last end.
    pub(crate) fn last_end(&self) -> Option<String> {
        self.last_end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_end(&self, end: String) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        *self.last_end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }
}

/// The delays before restarts.
#[derive(Default)]
struct Delays {
    last: Option<Duration>,
}

impl Delays {
    /// Returns the delay after the end of a process that has run for this time.
    fn next(&mut self, run: Duration) -> Duration {
        let delay = match self.last {
            Some(last) if run < STABLE_AFTER => (last * 2).min(MAX_DELAY),
            _ => MIN_DELAY,
        };
        self.last = Some(delay);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_bound_and_begins_anew_after_a_stable_run() {
        let mut delays = Delays::default();
        let given: Vec<u128> = (0..9).map(|_| delays.next(Duration::ZERO).as_millis()).collect();
        assert_eq!(given, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(delays.next(STABLE_AFTER), MIN_DELAY);
        assert_eq!(delays.next(Duration::ZERO), MIN_DELAY * 2);
    }
}
