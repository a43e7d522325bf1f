//! A value in the JSON of rules, with its location for error messages.

use std::time::Duration;

use http::HeaderName;
use shared_keys::{Normaliser, ParseError};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::glob::Glob;
use crate::error::{Error, ErrorKind};
use crate::json::Json;

/// The longest lifetime in seconds: a year.
const MAX_SECS: f64 = 365.0 * 24.0 * 60.0 * 60.0;

/// The last part of each error message: where to find the format.
pub(super) const MEND: &str = "see the rules in edge-worker/README.md";

pub(super) type Read<T> = Result<T, Error>;

/// A JSON value and its location.
pub(super) struct Place<'a> {
    pub(super) path: String,
    pub(super) value: &'a Json,
}

impl<'a> Place<'a> {
    pub(super) fn members(&self) -> Read<Vec<(&'a str, Self)>> {
        let Json::Object(members) = self.value else { return Err(self.wrong("an object")) };
        let mut places = Vec::with_capacity(members.len());
        for (name, value) in members {
            places.push((name.as_str(), Self { path: format!("{}.{name}", self.path), value }));
        }
        Ok(places)
    }

    pub(super) fn items(&self) -> Read<Vec<Self>> {
        let Json::List(items) = self.value else { return Err(self.wrong("an array")) };
        let mut places = Vec::with_capacity(items.len());
        for (index, value) in items.iter().enumerate() {
            places.push(Self { path: format!("{}[{index}]", self.path), value });
        }
        Ok(places)
    }

    pub(super) fn text(&self) -> Read<&'a str> {
        match self.value {
            Json::Text(text) if !text.is_empty() => Ok(text),
            _ => Err(self.wrong("a text")),
        }
    }

    /// Returns a single text as a list, or a list of texts.
    pub(super) fn texts(&self) -> Read<Vec<&'a str>> {
        if matches!(self.value, Json::Text(_)) {
            return Ok(vec![self.text()?]);
        }
        let mut texts = Vec::new();
        for item in self.items()? {
            texts.push(item.text()?);
        }
        Ok(texts)
    }

    pub(super) fn globs(&self) -> Read<Vec<Glob>> {
        Ok(self.texts()?.into_iter().map(Glob::new).collect())
    }

    pub(super) fn field_names(&self) -> Read<Vec<HeaderName>> {
        self.texts()?.into_iter().map(|text| self.field_name(text)).collect()
    }

    pub(super) fn field_name(&self, text: &str) -> Read<HeaderName> {
        text.parse().map_err(|_| self.wrong("the name of a field"))
    }

    pub(super) fn cookie_name(&self, text: &str) -> Read<Box<str>> {
        Normaliser::cookies([text]).map_err(|error| self.rejected(&error))?;
        Ok(text.into())
    }

    /// Returns a hash of the value as it is written.
    pub(super) fn hash(&self) -> u64 {
        fn text_of(value: &Json, text: &mut String) {
            match value {
                Json::Null => text.push('n'),
                Json::Bool(value) => text.push(if *value { 't' } else { 'f' }),
                Json::Number(value) => text.push_str(&value.to_string()),
                Json::Text(value) => quote(value, text),
                Json::List(items) => {
                    text.push('[');
                    items.iter().for_each(|item| text_of(item, text));
                    text.push(']');
                }
                Json::Object(members) => {
                    text.push('{');
                    for (name, value) in members {
                        quote(name, text);
                        text_of(value, text);
                    }
                    text.push('}');
                }
            }
        }
        fn quote(value: &str, text: &mut String) {
            text.push_str(&value.len().to_string());
            text.push(':');
            text.push_str(value);
        }
        let mut text = String::new();
        text_of(self.value, &mut text);
        xxh3_64_with_seed(text.as_bytes(), 0)
    }

    pub(super) fn boolean(&self) -> Read<bool> {
        match self.value {
            Json::Bool(value) => Ok(*value),
            _ => Err(self.wrong("true or false")),
        }
    }

    pub(super) fn seconds(&self) -> Read<Duration> {
        match self.value {
            Json::Number(secs) if (0.0..=MAX_SECS).contains(secs) && secs.trunc() == *secs => {
                Ok(Duration::from_secs_f64(*secs))
            }
            _ => Err(self.wrong("whole seconds from 0 to 31536000 (a year)")),
        }
    }

    pub(super) fn unknown(&self) -> Error {
        self.error("no such member: correct its name or remove it")
    }

    pub(super) fn rejected(&self, error: &ParseError) -> Error {
        self.error(&error.to_string())
    }

    pub(super) fn wrong(&self, expected: &str) -> Error {
        let actual = match self.value {
            Json::Null => "null".to_owned(),
            Json::Bool(value) => value.to_string(),
            Json::Number(value) => value.to_string(),
            Json::Text(text) => format!("\"{}\"", text.chars().take(64).collect::<String>()),
            Json::List(items) => format!("an array of {} items", items.len()),
            Json::Object(members) => format!("an object of {} members", members.len()),
        };
        self.error(&format!("expected {expected}, got {actual}"))
    }

    pub(super) fn error(&self, text: &str) -> Error {
        Error::new(ErrorKind::Config, format!("{}: {text}; {MEND}", self.path))
    }
}
