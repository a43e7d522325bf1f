//! Renders the request lines of the shop and the worker (one JSON object each) for people.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use strata_harness::Line;

/// A request, as the shop and the worker log it.
#[derive(Debug, Deserialize, PartialEq)]
struct Request {
    method: String,
    path: String,
    status: u16,
    layer: String,
    ms: f64,
}

/// Renders a child's line, or returns `None` for empty lines and for wrangler's own request log.
pub(crate) fn readable(line: &Line, now: SystemTime, colours: bool) -> Option<String> {
    let text = without_colours(line.text.trim());
    if text.is_empty() || text.starts_with("[wrangler:info]") {
        return None;
    }
    let time = time_of_day(now);
    let process = &line.process;
    let Ok(request) = serde_json::from_str::<Request>(&text) else {
        return Some(paint(colours, "2", &format!("{time}  {process:<7} {text}")));
    };
    let Request { method, path, status, layer, ms } = request;
    let layer = paint(colours, layer_colour(&layer), &format!("{layer:<10}"));
    Some(format!("{time}  {process:<7} {layer} {ms:>8.1} ms  {status}  {method:<4} {path}"))
}

fn layer_colour(layer: &str) -> &'static str {
    match layer {
        "edge" | "edge-stale" => "35",
        "memory" => "32",
        "redis" => "36",
        "loader" => "33",
        _ => "0",
    }
}

fn paint(colours: bool, colour: &str, text: &str) -> String {
    if colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Removes terminal escapes, which wrangler prints into pipes too.
fn without_colours(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

/// Renders hours to milliseconds in UTC. The standard library does not know the local time zone.
fn time_of_day(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let secs = since.as_secs() % (24 * 60 * 60);
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{hours:02}:{minutes:02}:{secs:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn printed(text: &str) -> Option<String> {
        let line = Line { process: "shop-a".into(), text: text.to_owned() };
        readable(&line, UNIX_EPOCH + Duration::from_millis(3_723_004), false)
    }

    #[test]
    fn a_request_line_has_process_layer_duration_and_path() {
        let json = r#"{"method":"GET","path":"/api/products/7","status":200,"layer":"memory","ms":0.42}"#;
        assert_eq!(
            printed(json).unwrap(),
            "01:02:03.004Z  shop-a  memory          0.4 ms  200  GET  /api/products/7"
        );
    }

    #[test]
    fn other_lines_are_printed_unchanged() {
        assert_eq!(printed("panicked").unwrap(), "01:02:03.004Z  shop-a  panicked");
        assert!(printed(r#"{"level":"warn"}"#).unwrap().ends_with(r#"{"level":"warn"}"#));
        assert!(printed("\x1b[33m▲ \x1b[43;30mWARNING\x1b[0m odd").unwrap().ends_with("▲ WARNING odd"));
    }

    #[test]
    fn empty_lines_and_wranglers_request_log_are_dropped() {
        assert_eq!(printed("  "), None);
        assert_eq!(printed("[wrangler:info] GET / 200 OK (3ms)"), None);
    }
}
