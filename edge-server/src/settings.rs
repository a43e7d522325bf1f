//! The settings of one run, and the variables of wrangler.toml.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Value;

/// The settings of a workerd process.
pub(crate) struct Settings {
    /// The addresses and ports to listen on. Each is served by an isolate of its own.
    pub(crate) listen: Vec<String>,
    pub(crate) variables: Variables,
    /// The folder of `worker.js` and `build/`.
    pub(crate) worker: PathBuf,
    /// The module to run in place of `worker.js`, which it can import.
    pub(crate) entry: Option<PathBuf>,
    /// The folder of the journal object's database.
    pub(crate) data: PathBuf,
    /// The sockets of the cache services, one per data centre; at least one. The isolates are
    /// assigned to them in turn.
    pub(crate) caches: Vec<PathBuf>,
    /// The socket of the store that all data centres share, if there is one.
    pub(crate) shared_store: Option<PathBuf>,
    pub(crate) probes: Probes,
}

/// The sockets at which workerd answers probes.
#[derive(Debug, Clone)]
pub(crate) struct Probes {
    /// A socket per isolate, in the order of their addresses.
    pub(crate) isolates: Vec<PathBuf>,
    /// The socket of the service that calls the journal object.
    pub(crate) journal: PathBuf,
}

/// The worker's variables.
#[derive(Debug, PartialEq)]
pub(crate) struct Variables {
    /// The date that selects workerd's behaviour.
    pub(crate) compatibility_date: String,
    values: BTreeMap<String, Variable>,
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Variable {
    Text(String),
    /// A table, an array, a number or a truth value, as JSON.
    Json(String),
}

impl Variables {
    /// Reads `[vars]` and `compatibility_date` of a wrangler.toml.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(file).map_err(|error| format!("reading {}: {error}", file.display()))?;
        Self::parse(&text).map_err(|problem| format!("{}: {problem}", file.display()))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let config: toml::Table =
            text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let date = config.get("compatibility_date").and_then(Value::as_str);
        let date = date.ok_or("expected compatibility_date = \"YYYY-MM-DD\"")?;
        let vars = match config.get("vars") {
            None => &toml::Table::new(),
            Some(Value::Table(vars)) => vars,
            Some(_) => return Err("expected a table [vars]".to_owned()),
        };
        let values = vars.iter().map(|(name, value)| (name.clone(), Variable::from(value))).collect();
        Ok(Self { compatibility_date: date.to_owned(), values })
    }

    /// Sets a variable to a text.
    pub(crate) fn set(&mut self, name: &str, text: String) {
        self.values.insert(name.to_owned(), Variable::Text(text));
    }

    /// Sets a variable from `NAME:VALUE`.
    pub(crate) fn set_text(&mut self, variable: &str) -> Result<(), String> {
        match variable.split_once(':') {
            Some((name, text)) if !name.is_empty() => {
                self.set(name, text.to_owned());
                Ok(())
            }
            _ => Err("expected --var NAME:VALUE, such as SERVER_TIMING:1".to_owned()),
        }
    }

    /// Returns the variables in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Variable)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl From<&Value> for Variable {
    fn from(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.clone()),
            other => Self::Json(json(other).to_string()),
        }
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(values) => values.iter().map(json).collect(),
        Value::Table(table) => table.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts_and_everything_else_becomes_json() {
        let text =
            "compatibility_date = \"2026-11-01\"\n[vars]\nA = \"1\"\nB = 2\n[[vars.RULES]]\npath = \"/a\"\n";
        let variables = Variables::parse(text).unwrap();
        let values: Vec<_> = variables.iter().map(|(name, value)| (name, value.clone())).collect();
        assert_eq!(
            values,
            [
                ("A", Variable::Text("1".to_owned())),
                ("B", Variable::Json("2".to_owned())),
                ("RULES", Variable::Json(r#"[{"path":"/a"}]"#.to_owned())),
            ]
        );
    }

    #[test]
    fn a_variable_of_the_command_line_replaces_that_of_the_file() {
        let mut variables = Variables::parse("compatibility_date = \"d\"\n[vars]\nA = 1\n").unwrap();
        variables.set_text("A:x:y").unwrap();
        assert_eq!(variables.iter().collect::<Vec<_>>(), [("A", &Variable::Text("x:y".to_owned()))]);
        assert!(variables.set_text("A").is_err() && variables.set_text(":x").is_err());
    }

    #[test]
    fn a_file_without_a_date_is_an_error_that_names_it() {
        assert!(Variables::parse("name = \"a\"").unwrap_err().contains("compatibility_date"));
        assert!(Variables::parse("compatibility_date = \"d\"\nvars = 1").unwrap_err().contains("[vars]"));
    }
}
