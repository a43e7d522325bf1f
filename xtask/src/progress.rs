//! What a long step shows while it runs: a spinner on a terminal, else a line when it begins and one when it is done.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A step that is under way. Dropped before it is done, it just disappears.
pub(crate) struct Progress {
    what: String,
    since: Instant,
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// Shows the step; `what` reads like "installing worker-build 0.8.7", `hint` like "takes about 5 min".
    pub(crate) fn start(what: impl Into<String>, hint: Option<&str>) -> Self {
        let what = what.into();
        let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        let spinner = std::io::stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner().with_message(format!("{what}{hint} …"));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        if spinner.is_none() {
            eprintln!("{what}{hint} …");
        }
        Self { what, since: Instant::now(), spinner }
    }

    /// Ends the step and leaves a line with its time.
    pub(crate) fn done(self) {
        let took = human(self.since.elapsed());
        match &self.spinner {
            Some(spinner) => {
                spinner.finish_and_clear();
                eprintln!("{}: done in {took}", self.what);
            }
            None => eprintln!("  done in {took}"),
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

/// A duration as people say it: "0.4 s", "12 s", "3m 12s".
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
    fn times_read_like_people_say_them() {
        assert_eq!(human(Duration::from_millis(430)), "0.4 s");
        assert_eq!(human(Duration::from_secs(12)), "12 s");
        assert_eq!(human(Duration::from_secs(192)), "3m 12s");
    }
}
