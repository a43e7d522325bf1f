//! The error that stops a command: what is wrong and, where possible, how to mend it.

use std::fmt;

/// A failure, and how to mend it. Displayed as one line.
#[derive(Debug)]
pub struct Error {
    problem: String,
    remedy: Option<String>,
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without a remedy.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: None }
    }

    /// Adds what the reader can do about it, as an imperative ("install Node.js").
    #[must_use]
    pub fn mend(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages of other programs can span lines, and readers grep for single ones.
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        f.write_str(&one_line(&self.problem))?;
        match &self.remedy {
            Some(remedy) => write!(f, "; to mend it: {}", one_line(remedy)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Turns a foreign error into an [`Error`].
pub trait Context<T> {
    /// Puts the failed activity ("reading Cargo.lock") before the foreign error and its causes.
    ///
    /// # Errors
    /// If the result is one.
    fn context(self, activity: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error> Context<T> for Result<T, E> {
    fn context(self, activity: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let mut problem = format!("{}: {error}", activity());
            let mut source = error.source();
            while let Some(cause) = source {
                problem.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            Error::new(problem)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_remedy() {
        let error = Error::new("npm is not\n  installed").mend("install Node.js");
        assert_eq!(error.to_string(), "npm is not installed; to mend it: install Node.js");
    }

    #[test]
    fn a_foreign_error_follows_the_failed_activity() {
        let missing = std::fs::read("/nowhere/at/all").context(|| "reading the lock".to_owned());
        assert!(missing.unwrap_err().to_string().starts_with("reading the lock: "));
    }
}
