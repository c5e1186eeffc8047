//! The index of stream routes: by server name for what comes over TLS, by own port for the rest.

use std::sync::Arc;

use imbl::HashMap;

use super::NetView;
use super::bucket::{Entry, List};
use super::candidate::Candidate;
use super::net::Protocol;
use crate::domain::kinds::route::Route;

/// All stream candidates; a clone shares what it holds.
#[derive(Clone, Default)]
pub(super) struct Streams {
    lists: HashMap<Place, Arc<List>>,
}

/// Where a candidate is looked for.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    /// Over TLS, with this server name.
    Name(Arc<str>),
    /// Over TLS, to this port.
    EncryptedPort(u16),
    /// Not over TLS, to this port.
    PlainPort(u16),
    /// Over TLS.
    Encrypted,
    /// Not over TLS.
    Plain,
}

impl Streams {
    /// Adds a candidate.
    pub(super) fn insert(&mut self, candidate: &Arc<Candidate>) {
        for place in places(&candidate.route) {
            let list = Arc::make_mut(self.lists.entry(place).or_default());
            list.insert(Entry { candidate: candidate.clone(), port: None, nth: 0 });
        }
    }

    /// Removes a candidate.
    pub(super) fn remove(&mut self, candidate: &Arc<Candidate>) {
        for place in places(&candidate.route) {
            let Some(list) = self.lists.get_mut(&place) else { continue };
            Arc::make_mut(list).remove(candidate);
            if list.is_empty() {
                self.lists.remove(&place);
            }
        }
    }

    /// Returns the best match.
    pub(super) fn search(&self, net: &NetView<'_>) -> Option<&Arc<Candidate>> {
        if self.lists.is_empty() {
            return None;
        }
        let port = net.destination.port();
        let encrypted = net.protocol == Protocol::Tls || net.sni.is_some();
        let name = net.sni.map(|sni| sni.strip_suffix('.').unwrap_or(sni));
        let places = match encrypted {
            true => [
                name.map(|name| Place::Name(name.into())),
                Some(Place::EncryptedPort(port)),
                Some(Place::Encrypted),
            ],
            false => [None, Some(Place::PlainPort(port)), Some(Place::Plain)],
        };
        let mut best: Option<&Arc<Candidate>> = None;
        for list in places.iter().flatten().filter_map(|place| self.lists.get(place)) {
            let better = |entry: &&Entry| best.is_none_or(|it| entry.candidate.rank > it.rank);
            let found = list.iter().take_while(better).find(|it| it.candidate.fits_stream(net));
            if let Some(entry) = found {
                best = Some(&entry.candidate);
            }
        }
        best
    }
}

/// Returns where a route is looked for.
fn places(route: &Route) -> Vec<Place> {
    let ports: Option<Vec<u16>> = route.destinations.iter().map(|own| own.port).collect();
    let ports = ports.filter(|ports| !ports.is_empty() && route.expression.is_none());
    let at_ports = |at: fn(u16) -> Place, any: Place| match &ports {
        Some(ports) => ports.iter().map(|port| at(*port)).collect(),
        None => vec![any],
    };
    let wildcard = route.snis.iter().any(|sni| sni.contains('*'));
    let mut places = at_ports(Place::PlainPort, Place::Plain);
    if route.snis.is_empty() || wildcard {
        places.extend(at_ports(Place::EncryptedPort, Place::Encrypted));
    } else {
        let names = route.snis.iter().map(|sni| sni.strip_suffix('.').unwrap_or(sni));
        places.extend(names.map(|name| Place::Name(name.into())));
    }
    places
}
