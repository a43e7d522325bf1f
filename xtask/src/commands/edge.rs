//! `cargo xtask edge`: starts only the worker, in front of a running origin.

use std::path::Path;

use strata_harness::error::{Error, Result};
use strata_harness::port;
use tokio::sync::mpsc;

use super::up;
use crate::progress::Progress;
use crate::stack::worker::{self, Runner, Settings, Worker};
use crate::{http, stack};

/// Builds and starts the worker, then prints its requests until it is stopped.
///
/// # Errors
/// If the origin is no base URL, the port is taken, or the worker cannot be built or started, or
/// ends.
pub(crate) async fn run(
    origin: &str,
    wanted_port: Option<u16>,
    vars: &[String],
    wrangler: Option<&Path>,
    options: &[String],
) -> Result<()> {
    let origin = base_url(origin)?;
    let port = match wanted_port {
        Some(port) => port::exactly(port)?,
        None => port::free_or_other(8787)?,
    };
    worker::prepare().await?;
    let secret = stack::purge_secret()?;
    let vars: Vec<&str> = vars.iter().map(String::as_str).collect();
    let runner = wrangler.map_or_else(|| Runner::of_the_project(options), Runner::Wrangler);
    let settings =
        Settings { port, origin: &origin, purge_secret: &secret, log_requests: true, vars: &vars, runner };
    let (send, lines) = mpsc::unbounded_channel();
    let progress = Progress::start("starting the worker", Some("1 s"));
    let mut worker = Worker::start(&settings, Some(&send)).await?;
    worker.wait_ready(&http::client()?).await?;
    progress.done();
    println!("\n  edge    {}   in front of {origin}", worker.url());
    println!("  Ctrl-C stops it\n");
    up::print_requests(lines, async || worker.process().check().await).await
}

/// Checks a base URL and removes the slash at its end.
fn base_url(origin: &str) -> Result<String> {
    let invalid = |why: &str| {
        Error::new(format!("\"{origin}\" is no base URL of an origin: {why}"))
            .mend("give one like --origin http://127.0.0.1:3000")
    };
    let url = reqwest::Url::parse(origin).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("expected http or https"));
    }
    if url.path() != "/" || url.query().is_some() {
        return Err(invalid("expected no path and no query"));
    }
    Ok(origin.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_no_path() {
        assert_eq!(base_url("http://127.0.0.1:3000/").unwrap(), "http://127.0.0.1:3000");
        assert_eq!(base_url("https://example.com").unwrap(), "https://example.com");
        for wrong in [
            "127.0.0.1:3000",
            "example",
            "ftp://example.com",
            "http://example.com/api",
            "http://example.com?a",
        ] {
            let error = base_url(wrong).unwrap_err().to_string();
            assert!(error.contains("--origin http://"), "{error}");
        }
    }
}
