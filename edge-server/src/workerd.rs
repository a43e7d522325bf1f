//! The workerd process and its configuration.

use std::fmt::Write;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::settings::{Settings, Variable};

/// The environment variables with the keys of purge messages. workerd reads them itself, so they
/// are in no file and on no command line.
const SECRET_VARIABLES: [&str; 2] = ["PURGE_SECRET", "PURGE_SECRET_PREVIOUS"];
/// The files of the built worker, as `worker.js` imports them.
const MODULES: [(&str, &str); 3] =
    [("worker.js", "esModule"), ("build/edge_worker.js", "esModule"), ("build/edge_worker_bg.wasm", "wasm")];
/// The folder of the JavaScript that wasm-bindgen copies from crates. Its subfolders' names change.
const SNIPPETS: &str = "build/snippets";

/// A running workerd. Stops when dropped.
pub(crate) struct Workerd {
    child: Child,
}

impl Workerd {
    /// Starts workerd with a configuration that it writes into `folder`.
    pub(crate) fn start(program: &Path, settings: &Settings, folder: &Path) -> Result<Self, String> {
        let modules = copy_modules(&settings.worker, folder)?;
        std::fs::create_dir_all(&settings.data)
            .map_err(|error| format!("creating {}: {error}", settings.data.display()))?;
        let is_set = |name: &&str| std::env::var_os(name).is_some_and(|secret| !secret.is_empty());
        let secrets: Vec<_> = SECRET_VARIABLES.into_iter().filter(is_set).collect();
        let file = folder.join("strata.capnp");
        let writing = |error| format!("writing {}: {error}", file.display());
        std::fs::write(&file, configuration(settings, &modules, &secrets)).map_err(writing)?;
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).map_err(writing)?;
        let child = Command::new(program)
            // Without this flag workerd refuses Durable Objects on a local disk.
            .args(["serve", "--experimental"])
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("starting {}: {error}", program.display()))?;
        Ok(Self { child })
    }

    /// Waits until workerd ends, which it does only for an error, and returns the description.
    pub(crate) async fn wait(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("workerd ended with {status}; its messages are above"),
            Err(error) => format!("waiting for workerd: {error}"),
        }
    }
}

/// Copies the worker's modules, since workerd embeds files relative to its configuration. Returns
/// each module's name and kind.
fn copy_modules(worker: &Path, folder: &Path) -> Result<Vec<(String, &'static str)>, String> {
    let mut modules: Vec<_> = MODULES.map(|(name, kind)| (name.to_owned(), kind)).into();
    let snippets = worker.join(SNIPPETS);
    let reading = |error| format!("reading {}: {error}", snippets.display());
    if snippets.is_dir() {
        for crate_folder in std::fs::read_dir(&snippets).map_err(reading)? {
            let crate_folder = crate_folder.map_err(reading)?;
            for file in std::fs::read_dir(crate_folder.path()).map_err(reading)? {
                let (of, name) = (crate_folder.file_name(), file.map_err(reading)?.file_name());
                modules.push((format!("{SNIPPETS}/{}/{}", of.display(), name.display()), "esModule"));
            }
        }
    }
    for (name, _) in &modules {
        let (from, to) = (worker.join(name), folder.join(name));
        let copied =
            to.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::copy(&from, &to));
        copied.map_err(|error| format!("copying {}: {error}: build the worker first", from.display()))?;
    }
    Ok(modules)
}

/// Returns the configuration in Cap'n Proto's text form.
fn configuration(settings: &Settings, modules: &[(String, &str)], secrets: &[&str]) -> String {
    let modules: Vec<String> = modules
        .iter()
        .map(|(name, kind)| format!("(name = {0}, {kind} = embed {0})", quoted(name)))
        .collect();
    let mut bindings = String::from(r#"(name = "JOURNAL", durableObjectNamespace = "JournalObject")"#);
    for (name, variable) in settings.variables.iter() {
        let (kind, text) = match variable {
            Variable::Text(text) => ("text", text),
            Variable::Json(json) => ("json", json),
        };
        let _ = write!(bindings, ",\n    (name = {}, {kind} = {})", quoted(name), quoted(text));
    }
    for name in secrets {
        let _ = write!(bindings, ",\n    (name = \"{name}\", fromEnvironment = \"{name}\")");
    }
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "edge", worker = .edge),
    (name = "cache", external = (address = {cache}, http = (style = proxy))),
    (name = "journal", disk = (path = {data}, writable = true)),
    (name = "internet", network = (allow = ["public", "private", "local"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [(name = "http", address = {listen}, http = (), service = "edge")],
);
const edge :Workerd.Worker = (
  modules = [{modules}],
  compatibilityDate = {date},
  globalOutbound = "internet",
  cacheApiOutbound = "cache",
  bindings = [
    {bindings}
  ],
  durableObjectNamespaces = [(className = "JournalObject", uniqueKey = "strata-journal", enableSql = true)],
  durableObjectStorage = (localDisk = "journal"),
);
"#,
        cache = quoted(&format!("unix:{}", settings.cache.display())),
        data = quoted(&settings.data.display().to_string()),
        listen = quoted(&settings.listen),
        modules = modules.join(", "),
        date = quoted(&settings.variables.compatibility_date),
    )
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

    #[test]
    fn a_text_cannot_end_its_literal() {
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(quoted("a\nb\x1b\u{7f}é"), "\"a\\nb\\x1b\\x7fé\"");
    }
}
