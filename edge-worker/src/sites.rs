//! The sites of a deployment: the origin of each host, from the variables `ORIGIN` and `SITES`.

use url::Url;

use crate::error::{Error, ErrorKind};
use crate::json::Json;
use crate::rules::Glob;

/// The variable with the base URL that requests are forwarded to.
pub(crate) const ORIGIN: &str = "ORIGIN";
/// The variable with the origins of several sites, by host.
pub const SITES: &str = "SITES";
/// The value of [`ORIGIN`] that forwards requests to their own URL.
pub(crate) const ZONE: &str = "zone";

/// Where requests are forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// To this base URL.
    Url(Url),
    /// To their own URL (`zone`), which is right for a worker on a zone's route, and only there:
    /// elsewhere a client could name any host in `Host`.
    Zone,
}

impl Origin {
    /// Returns the base URL; `None` for [`Zone`](Self::Zone).
    pub fn url(&self) -> Option<&Url> {
        match self {
            Self::Url(url) => Some(url),
            Self::Zone => None,
        }
    }
}

/// A site of several.
#[derive(Debug, Clone)]
struct Site {
    /// The pattern of its host.
    host: Glob,
    origin: Origin,
}

/// The sites of a deployment.
#[derive(Debug, Clone)]
pub(crate) struct Sites {
    /// The sites that `SITES` lists, in their order.
    listed: Vec<Site>,
    /// The origin of all other hosts; `None` if they are refused.
    other: Option<Origin>,
}

impl Sites {
    /// Reads the variables. `ORIGIN` is required unless there are sites.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], without the value of an origin, which may contain a password.
    pub(crate) fn read(sites: Option<&Json>, origin: Option<&str>) -> Result<Self, Error> {
        let listed = sites.map_or_else(|| Ok(Vec::new()), read_sites)?;
        let other = match origin {
            None if !listed.is_empty() => None,
            value => Some(read_origin(ORIGIN, value)?),
        };
        Ok(Self { listed, other })
    }

    /// Returns the origin of a host in lower case, without its port; `None` if it is refused.
    pub(crate) fn origin_of(&self, host: &str) -> Option<&Origin> {
        let site = self.listed.iter().find(|site| site.host.matches(host));
        site.map(|site| &site.origin).or(self.other.as_ref())
    }
}

/// Reads the variable [`SITES`]: an object of hosts and their origins.
fn read_sites(json: &Json) -> Result<Vec<Site>, Error> {
    const EXPECTED: &str =
        "an object of hosts and origins, like {\"shop.example\": \"https://origin.example\"}";
    let wrong = |expected: &str| {
        Error::new(ErrorKind::Config, format!("{SITES}: expected {expected}; set it in wrangler.toml"))
    };
    let Json::Object(members) = json else { return Err(wrong(EXPECTED)) };
    if members.is_empty() {
        return Err(wrong("at least one site"));
    }
    let mut sites = Vec::new();
    for (host, origin) in members {
        let is_host = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'*' | b'_');
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(wrong(&format!("a host in lower case, without scheme, port and path, got {host:?}")));
        }
        let Json::Text(origin) = origin else { return Err(wrong(&format!("an origin of {host} as a text"))) };
        let origin = read_origin(&format!("{SITES}.{host}"), Some(origin))?;
        sites.push(Site { host: Glob::new(host), origin });
    }
    Ok(sites)
}

/// Reads the origin that a variable holds.
fn read_origin(name: &str, value: Option<&str>) -> Result<Origin, Error> {
    let value = value.map(str::trim).filter(|value| !value.is_empty());
    let Some(value) = value else { return Err(wrong_origin(name, "it is not set")) };
    if value == ZONE {
        return Ok(Origin::Zone);
    }
    let url = Url::parse(value).map_err(|error| wrong_origin(name, &error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong_origin(name, "it is not http or https"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong_origin(name, "it has a query or fragment"));
    }
    // The runtime does not send them.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong_origin(name, "it has a user name or password"));
    }
    Ok(Origin::Url(url))
}

/// Returns the error for an origin, without its value.
pub(crate) fn wrong_origin(name: &str, why: &str) -> Error {
    let text = format!(
        "{name}: expected a base URL like https://origin.example, or `{ZONE}` for a worker on a route of the zone \
         whose origin it fronts ({why}); set it in wrangler.toml"
    );
    Error::new(ErrorKind::Config, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::testing::json;

    fn with_sites(origin: Option<&str>, sites: &str) -> Result<Sites, String> {
        Sites::read(Some(&json(sites)), origin).map_err(|error| error.to_string())
    }

    #[test]
    fn each_site_has_its_origin_and_an_unknown_host_the_default_or_none() {
        let sites = r#"{"shop.example": "https://a.example", "*.shop.example": "zone", "blog.example": "http://b:81/x"}"#;
        let of = |origin: Option<&str>, host: &str| {
            let sites = with_sites(origin, sites).unwrap();
            sites.origin_of(host).map(|origin| origin.url().map_or("zone", Url::as_str).to_owned())
        };
        for (host, expected) in [
            ("shop.example", Some("https://a.example/")),
            ("de.shop.example", Some("zone")),
            ("blog.example", Some("http://b:81/x")),
            ("example", None),
            ("evil-shop.example", None),
            ("shop.example.evil.example", None),
        ] {
            assert_eq!(of(None, host).as_deref(), expected, "{host}");
            assert_eq!(of(Some("http://c"), host).as_deref(), expected.or(Some("http://c/")), "{host}");
        }
    }

    #[test]
    fn invalid_sites_are_an_error_that_names_the_site_and_no_origin() {
        for (sites, detail) in [
            ("[]", "SITES: expected an object of hosts"),
            ("{}", "SITES: expected at least one site"),
            (r#"{"Shop.example": "http://x"}"#, "SITES: expected a host in lower case"),
            (r#"{"shop.example:80": "http://x"}"#, "SITES: expected a host in lower case"),
            (r#"{"https://shop.example": "http://x"}"#, "SITES: expected a host in lower case"),
            (r#"{"shop.example": 1}"#, "SITES: expected an origin of shop.example as a text"),
            (r#"{"shop.example": ""}"#, "SITES.shop.example: expected a base URL"),
            (r#"{"shop.example": "https://u:hunter2@x"}"#, "SITES.shop.example: expected a base URL"),
        ] {
            let error = with_sites(Some("zone"), sites).unwrap_err();
            assert!(error.starts_with(detail) && !error.contains("hunter2"), "{error}");
        }
    }
}
