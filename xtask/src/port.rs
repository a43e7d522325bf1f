//! Free ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Doing, Error, Result};

/// A port that nobody listens on now, chosen by the system.
pub(crate) fn free() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing(|| "looking for a free port".to_owned())?;
    Ok(listener.local_addr().doing(|| "looking for a free port".to_owned())?.port())
}

/// The preferred port if it is free, so that people can keep a URL at hand; else another.
pub(crate) fn free_or_other(preferred: u16) -> Result<u16> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, preferred)).is_ok() {
        return Ok(preferred);
    }
    free()
}

/// The port that was asked for.
///
/// # Errors
/// If something listens there already.
pub(crate) fn exactly(port: u16) -> Result<u16> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(port),
        Err(error) => Err(Error::new(format!("port {port} cannot be used: {error}"))
            .mend("choose another with --port, or leave it out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_when_preferred_and_refused_when_demanded() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_or_other(port).unwrap(), port);
        assert!(exactly(port).unwrap_err().to_string().contains("--port"));
    }
}
