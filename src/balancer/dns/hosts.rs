//! The hosts file: names that need no name server.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

/// The addresses of names in lower case.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<Box<str>, Vec<IpAddr>>);

impl Hosts {
    /// Reads a hosts file; one that cannot be read has no names, and says so.
    pub(super) fn read(path: &Path) -> Self {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the hosts file");
                Self::parse("")
            }
        }
    }

    /// Parses lines of an address and names; `localhost` is known in any case.
    fn parse(text: &str) -> Self {
        let mut names: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(Ok(ip)) = words.next().map(str::parse) else { continue };
            for name in words {
                let known = names.entry(name.to_ascii_lowercase().into()).or_default();
                if !known.contains(&ip) {
                    known.push(ip);
                }
            }
        }
        let localhost = names.entry("localhost".into()).or_default();
        if localhost.is_empty() {
            *localhost = vec![[127, 0, 0, 1].into()];
        }
        Self(names)
    }

    /// Returns the addresses of a name, of one family: IPv4 if it has any.
    pub(super) fn find(&self, name: &str) -> Option<Vec<IpAddr>> {
        let all = self.0.get(name)?;
        let v4: Vec<_> = all.iter().copied().filter(IpAddr::is_ipv4).collect();
        Some(if v4.is_empty() { all.clone() } else { v4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_lines_have_their_addresses() {
        let hosts = Hosts::parse("10.0.0.1 a B.test # c\n#10.0.0.2 d\nnonsense a\n::1 a six\n");
        let found = |name: &str| hosts.find(name).map(|all| format!("{all:?}")).unwrap_or_default();
        assert_eq!(found("a"), "[10.0.0.1]");
        assert_eq!(found("b.test"), "[10.0.0.1]");
        assert_eq!(found("six"), "[::1]");
        assert_eq!((found("c"), found("d")), (String::new(), String::new()));
        assert_eq!(found("localhost"), "[127.0.0.1]");
    }
}
