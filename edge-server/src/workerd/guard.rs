//! Ends workerd together with this process, however that ends.
//!
//! A workerd whose strata-edge was killed would keep the listening sockets, without a cache. On
//! Linux it is therefore started by this program, which asks the kernel for a signal at the end of
//! its parent, and then becomes workerd.

use std::ffi::OsStr;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::Path;

use tokio::process::Command;

/// The first argument of this program when it is to become workerd. The parent's process id, the
/// program and its arguments follow.
const BECOME: &str = "--become-workerd";
/// This program, also after its file was replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Returns the command that runs workerd. It must be started by a thread that lives as long as the
/// process, since the kernel counts the end of that thread.
pub(super) fn command(program: &Path) -> Command {
    if !Path::new(OWN_PROGRAM).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(BECOME).arg(std::process::id().to_string()).arg(program);
    command
}

/// Becomes workerd if the arguments say so. Returns the description if that fails.
pub(crate) fn become_workerd() -> Option<String> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != BECOME {
        return None;
    }
    let (Some(parent), Some(program)) = (arguments.next(), arguments.next()) else {
        return Some(format!("expected {BECOME} PARENT PROGRAM"));
    };
    if let Err(error) = end_with_parent(&parent) {
        return Some(error);
    }
    let error = std::process::Command::new(&program).args(arguments).exec();
    Some(format!("starting {}: {error}", program.display()))
}

fn end_with_parent(parent: &OsStr) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| format!("asking for a signal at the end of strata-edge: {error}"))?;
    // It may have ended before.
    if parent.to_str() == Some(&parent_id().to_string()) {
        Ok(())
    } else {
        Err("strata-edge has ended".to_owned())
    }
}
