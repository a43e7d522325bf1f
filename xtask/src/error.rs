//! Why a command stopped: one line that says what is wrong and, where something can be done, how to mend it.

use std::fmt;

/// Says what is wrong and how to mend it, in one line.
#[derive(Debug)]
pub(crate) struct Error {
    wrong: String,
    mend: Option<String>,
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(wrong: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), mend: None }
    }

    pub(crate) fn mend(self, how: impl Into<String>) -> Self {
        Self { mend: Some(how.into()), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Causes come from other programs and may span lines; people grep and quote single ones.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        f.write_str(&words(&self.wrong))?;
        match &self.mend {
            Some(how) => write!(f, "; to mend it: {}", words(how)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Puts what was being done in front of a foreign error.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let mut wrong = format!("{}: {error}", what());
            let mut source = error.source();
            while let Some(cause) = source {
                wrong.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            Error::new(wrong)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_the_way_to_mend_it() {
        let error = Error::new("npm is not\n  installed").mend("install Node.js");
        assert_eq!(error.to_string(), "npm is not installed; to mend it: install Node.js");
    }

    #[test]
    fn a_foreign_error_says_what_was_being_done() {
        let missing = std::fs::read("/nowhere/at/all").doing(|| "reading the lock".to_owned());
        assert!(missing.unwrap_err().to_string().starts_with("reading the lock: "));
    }
}
