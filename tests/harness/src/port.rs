//! Free ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Context, Error, Result};

/// Returns a port without a listener, chosen by the system.
///
/// # Errors
/// If the system has no free port.
pub fn free() -> Result<u16> {
    let activity = || "looking for a free port".to_owned();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(activity)?;
    Ok(listener.local_addr().context(activity)?.port())
}

/// Returns the preferred port if it is free, so that a URL can stay the same between runs, and
/// otherwise another.
///
/// # Errors
/// If no port is free.
pub fn free_or_other(preferred: u16) -> Result<u16> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, preferred)).is_ok() {
        return Ok(preferred);
    }
    free()
}

/// Returns the requested port.
///
/// # Errors
/// If it is taken or may not be bound.
pub fn exactly(port: u16) -> Result<u16> {
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
