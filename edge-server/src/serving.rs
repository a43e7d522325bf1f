//! Serves a router, for the parts of the server that answer requests.

use std::path::Path;

use axum::Router;
use axum::serve::Listener;
use tokio::net::UnixListener;

/// Binds a Unix socket and returns the run of a server on it, which ends only for an error.
pub(crate) fn serve_at(
    socket: &Path,
    router: Router,
) -> Result<impl Future<Output = String> + use<>, String> {
    let listener =
        UnixListener::bind(socket).map_err(|error| format!("binding {}: {error}", socket.display()))?;
    Ok(serve(listener, router))
}

/// Serves a router until an error ends that, and returns the description.
pub(crate) async fn serve<L>(listener: L, router: Router) -> String
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    match axum::serve(listener, router).await {
        Ok(()) => "it stopped".to_owned(),
        Err(error) => error.to_string(),
    }
}
