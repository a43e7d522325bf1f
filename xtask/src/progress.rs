//! Progress of long steps: one spinner per running step on a terminal, otherwise a line when a step
//! begins and a line when it is done.

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Steps that run side by side have a line each.
static SPINNERS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A running step. Its line disappears if it is dropped before it is done.
pub(crate) struct Progress {
    step: String,
    since: Instant,
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// Shows that the step begins. `step` reads like "building the shop", `usual_time` like "2
    /// min".
    pub(crate) fn start(step: impl Into<String>, usual_time: Option<&str>) -> Self {
        let step = step.into();
        let usual = usual_time.map(|time| format!(" (usually {time})")).unwrap_or_default();
        let spinner = std::io::stderr().is_terminal().then(|| {
            let spinner = SPINNERS.add(ProgressBar::new_spinner().with_prefix(format!("{step}{usual}")));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        if spinner.is_none() {
            eprintln!("{step}{usual} …");
        }
        Self { step, since: Instant::now(), spinner }
    }

    /// Shows the last line of the step's output, on a terminal only.
    pub(crate) fn show_output(&self, line: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(line.trim().to_owned());
        }
    }

    /// Ends the step and leaves a line with its time.
    pub(crate) fn done(self) {
        let line = format!("{}: done in {}", self.step, human(self.since.elapsed()));
        match &self.spinner {
            Some(spinner) => {
                spinner.finish_and_clear();
                // Above the spinners of the steps that still run.
                SPINNERS.suspend(|| eprintln!("{line}"));
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// Renders a duration for people: "0.4 s", "12 s", "3m 12s".
pub(crate) fn human(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        secs @ 10..60 => format!("{secs} s"),
        secs => format!("{}m {:02}s", secs / 60, secs % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_naturally() {
        assert_eq!(human(Duration::from_millis(430)), "0.4 s");
        assert_eq!(human(Duration::from_secs(12)), "12 s");
        assert_eq!(human(Duration::from_secs(192)), "3m 12s");
    }
}
