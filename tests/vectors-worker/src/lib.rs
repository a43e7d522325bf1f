//! Checks `shared-keys` against golden vectors. The tests call [`check`] natively and, through a
//! worker in workerd, compiled to wasm. Both runs must give the same bytes.
//!
//! In: the text of a file of `tests/vectors`, whose README describes the form. Out: a [`Report`].

mod subject;

use serde_json::{Value, json};

pub use subject::evaluate;

/// The results of a file's cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The number of cases with the expected output.
    pub passed: usize,
    /// A message for each other case.
    pub failures: Vec<String>,
}

/// Evaluates each case of a file and compares its output.
///
/// # Errors
/// Fails if the file does not have the form that the README describes.
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

/// Returns the names and texts of the files of `tests/vectors`.
///
/// # Errors
/// Fails if they cannot be read.
#[cfg(not(target_arch = "wasm32"))]
pub fn files() -> std::io::Result<Vec<(String, String)>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let (path, name) =
            entry.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))?;
        if name.ends_with(".json") {
            files.push((name, std::fs::read_to_string(path)?));
        }
    }
    files.sort();
    Ok(files)
}

impl Report {
    /// Returns the report in the form of the worker's response.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "passed": self.passed, "failures": self.failures })
    }
}

/// Checks a file for the worker's JavaScript. Returns a report or `{"error":…}` as JSON.
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
        for malformed in
            ["", "[]", r#"{"subject":"slots","version":1}"#, &unknown, &case("").replace("key", "kay")]
        {
            assert!(check(malformed).is_err(), "{malformed}");
        }
    }
}
