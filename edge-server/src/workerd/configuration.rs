//! The configuration of workerd, in Cap'n Proto's text form.

use std::fmt::Write;
use std::path::Path;

use super::PROBE;
use crate::settings::{Settings, Variable};

/// The binding of the journal object.
const JOURNAL: &str =
    r#"(name = "JOURNAL", durableObjectNamespace = (className = "JournalObject", serviceName = "journal"))"#;

/// Returns the configuration in Cap'n Proto's text form.
///
/// Each isolate is a service with a socket of its own, and one for probes. The journal object has a
/// service of its own, to which all isolates are bound. So is the service that probes it.
pub(super) fn configuration(settings: &Settings, modules: &[(String, &str)], secrets: &[&str]) -> String {
    let modules: Vec<String> = modules
        .iter()
        .map(|(name, kind)| format!("(name = {0}, {kind} = embed {0})", quoted(name)))
        .collect();
    let (mut services, mut sockets, mut workers) = (String::new(), String::new(), String::new());
    for (number, socket) in settings.caches.iter().enumerate() {
        let address = quoted(&unix(socket));
        let _ = writeln!(
            services,
            r#"    (name = "cache-{number}", external = (address = {address}, http = (style = proxy))),"#
        );
    }
    if let Some(socket) = &settings.shared_store {
        let address = quoted(&unix(socket));
        let _ = writeln!(services, r#"    (name = "shared", external = (address = {address}, http = ())),"#);
    }
    let mut socket = |name: &str, address: &str, service: &str| {
        let address = quoted(address);
        let _ = writeln!(
            sockets,
            r#"    (name = "{name}", address = {address}, http = (), service = "{service}"),"#
        );
    };
    socket("probe-journal", &unix(&settings.probes.journal), "probe-journal");
    for (number, (listen, probe)) in settings.listen.iter().zip(&settings.probes.isolates).enumerate() {
        let service = format!("edge-{number}");
        socket(&format!("http-{number}"), listen, &service);
        socket(&format!("probe-{number}"), &unix(probe), &service);
        let _ = writeln!(services, r#"    (name = "{service}", worker = .edge{number}),"#);
        let _ = write!(
            workers,
            r#"const edge{number} :Workerd.Worker = (
  modules = .modules,
  compatibilityDate = .date,
  globalOutbound = "internet",
  cacheApiOutbound = "cache-{data_centre}",
  bindings = .bindings,
);
"#,
            data_centre = number % settings.caches.len()
        );
    }
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
{services}    (name = "journal", worker = .journal),
    (name = "probe-journal", worker = .probe),
    (name = "disk", disk = (path = {data}, writable = true)),
    (name = "internet", network = (allow = ["public", "private", "local"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [
{sockets}  ],
);
const date :Text = {date};
const modules :List(Workerd.Worker.Module) = [{modules}];
const bindings :List(Workerd.Worker.Binding) = [
    {JOURNAL}{bindings}
];
const probe :Workerd.Worker = (
  modules = [(name = "{PROBE}", esModule = embed "{PROBE}")],
  compatibilityDate = .date,
  bindings = [{JOURNAL}],
);
{workers}const journal :Workerd.Worker = (
  modules = .modules,
  compatibilityDate = .date,
  durableObjectNamespaces = [(className = "JournalObject", uniqueKey = "strata-journal", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
);
"#,
        data = quoted(&settings.data.display().to_string()),
        date = quoted(&settings.variables.compatibility_date),
        modules = modules.join(", "),
        bindings = bindings(settings, secrets),
    )
}

/// Returns the bindings that all isolates have beside the journal object: the variables and the
/// secrets.
fn bindings(settings: &Settings, secrets: &[&str]) -> String {
    let mut bindings = String::new();
    for (name, variable) in settings.variables.iter() {
        let (kind, text) = match variable {
            Variable::Text(text) => ("text", text),
            Variable::Json(json) => ("json", json),
        };
        let _ = write!(bindings, ",\n    (name = {}, {kind} = {})", quoted(name), quoted(text));
    }
    if settings.shared_store.is_some() {
        bindings.push_str(",\n    (name = \"PERSISTENT\", kvNamespace = \"shared\")");
    }
    for name in secrets {
        let _ = write!(bindings, ",\n    (name = \"{name}\", fromEnvironment = \"{name}\")");
    }
    bindings
}

/// Returns the address of a Unix socket.
fn unix(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

/// Returns a text literal of Cap'n Proto.
fn quoted(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => literal.extend(['\\', character]),
            '\n' => literal.push_str("\\n"),
            // Two digits: longer escapes do not exist, and no control character has more.
            control if control.is_ascii_control() => {
                let _ = write!(literal, "\\x{:02x}", u32::from(control));
            }
            other => literal.push(other),
        }
    }
    literal.push('"');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Probes, Variables};

    #[test]
    fn isolates_are_assigned_to_data_centres_in_turn_and_share_the_journal_object() {
        let settings = Settings {
            listen: ["a:1", "b:2", "c:3"].map(str::to_owned).into(),
            variables: Variables::parse("compatibility_date = \"2026-11-01\"").unwrap(),
            worker: "worker".into(),
            entry: None,
            data: "data".into(),
            caches: vec!["0.sock".into(), "1.sock".into()],
            shared_store: Some("shared.sock".into()),
            probes: Probes {
                isolates: ["0", "1", "2"].map(Into::into).into(),
                journal: "journal.sock".into(),
            },
        };
        let text = configuration(&settings, &[("worker.js".to_owned(), "esModule")], &[]);
        let lines_with = |part: &str| -> Vec<&str> {
            text.lines().map(str::trim).filter(|line| line.contains(part)).collect()
        };
        assert_eq!(
            lines_with("cacheApiOutbound"),
            ["cache-0", "cache-1", "cache-0"].map(|cache| format!("cacheApiOutbound = \"{cache}\","))
        );
        assert_eq!(lines_with("service = \"edge-").len(), 6, "for clients and for probes");
        assert_eq!(lines_with("serviceName = \"journal\"").len(), 2, "of all isolates, and of the probe");
        assert_eq!(lines_with("uniqueKey").len(), 1);
        assert_eq!(lines_with("kvNamespace").len(), 1, "all isolates share it");
    }

    #[test]
    fn a_text_cannot_end_its_literal() {
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(quoted("a\nb\x1b\u{7f}é"), "\"a\\nb\\x1b\\x7fé\"");
    }
}
