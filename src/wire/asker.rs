//! Who asks for a connection: the arguments of the request, as they stand at the end of log lines.

use std::fmt;
use std::net::IpAddr;

/// So many characters of an argument are shown.
const SHOWN_MAX: usize = 253;

/// What a data plane says of itself in the query, and where it comes from.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) id: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) version: Option<String>,
    ip: IpAddr,
}

impl Asker {
    /// Reads the arguments `node_id`, `node_hostname` and `node_version`; an empty one is none.
    pub(super) fn read(query: &str, ip: IpAddr) -> Self {
        let named = |wanted: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            let found = pairs.find(|(name, value)| name == wanted && !value.is_empty());
            found.map(|(_, value)| value.into_owned())
        };
        Self {
            id: named("node_id"),
            hostname: named("node_hostname"),
            version: named("node_version"),
            ip,
        }
    }
}

/// The suffix of Kong's lines (reference hybrid.md, section 4.4); missing parts are left out.
impl fmt::Display for Asker {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = Some(self.ip.to_string());
        let parts =
            [("id", &self.id), ("host", &self.hostname), ("ip", &ip), ("version", &self.version)];
        let mut separator = "[";
        for (name, value) in parts {
            let Some(value) = value else { continue };
            let shown: String =
                value.chars().filter(|it| !it.is_control()).take(SHOWN_MAX).collect();
            write!(out, "{separator}{name}: {shown}")?;
            separator = ", ";
        }
        out.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_left_out_and_lines_stay_whole() {
        let ip = IpAddr::from([127, 0, 0, 1]);
        let whole = Asker::read("node_id=1&node_hostname=a%0Ab&node_version=3.9.1", ip);
        assert_eq!(whole.to_string(), "[id: 1, host: ab, ip: 127.0.0.1, version: 3.9.1]");
        let bare = Asker::read("node_id=&x", ip);
        assert_eq!(bare.to_string(), "[ip: 127.0.0.1]");
        assert!(bare.id.is_none());
    }
}
