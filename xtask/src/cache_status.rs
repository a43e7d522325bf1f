//! `Cache-Status` (RFC 9211) → which layer answered.
//!
//! The origin's member comes first, the edge's last: the list grows towards the user (RFC 9211 section 2).

use serde::{Deserialize, Serialize};

/// The layer that an answer came from, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layer {
    Edge,
    Memory,
    Redis,
    Loader,
    /// The origin, which did not say from where.
    Origin,
}

impl Layer {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Loader => "loader",
            Self::Origin => "origin",
        }
    }
}

/// What the header of one answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheStatus {
    edge: Option<Member>,
    origin: Option<Member>,
}

/// One cache's part of the header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Member {
    hit: bool,
    /// Another request's answer was waited for, and taken from what is kept.
    collapsed: bool,
    detail: Option<String>,
    ttl: Option<i64>,
}

impl CacheStatus {
    /// Reads the header's value; caches with other names are passed over, and a missing header is an empty value.
    pub(crate) fn parse(value: &str) -> Self {
        let mut status = Self::default();
        for text in value.split(',') {
            let mut parts = text.split(';').map(str::trim);
            match parts.next() {
                Some("strata-edge") => status.edge = Some(Member::parse(parts)),
                Some("strata-origin") => status.origin = Some(Member::parse(parts)),
                _ => {}
            }
        }
        status
    }

    /// The layer that answered: the edge if it had a hit, else what the origin says.
    pub(crate) fn layer(&self) -> Layer {
        if self.edge_hit() {
            return Layer::Edge;
        }
        match self.origin.as_ref().and_then(|origin| origin.detail.as_deref()) {
            Some("memory") => Layer::Memory,
            Some("redis") => Layer::Redis,
            Some("loader") => Layer::Loader,
            _ => Layer::Origin,
        }
    }

    /// Whether the edge answered from what it keeps, fresh or stale.
    pub(crate) fn edge_hit(&self) -> bool {
        self.edge.as_ref().is_some_and(|edge| edge.hit || edge.collapsed)
    }

    /// Whether the edge answered from what it keeps while that was fresh.
    pub(crate) fn edge_fresh_hit(&self) -> bool {
        self.edge_hit() && !self.edge_served_stale()
    }

    /// Whether the edge answered stale and revalidates in the background.
    pub(crate) fn edge_served_stale(&self) -> bool {
        self.edge.as_ref().is_some_and(|edge| {
            edge.hit
                && (edge.detail.as_deref() == Some("stale-while-revalidate") || edge.ttl.is_some_and(|ttl| ttl < 0))
        })
    }
}

impl Member {
    fn parse<'a>(parameters: impl Iterator<Item = &'a str>) -> Self {
        let mut member = Self::default();
        for parameter in parameters {
            match parameter.split_once('=') {
                None if parameter == "hit" => member.hit = true,
                None if parameter == "collapsed" => member.collapsed = true,
                Some(("detail", detail)) => member.detail = Some(detail.trim_matches('"').to_owned()),
                Some(("ttl", ttl)) => member.ttl = ttl.parse().ok(),
                _ => {}
            }
        }
        member
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_names_its_innermost_layer() {
        for (value, layer) in [
            ("strata-origin; hit; detail=memory", Layer::Memory),
            ("strata-origin; hit; ttl=-3; detail=memory", Layer::Memory),
            ("strata-origin; hit; detail=redis", Layer::Redis),
            ("strata-origin; fwd=miss; detail=loader", Layer::Loader),
            ("", Layer::Origin),
            ("another-cache; hit", Layer::Origin),
        ] {
            assert_eq!(CacheStatus::parse(value).layer(), layer, "{value}");
        }
    }

    #[test]
    fn the_edge_answered_if_and_only_if_it_had_a_hit() {
        let stored = "strata-origin; fwd=miss; detail=loader, strata-edge; ";
        for (edge, layer) in [
            ("hit; ttl=42", Layer::Edge),
            ("fwd=uri-miss; collapsed; ttl=60", Layer::Edge),
            ("fwd=uri-miss; stored", Layer::Loader),
            ("fwd=bypass; detail=private", Layer::Loader),
            ("fwd=stale", Layer::Loader),
        ] {
            let value = format!("{stored}{edge}");
            assert_eq!(CacheStatus::parse(&value).layer(), layer, "{value}");
        }
    }

    #[test]
    fn a_stale_hit_is_told_from_a_fresh_one() {
        let stale = CacheStatus::parse("strata-edge; hit; ttl=-3; detail=stale-while-revalidate");
        let fresh = CacheStatus::parse("strata-edge; hit; ttl=2");
        assert!(stale.edge_served_stale() && !stale.edge_fresh_hit());
        assert!(!fresh.edge_served_stale() && fresh.edge_fresh_hit());
    }
}
