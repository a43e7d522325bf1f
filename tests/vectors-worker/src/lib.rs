//! Checks `shared-keys` against golden vectors. The tests call [`check`] natively and, through a worker in workerd, the
//! same function compiled to wasm; so both sides of the cache are shown to agree on the same bytes.
//!
//! In: the text of a file of `tests/vectors` (its README has the form). Out: a [`Report`].

mod subject;

use serde_json::{Value, json};

pub use subject::evaluate;

/// What became of a file's cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many gave the output that they name.
    pub passed: usize,
    /// Of the others, what was wrong.
    pub failures: Vec<String>,
}

/// Evaluates each case of a file and compares its output.
///
/// # Errors
/// If the file is not of the form that the README gives.
pub fn check(file: &str) -> Result<Report, String> {
    let file: Value = serde_json::from_str(file).map_err(|error| format!("expected JSON: {error}"))?;
    let (Some(subject), Some(version), Some(cases)) =
        (file["subject"].as_str(), file["version"].as_u64(), file["cases"].as_array())
    else {
        return Err(r#"expected {"subject":…,"version":…,"cases":[…]}"#.to_owned());
    };
    let mut report = Report { passed: 0, failures: Vec::new() };
    for (number, case) in cases.iter().enumerate() {
        let (input, expected) = (&case["input"], case.get("output"));
        let output = evaluate(subject, version, input)
            .map_err(|error| format!("{subject} {version}, case {number}, {input}: {error}"))?;
        if expected == Some(&output) {
            report.passed += 1;
        } else {
            let expected = expected.map_or_else(|| "nothing".to_owned(), Value::to_string);
            report.failures.push(format!("case {number}, {input}: expected {expected}, got {output}"));
        }
    }
    Ok(report)
}

/// The files of `tests/vectors`: names and texts.
///
/// # Errors
/// If they cannot be read.
#[cfg(not(target_arch = "wasm32"))]
pub fn files() -> std::io::Result<Vec<(String, String)>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))?;
        if name.ends_with(".json") {
            files.push((name, std::fs::read_to_string(path)?));
        }
    }
    files.sort();
    Ok(files)
}

impl Report {
    /// As the worker answers it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "passed": self.passed, "failures": self.failures })
    }
}

/// What the worker's JavaScript calls: a file's text → a report, or `{"error":…}`, as JSON.
#[cfg(target_arch = "wasm32")]
#[wasm_bindgen::prelude::wasm_bindgen(js_name = check)]
#[must_use]
pub fn check_json(file: &str) -> String {
    check(file).map_or_else(|error| json!({ "error": error }), |report| report.to_json()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vector_holds_natively() {
        let mut wrong = Vec::new();
        for (name, file) in files().unwrap() {
            let report = check(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(report.passed + report.failures.len() > 0, "{name} has no cases");
            wrong.extend(report.failures.iter().map(|failure| format!("{name}, {failure}")));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_wrong_vector_is_a_failure_and_a_malformed_file_an_error() {
        let case = |output: &str| {
            format!(r#"{{"subject":"slots","version":1,"cases":[{{"input":{{"key":"foo"}}{output}}}]}}"#)
        };
        assert_eq!(check(&case(r#","output":12182"#)), Ok(Report { passed: 1, failures: vec![] }));
        for wrong in [r#","output":12183"#, r#","output":null"#, ""] {
            assert_eq!(check(&case(wrong)).unwrap().failures.len(), 1, "{wrong}");
        }
        let unknown = case("").replace("slots", "spots");
        for malformed in ["", "[]", r#"{"subject":"slots","version":1}"#, &unknown, &case("").replace("key", "kay")] {
            assert!(check(malformed).is_err(), "{malformed}");
        }
    }
}
