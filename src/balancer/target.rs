//! Targets as they are written: a host and a port, with a weight.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::domain::kinds::target::{Target, WEIGHT};
use crate::domain::kinds::typedef;

/// The port of a target that names none (reference gateway-1, section A.5).
pub const PORT: u16 = 8000;

/// The host and port of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// A name in lower case, or an address without brackets.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// Reads `host:port`; none if it is neither name nor address.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = typedef::split_host_port(text).ok()?;
        Some(Self::new(host, port.unwrap_or(PORT)))
    }

    /// Makes one of a host, in brackets or not, and a port.
    pub fn new(host: &str, port: u16) -> Self {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = match bare.parse::<IpAddr>() {
            Ok(ip) => ip.to_string(),
            Err(_) => bare.trim_end_matches('.').to_ascii_lowercase(),
        };
        Self { host: host.into(), port }
    }

    /// Returns the address that its host is, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Returns the endpoints of targets with their weights, in a fixed order. Of several targets that
/// are written alike the newest counts.
pub(super) fn endpoints(targets: &[Target]) -> Vec<(Endpoint, u32)> {
    let parsed =
        targets.iter().filter_map(|target| Some((Endpoint::parse(&target.target)?, target)));
    let mut parsed: Vec<_> = parsed.collect();
    parsed.sort_by(|(a, old), (b, new)| a.cmp(b).then(new.created_at.total_cmp(&old.created_at)));
    parsed.dedup_by(|(a, _), (b, _)| a == b);
    parsed
        .into_iter()
        .map(|(endpoint, target)| (endpoint, target.weight.unwrap_or(WEIGHT)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(text: &str, weight: u32, created_at: f64) -> Target {
        let id = uuid::Uuid::nil();
        let document = json!({
            "id": id, "created_at": created_at, "updated_at": created_at,
            "upstream": {"id": id}, "target": text, "weight": weight,
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn endpoints_are_written_in_one_way() {
        for (text, wanted) in [
            ("A.test", "a.test:8000"),
            ("a.test.:80", "a.test:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[0000:0000:0000:0000:0000:0000:0000:0001]:80", "[::1]:80"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), wanted);
        }
        assert_eq!(Endpoint::parse("a b"), None);
    }

    #[test]
    fn the_newest_of_equal_targets_counts() {
        let targets = [target("a:80", 1, 1.0), target("A:80", 2, 3.0), target("a:80", 3, 2.0)];
        assert_eq!(endpoints(&targets), [(Endpoint::new("a", 80), 2)]);
    }
}
