//! Reads from `Cache-Status` (RFC 9211) which layer answered.
//!
//! The origin's member comes first and the edge's last: the list grows towards the user (section
//! 2).

use serde::{Deserialize, Serialize};

/// The layer that answered, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The edge's store.
    Edge,
    /// The memory of the service's process.
    Memory,
    /// Redis.
    Redis,
    /// The loader, and so the database.
    Loader,
    /// The origin, without a statement about its layers.
    Origin,
}

impl Layer {
    /// Its name in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Loader => "loader",
            Self::Origin => "origin",
        }
    }
}

/// The members of both of our caches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus {
    edge: Option<Member>,
    origin: Option<Member>,
}

/// One cache's member of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Member {
    hit: bool,
    /// The request waited for another one, and was answered from its stored response.
    collapsed: bool,
    detail: Option<String>,
    ttl: Option<i64>,
}

impl CacheStatus {
    /// Parses the header's value. Ignores members of other caches; an empty value stands for a
    /// missing header.
    pub fn parse(value: &str) -> Self {
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

    /// Returns the layer that answered: the edge if it had a hit, otherwise the one that the origin
    /// names.
    pub fn layer(&self) -> Layer {
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

    /// Returns whether the edge answered from a stored response, fresh or stale.
    pub fn edge_hit(&self) -> bool {
        self.edge.as_ref().is_some_and(|edge| edge.hit || edge.collapsed)
    }

    /// Returns whether the edge answered from a fresh stored response.
    pub fn edge_fresh_hit(&self) -> bool {
        self.edge_hit() && !self.edge_served_stale()
    }

    /// Returns whether the edge answered from a stale response and revalidates in the background.
    pub fn edge_served_stale(&self) -> bool {
        self.edge.as_ref().is_some_and(|edge| {
            edge.hit
                && (edge.detail.as_deref() == Some("stale-while-revalidate")
                    || edge.ttl.is_some_and(|ttl| ttl < 0))
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
    fn the_edge_is_the_layer_of_its_hits_only() {
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
    fn stale_and_fresh_hits_differ() {
        let stale = CacheStatus::parse("strata-edge; hit; ttl=-3; detail=stale-while-revalidate");
        let fresh = CacheStatus::parse("strata-edge; hit; ttl=2");
        assert!(stale.edge_served_stale() && !stale.edge_fresh_hit());
        assert!(!fresh.edge_served_stale() && fresh.edge_fresh_hit());
    }
}
