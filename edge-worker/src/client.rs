//! The properties of a client that rules know: its country, and the class of its device.
//!
//! The country is the platform's, or that of a field which a proxy in front of the worker sets. The
//! device is guessed from the client's own fields, so a client can choose it.

use http::{HeaderMap, HeaderName, header};

/// The country of a client that is not known, as the platform names it.
pub const UNKNOWN_COUNTRY: &str = "XX";

/// The field in which the origin gets the country, if a rule keys responses by it.
pub const COUNTRY: HeaderName = HeaderName::from_static("x-country-code");

/// The field in which the origin gets the class of the device, if a rule keys responses by it.
pub const DEVICE: HeaderName = HeaderName::from_static("x-device-class");

/// The client hint of a mobile experience (User-Agent Client Hints): `?1` or `?0`.
const CH_MOBILE: HeaderName = HeaderName::from_static("sec-ch-ua-mobile");

/// The parts of `User-Agent`, in lower case, by which programs name themselves.
const BOTS: [&str; 9] =
    ["bot", "crawl", "spider", "slurp", "facebookexternalhit", "headless", "lighthouse", "curl/", "wget/"];

/// The parts of `User-Agent`, in lower case, that only tablets have.
const TABLETS: [&str; 5] = ["ipad", "tablet", "kindle", "silk/", "playbook"];

/// The parts of `User-Agent`, in lower case, that only phones have.
const MOBILES: [&str; 4] = ["mobi", "iphone", "ipod", "opera mini"];

/// The class of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// A program that reads pages for others.
    Bot,
    /// A tablet.
    Tablet,
    /// A phone.
    Mobile,
    /// Everything else, unknown devices included.
    Desktop,
}

impl Device {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::Bot, Self::Tablet, Self::Mobile, Self::Desktop];

    /// Returns the name in rules, and in the field for the origin.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Tablet => "tablet",
            Self::Mobile => "mobile",
            Self::Desktop => "desktop",
        }
    }

    /// Returns the class of the device that sent these fields.
    ///
    /// `Sec-CH-UA-Mobile: ?1` means a phone, whatever `User-Agent` says. An Android device whose
    /// `User-Agent` lacks `Mobile` is a tablet, as Google's guide for developers says.
    pub fn of(request: &HeaderMap) -> Self {
        let agent = request.get(header::USER_AGENT).map_or(&b""[..], |value| value.as_bytes());
        let agent = String::from_utf8_lossy(agent).to_ascii_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| agent.contains(part));
        // The phones of a manufacturer contain `bot`.
        if has(&BOTS) && !agent.contains("cubot") {
            return Self::Bot;
        }
        if request.get(CH_MOBILE).is_some_and(|value| value.as_bytes().trim_ascii() == b"?1") {
            return Self::Mobile;
        }
        if has(&TABLETS) {
            return Self::Tablet;
        }
        match (has(&MOBILES), agent.contains("android")) {
            (true, _) => Self::Mobile,
            (false, true) => Self::Tablet,
            (false, false) => Self::Desktop,
        }
    }
}

/// Returns a country in the form of rules and of the field for the origin: two letters or digits,
/// in capitals; `XX` for anything else.
pub fn country(stated: Option<&str>) -> String {
    let stated = stated.unwrap_or_default().trim_ascii();
    if is_country(stated) { stated.to_ascii_uppercase() } else { UNKNOWN_COUNTRY.to_owned() }
}

/// Returns whether a text is a country's code: two letters (ISO 3166-1), or a letter and a digit,
/// as the platform's `T1` for Tor.
pub fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    #[test]
    fn the_class_of_a_device_by_its_fields() {
        for (agent, hint, class) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0.0.0",
                None,
                "desktop",
            ),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/142.0.0.0", Some("?0"), "desktop"),
            (
                "Mozilla/5.0 (Linux; Android 10; K) Chrome/142.0.0.0 Mobile Safari/537.36",
                Some("?1"),
                "mobile",
            ),
            ("Mozilla/5.0 (Linux; Android 10; K) Chrome/142.0.0.0 Safari/537.36", Some("?0"), "tablet"),
            ("Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0 Safari/537.36", Some("?1"), "mobile"),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148", None, "mobile"),
            ("Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) Mobile/15E148", None, "tablet"),
            ("Mozilla/5.0 (Android 14; Tablet; rv:140.0) Gecko/140.0 Firefox/140.0", None, "tablet"),
            ("Mozilla/5.0 (Linux; Android 9; CUBOT X19) Chrome/99 Mobile Safari/537.36", None, "mobile"),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", None, "bot"),
            (
                "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) Mobile (compatible; Googlebot/2.1)",
                Some("?1"),
                "bot",
            ),
            ("curl/8.5.0", None, "bot"),
            ("", None, "desktop"),
        ] {
            let hint = hint.map(|hint| ("sec-ch-ua-mobile", hint));
            let fields: Vec<_> = [("user-agent", agent)].into_iter().chain(hint).collect();
            assert_eq!(Device::of(&headers(&fields)).as_str(), class, "{agent}");
        }
        assert_eq!(Device::of(&HeaderMap::new()), Device::Desktop);
    }

    #[test]
    fn a_country_is_two_capitals_or_unknown() {
        for (stated, code) in [
            (Some("DE"), "DE"),
            (Some(" de "), "DE"),
            (Some("T1"), "T1"),
            (Some("DEU"), "XX"),
            (Some("D,"), "XX"),
            (Some(""), "XX"),
            (None, "XX"),
        ] {
            assert_eq!(country(stated), code, "{stated:?}");
        }
    }
}
