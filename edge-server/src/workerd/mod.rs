//! The workerd process and its files.

mod configuration;
mod guard;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use self::configuration::configuration;
pub(crate) use self::guard::become_workerd;
use crate::listeners::Listeners;
use crate::settings::Settings;

/// The environment variables with the keys of purge messages. workerd reads them itself, so they
/// are in no file and on no command line.
const SECRET_VARIABLES: [&str; 2] = ["PURGE_SECRET", "PURGE_SECRET_PREVIOUS"];
/// The files of the built worker, as `worker.js` imports them.
const MODULES: [(&str, &str); 3] =
    [("worker.js", "esModule"), ("build/edge_worker.js", "esModule"), ("build/edge_worker_bg.wasm", "wasm")];
/// The name of the configuration.
const CONFIGURATION: &str = "strata.capnp";
/// The name of the module that runs in place of `worker.js`.
const ENTRY: &str = "entry.js";
/// The folder of the JavaScript that wasm-bindgen copies from crates. Its subfolders' names change.
const SNIPPETS: &str = "build/snippets";

/// The module that probes the journal object.
const PROBE: &str = "probe.js";

/// A running workerd. Dropping it kills it.
pub(crate) struct Workerd {
    child: Child,
}

impl Workerd {
    /// Starts workerd with the configuration that [`write_files`] has written into `folder`.
    pub(crate) fn start(
        program: &Path,
        settings: &Settings,
        listeners: &Listeners,
        folder: &Path,
    ) -> Result<Self, String> {
        for socket in settings.probes.isolates.iter().chain([&settings.probes.journal]) {
            // workerd does not bind to a socket that an earlier one has left.
            let _ = std::fs::remove_file(socket);
        }
        let child = guard::command(program)
            // Without this flag workerd refuses Durable Objects on a local disk.
            .args(["serve", "--experimental"])
            .args(
                listeners
                    .descriptors()
                    .enumerate()
                    .map(|(number, fd)| format!("--socket-fd=http-{number}={fd}")),
            )
            .arg(folder.join(CONFIGURATION))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("starting {}: {error}", program.display()))?;
        Ok(Self { child })
    }

    /// Waits until workerd has ended.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, String> {
        self.child.wait().await.map_err(|error| format!("waiting for workerd: {error}"))
    }

    /// Requests workerd to finish the requests that it has begun, and then to end.
    pub(crate) fn request_stop(&self) {
        if let Some(id) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // The only possible error is that it has ended.
            let _ = kill_process(id, Signal::TERM);
        }
    }
}

/// Writes the configuration and the modules into `folder`.
pub(crate) fn write_files(settings: &Settings, folder: &Path) -> Result<(), String> {
    let modules = copy_modules(settings, folder)?;
    std::fs::create_dir_all(&settings.data)
        .map_err(|error| format!("creating {}: {error}", settings.data.display()))?;
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|secret| !secret.is_empty());
    let secrets: Vec<_> = SECRET_VARIABLES.into_iter().filter(is_set).collect();
    let file = folder.join(CONFIGURATION);
    let writing = |error| format!("writing {}: {error}", file.display());
    std::fs::write(folder.join(PROBE), include_str!("probe.js")).map_err(writing)?;
    std::fs::write(&file, configuration(settings, &modules, &secrets)).map_err(writing)?;
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).map_err(writing)
}

/// Copies the worker's modules, since workerd embeds files relative to its configuration. Returns
/// each module's name and kind; the first is the one to run.
fn copy_modules(settings: &Settings, folder: &Path) -> Result<Vec<(String, &'static str)>, String> {
    let mut modules: Vec<_> = MODULES.map(|(name, kind)| (name.to_owned(), kind)).into();
    let snippets = settings.worker.join(SNIPPETS);
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
        let from = settings.worker.join(name);
        copy(&from, &folder.join(name)).map_err(|error| format!("{error}: build the worker first"))?;
    }
    if let Some(entry) = &settings.entry {
        copy(entry, &folder.join(ENTRY))?;
        modules.insert(0, (ENTRY.to_owned(), "esModule"));
    }
    Ok(modules)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let copied = to.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::copy(from, to));
    copied.map(|_| ()).map_err(|error| format!("copying {}: {error}", from.display()))
}
