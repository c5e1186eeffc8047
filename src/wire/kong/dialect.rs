//! Which dialect a data plane speaks to which control plane (`cluster_protocol`). Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a control plane without a native path is taken for one of Kong.
const RETRY_NATIVE_AFTER: Duration = Duration::from_secs(600);

/// What the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The native dialect, or Kong's where a control plane has no native path. A data plane that
    /// has pinned a cluster stays with the native one.
    #[default]
    Auto,
    /// The native dialect.
    Native,
    /// Kong's dialect.
    Kong,
}

/// The dialect of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Signed heads, content by hash.
    Native,
    /// The whole configuration each time, unsigned.
    Kong,
}

/// What is known of control planes, by address.
#[derive(Clone, Debug, Default)]
pub struct Dialects {
    protocol: Protocol,
    /// Those that had no native path, and when that was asked.
    without_native: BTreeMap<String, Instant>,
}

impl Dialects {
    /// Makes what is known at the start.
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, without_native: BTreeMap::new() }
    }

    /// Returns the dialect to speak to a control plane; a data plane that has pinned a cluster
    /// takes nothing unsigned unless its operator says so.
    pub fn choose(&self, address: &str, is_pinned: bool, now: Instant) -> Dialect {
        let asked = self.without_native.get(address);
        let is_kong = asked.is_some_and(|at| now.duration_since(*at) < RETRY_NATIVE_AFTER);
        match self.protocol {
            Protocol::Kong => Dialect::Kong,
            Protocol::Auto if is_kong && !is_pinned => Dialect::Kong,
            Protocol::Auto | Protocol::Native => Dialect::Native,
        }
    }

    /// A control plane has no native path; returns whether Kong's dialect is to be tried now.
    pub fn has_no_native(&mut self, address: &str, is_pinned: bool, now: Instant) -> bool {
        self.without_native.insert(address.to_owned(), now);
        self.choose(address, is_pinned, now) == Dialect::Kong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_falls_back_by_address_and_asks_for_the_native_path_again() {
        let now = Instant::now();
        let mut dialects = Dialects::new(Protocol::Auto);
        assert_eq!(dialects.choose("a:1", false, now), Dialect::Native);
        assert!(dialects.has_no_native("a:1", false, now));
        assert_eq!(dialects.choose("a:1", false, now), Dialect::Kong);
        assert_eq!(dialects.choose("b:1", false, now), Dialect::Native, "that one is another");
        let later = now + RETRY_NATIVE_AFTER;
        assert_eq!(dialects.choose("a:1", false, later), Dialect::Native);
    }

    #[test]
    fn a_pinned_data_plane_takes_nothing_unsigned_unless_it_is_told_to() {
        let now = Instant::now();
        for (protocol, falls_back) in
            [(Protocol::Auto, false), (Protocol::Native, false), (Protocol::Kong, true)]
        {
            let mut dialects = Dialects::new(protocol);
            assert_eq!(dialects.has_no_native("a:1", true, now), falls_back, "{protocol:?}");
        }
        let mut native = Dialects::new(Protocol::Native);
        assert!(!native.has_no_native("a:1", false, now), "native means native");
    }
}
