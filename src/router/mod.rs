//! Matching requests to routes, flavour `traditional_compatible`
//! (behaviour: reference gateway-3, sections C.1 to C.4).
//!
//! Invariants:
//! - the winner is what a scan over all routes in order of priority would find first;
//! - a lookup costs the labels of the host plus the length of the path, not the number of routes;
//! - patterns run in linear time.

mod candidate;
mod index;
mod path;
mod trie;

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::domain::kinds::route::Route;
use candidate::{Candidate, split};
use index::{Bucket, Entry};
pub use path::upstream_path;

/// Calls back with each value of a header, given its name in lower case.
pub type HeaderLookup<'a> = dyn Fn(&str, &mut dyn FnMut(&str)) + 'a;

/// What a request is matched by.
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a str,
    /// The Host header as sent, without its port.
    pub host: &'a str,
    /// The port that the request came to.
    pub port: u16,
    /// The normalised path.
    pub path: &'a str,
    /// The server name of the TLS handshake.
    pub sni: Option<&'a str>,
    /// Whether it came over TLS.
    pub scheme_https: bool,
    /// Calls back with each value of the header of this lower-case name.
    pub headers: &'a HeaderLookup<'a>,
}

/// The route that a request goes to.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'r> {
    /// The route.
    pub route: &'r Arc<Route>,
    /// Its place among the routes that the router was built of.
    pub slot: usize,
    /// How many bytes of the path its path matched; 0 when it has none.
    pub prefix_len: usize,
}

/// Why a route cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("route {route}: {reason}")]
pub struct BuildError {
    /// Which route.
    pub route: Uuid,
    /// What is wrong with it.
    pub reason: String,
}

/// Hosts come from our own configuration: no client can choose them to collide.
type Hosts = HashMap<Box<str>, Bucket, foldhash::fast::RandomState>;

/// All routes, indexed by host and path. Immutable.
pub struct Router {
    candidates: Vec<Candidate>,
    /// By the whole host.
    exact: Hosts,
    /// By what follows `*` in a host, from the dot on.
    suffix: Hosts,
    /// By what precedes `*` in a host, up to the dot.
    prefix: Hosts,
    /// Routes without hosts.
    any: Bucket,
}

impl Router {
    /// Indexes the routes that speak HTTP; stream routes are left out.
    ///
    /// # Errors
    ///
    /// A pattern that does not compile, with the id of its route.
    pub fn build(routes: impl IntoIterator<Item = Arc<Route>>) -> Result<Self, BuildError> {
        let mut router = Self {
            candidates: Vec::new(),
            exact: Hosts::default(),
            suffix: Hosts::default(),
            prefix: Hosts::default(),
            any: Bucket::default(),
        };
        for (slot, route) in routes.into_iter().enumerate() {
            if route
                .protocols
                .iter()
                .any(|p| matches!(p.as_str(), "http" | "https" | "grpc" | "grpcs"))
            {
                router.add(slot, &route)?;
            }
        }
        let candidates = &router.candidates;
        for bucket in router
            .exact
            .values_mut()
            .chain(router.suffix.values_mut())
            .chain(router.prefix.values_mut())
            .chain([&mut router.any])
        {
            bucket.finish(candidates)?;
        }
        Ok(router)
    }

    /// Returns how many routes there are, each path length counted.
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    fn add(&mut self, slot: usize, route: &Arc<Route>) -> Result<(), BuildError> {
        for candidate in split(slot, route)? {
            let index = self.candidates.len();
            let paths = candidate.paths.clone();
            self.candidates.push(candidate);
            if route.hosts.is_empty() {
                self.any.insert(Entry { candidate: index, port: None }, &paths);
            }
            for host in &route.hosts {
                let (host, port) = split_port(host);
                let bucket = if let Some(suffix) = host.strip_prefix('*') {
                    self.suffix.entry(suffix.into()).or_default()
                } else if let Some(prefix) = host.strip_suffix('*') {
                    self.prefix.entry(prefix.into()).or_default()
                } else {
                    self.exact.entry(host.into()).or_default()
                };
                bucket.insert(Entry { candidate: index, port }, &paths);
            }
        }
        Ok(())
    }

    /// Returns the route of the highest priority that matches.
    pub fn matched<'r>(&'r self, request: &RequestView<'_>) -> Option<Matched<'r>> {
        let mut best = None;
        if !self.exact.is_empty()
            && let Some(bucket) = self.exact.get(request.host)
        {
            bucket.search(&self.candidates, request, &mut best);
        }
        if !self.suffix.is_empty() || !self.prefix.is_empty() {
            for (at, _) in request.host.match_indices('.') {
                // A wildcard stands for one character at least.
                if let Some(suffix) = request.host.get(at..).filter(|_| at > 0)
                    && let Some(bucket) = self.suffix.get(suffix)
                {
                    bucket.search(&self.candidates, request, &mut best);
                }
                if let Some(prefix) = request.host.get(..=at)
                    && prefix.len() < request.host.len()
                    && let Some(bucket) = self.prefix.get(prefix)
                {
                    bucket.search(&self.candidates, request, &mut best);
                }
            }
        }
        self.any.search(&self.candidates, request, &mut best);
        let best = best?;
        let candidate = self.candidates.get(best.candidate)?;
        let (route, slot) = (&candidate.route, candidate.slot);
        Some(Matched { route, slot, prefix_len: best.prefix_len })
    }
}

/// Splits the port off a host of a route; an IPv6 address keeps its brackets.
fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (host, None),
        },
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests;
