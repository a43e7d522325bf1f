//! A JSON value. The runtime parses the text, so the module needs no parser of its own.

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object's members, in their order.
    Object(Vec<(String, Json)>),
}

#[cfg(test)]
pub(crate) mod testing {
    use serde_json::Value;

    use super::Json;

    /// Parses a JSON text.
    #[track_caller]
    pub(crate) fn json(text: &str) -> Json {
        from_value(serde_json::from_str(text).unwrap())
    }

    fn from_value(value: Value) -> Json {
        match value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(value),
            Value::Number(number) => Json::Number(number.as_f64().unwrap()),
            Value::String(text) => Json::Text(text),
            Value::Array(items) => Json::List(items.into_iter().map(from_value).collect()),
            Value::Object(members) => {
                Json::Object(members.into_iter().map(|(name, value)| (name, from_value(value))).collect())
            }
        }
    }
}
