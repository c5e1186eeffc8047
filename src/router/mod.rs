//! Matching requests and streams to routes, in each flavour
//! (behaviour: reference gateway-3, sections C.1 to C.4).
//!
//! HTTP routes are found by host, then by path: [`Router::matched`]. Stream routes are found by server
//! name or own port: [`Router::matched_stream`]. A route with an expression is found by the hosts and
//! the beginnings of paths that it asks for; one that asks for neither is tried on every request, in
//! order of priority.
//!
//! Invariants:
//! - the winner is what a scan over all routes in order of priority would find first;
//! - a lookup costs the labels of the host plus the length of the path, not the number of routes;
//! - patterns run in linear time;
//! - a clone shares its structure, so a change costs the routes that changed, not those that are there.

mod bucket;
mod candidate;
mod capture;
mod check;
mod expression;
mod group;
mod header;
mod hosts;
mod net;
mod path;
mod pattern;
mod rank;
mod stream;
mod trie;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use imbl::HashMap;
use regex::Regex;
use uuid::Uuid;

use crate::domain::kinds::route::{Flavour, Route};
use bucket::Pass;
use candidate::{Candidate, HostKey, PathKey, split};
use hosts::Hosts;
use stream::Streams;

pub use capture::UriCaptures;
pub use check::route_rule;
pub use net::Protocol;
pub use path::{PathHandling, upstream_path};

/// Calls back with each value of a header, given its name in lower case.
pub type HeaderLookup<'a> = dyn Fn(&str, &mut dyn FnMut(&str)) + 'a;

/// What a request is matched by.
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a str,
    /// The Host header as sent, without its port.
    pub host: &'a str,
    /// The port in the Host header.
    pub host_port: Option<u16>,
    /// The normalised path.
    pub path: &'a str,
    /// What follows `?`, as sent.
    pub query: Option<&'a str>,
    /// Calls back with each value of the header of this lower-case name.
    pub headers: &'a HeaderLookup<'a>,
    /// Where it came from and how.
    pub net: NetView<'a>,
}

impl RequestView<'_> {
    /// Returns the port that a host of a route may name: the one in the Host header in
    /// `traditional`, else the one that the request came to.
    fn port_of_host(&self, traditional: bool) -> u16 {
        let of_scheme = if self.net.protocol == Protocol::Https { 443 } else { 80 };
        match traditional {
            true => self.host_port.unwrap_or(of_scheme),
            false => self.net.destination.port(),
        }
    }
}

/// What a stream is matched by, and a request beside its head.
pub struct NetView<'a> {
    /// What is spoken.
    pub protocol: Protocol,
    /// The server name of the TLS handshake, also of one that is passed through.
    pub sni: Option<&'a str>,
    /// The client.
    pub source: SocketAddr,
    /// Our address and the port that the client knows.
    pub destination: SocketAddr,
}

/// The route that a request goes to.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'r> {
    /// The route.
    pub route: &'r Arc<Route>,
    /// What the route was put into the router with.
    pub slot: usize,
    /// How many bytes of the path its path matched; 0 when it has none.
    pub prefix_len: usize,
    pattern: Option<&'r Regex>,
}

impl<'r> Matched<'r> {
    /// Returns what the groups of the route's pattern matched in the normalised path, none if a
    /// prefix or no path matched. Costs another run of the pattern.
    pub fn captures<'p>(&self, path: &'p str) -> Option<UriCaptures<'p>>
    where
        'r: 'p,
    {
        self.pattern.and_then(|pattern| UriCaptures::of(pattern, path))
    }
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

/// All routes, indexed; a clone shares its structure.
#[derive(Clone)]
pub struct Router {
    flavour: Flavour,
    hosts: Hosts,
    streams: Streams,
    /// By route: what it was split into.
    parts: HashMap<Uuid, Arc<[Arc<Candidate>]>>,
}

impl Router {
    /// Returns a router without routes.
    pub fn new(flavour: Flavour) -> Self {
        let (hosts, streams, parts) = (Hosts::default(), Streams::default(), HashMap::new());
        Self { flavour, hosts, streams, parts }
    }

    /// Indexes routes, each with its slot.
    ///
    /// # Errors
    ///
    /// A pattern or expression that does not compile, with the id of its route.
    pub fn build(
        flavour: Flavour,
        routes: impl IntoIterator<Item = (usize, Arc<Route>)>,
    ) -> Result<Self, BuildError> {
        let mut router = Self::new(flavour);
        router.apply([], routes)?;
        Ok(router)
    }

    /// Returns which flavour it is.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Returns how the paths of a route are joined with those of its service.
    pub fn path_handling(&self, route: &Route) -> PathHandling {
        match (self.flavour, route.path_handling.as_deref()) {
            (Flavour::Traditional, Some("v1")) => PathHandling::V1,
            _ => PathHandling::V0,
        }
    }

    /// Returns how many routes there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Removes routes, then adds or replaces others, each with the slot that
    /// [`Matched::slot`] will tell. Costs about the routes given, whatever else is there.
    ///
    /// # Errors
    ///
    /// A pattern or expression that does not compile, with the id of its route; the router is then
    /// of no use.
    pub fn apply(
        &mut self,
        removed: impl IntoIterator<Item = Uuid>,
        put: impl IntoIterator<Item = (usize, Arc<Route>)>,
    ) -> Result<(), BuildError> {
        let removed: Vec<Uuid> = removed.into_iter().collect();
        let mut fresh = Vec::new();
        for (slot, route) in put {
            let parts = split(self.flavour, slot, &route)?.into_iter().map(Arc::new);
            fresh.push((route.id, parts.collect::<Arc<[Arc<Candidate>]>>()));
        }
        let mut touched = BTreeSet::new();
        let mut added = Vec::new();
        if removed.len() + fresh.len() > self.parts.len() / 2 {
            // Most is new: what stays is cheaper added again than what goes is taken out.
            for id in removed.iter().chain(fresh.iter().map(|(id, _)| id)) {
                self.parts.remove(id);
            }
            (self.hosts, self.streams) = (Hosts::default(), Streams::default());
            added.extend(self.parts.values().flat_map(|parts| parts.iter().cloned()));
        } else {
            for id in removed.iter().chain(fresh.iter().map(|(id, _)| id)) {
                self.take_out(*id, &mut touched);
            }
        }
        for (id, parts) in fresh {
            added.extend(parts.iter().cloned());
            self.parts.insert(id, parts);
        }
        // In order of rank, every list grows at its end.
        added.sort_by_key(|candidate| std::cmp::Reverse(candidate.rank));
        for candidate in &added {
            if rank::is_stream(&candidate.route) {
                self.streams.insert(candidate);
            } else {
                note_patterns(candidate, &mut touched);
                self.hosts.insert(candidate);
            }
        }
        for (host, literal) in &touched {
            self.hosts.finish(host, literal);
        }
        Ok(())
    }

    fn take_out(&mut self, id: Uuid, touched: &mut BTreeSet<(HostKey, Box<[u8]>)>) {
        let parts = self.parts.remove(&id);
        for candidate in parts.iter().flat_map(|parts| parts.iter()) {
            if rank::is_stream(&candidate.route) {
                self.streams.remove(candidate);
            } else {
                note_patterns(candidate, touched);
                self.hosts.remove(candidate);
            }
        }
    }

    /// Returns the route of the highest priority that a request matches.
    pub fn matched<'r>(&'r self, request: &RequestView<'_>) -> Option<Matched<'r>> {
        let traditional = self.flavour == Flavour::Traditional;
        let search = |snis| self.hosts.search(request, Pass { traditional, snis });
        let best = match search(false) {
            // Without TLS `traditional` gets to routes with server names by no other match.
            None if traditional && request.net.protocol == Protocol::Http => search(true),
            best => best,
        }?;
        let Candidate { route, slot, .. } = &**best.candidate;
        let (prefix_len, pattern) = (best.fit.prefix_len, best.fit.pattern);
        Some(Matched { route, slot: *slot, prefix_len, pattern })
    }

    /// Returns the stream route of the highest priority that a connection or session matches.
    ///
    /// Which protocol goes where the caller decides by the route's protocols: as with Kong, only
    /// the flavour `expressions` matches by protocol. For TLS that may have to be passed through the
    /// protocol is [`Protocol::Tls`] with the server name of its ClientHello; of a listener without
    /// TLS it is [`Protocol::Tcp`].
    pub fn matched_stream<'r>(&'r self, stream: &NetView<'_>) -> Option<Matched<'r>> {
        let candidate = self.streams.search(stream)?;
        let (route, slot) = (&candidate.route, candidate.slot);
        Some(Matched { route, slot, prefix_len: 0, pattern: None })
    }
}

/// Remembers where a candidate has patterns.
fn note_patterns(candidate: &Candidate, touched: &mut BTreeSet<(HostKey, Box<[u8]>)>) {
    for place in &candidate.places {
        if let PathKey::Pattern(pattern) = &place.path {
            touched.insert((place.host.clone(), pattern.literal.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
