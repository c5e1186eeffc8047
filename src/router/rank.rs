//! Which candidate goes first: the order of each flavour (reference gateway-3, section C.2).

use uuid::Uuid;

use crate::domain::kinds::route::{Endpoint, Flavour, Route};

/// The place of a candidate in the order of all; the largest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Rank {
    /// What counts most: the 64 bits of the expression flavours; the first four criteria of
    /// `traditional`.
    major: u64,
    /// `regex_priority` in `traditional`, shifted so that it sorts unsigned.
    order: u64,
    /// The length of the prefix in `traditional`.
    length: u64,
    /// How old the route is, in `traditional`.
    age: u64,
    /// The larger wins.
    tie: u128,
}

/// What of a route's paths a candidate has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathClass {
    /// Prefixes of this length in bytes; 0 where there is no path.
    Prefix(usize),
    /// Patterns.
    Pattern,
}

/// Returns the rank of a part of a route.
pub(super) fn of(flavour: Flavour, route: &Route, class: PathClass, id: Uuid) -> Rank {
    match flavour {
        Flavour::Traditional => traditional(route, class),
        Flavour::TraditionalCompatible | Flavour::Expressions => {
            let major = match (&route.expression, is_stream(route)) {
                // Above all routes without an expression.
                (Some(_), _) => 0xff << 56 | route.priority.unwrap_or(0),
                (None, true) => stream(route),
                (None, false) => http(route, class),
            };
            Rank { major, tie: id.as_u128(), ..Rank::default() }
        }
    }
}

/// Returns whether a route is for streams, not for HTTP.
pub(super) fn is_stream(route: &Route) -> bool {
    let http = ["http", "https", "grpc", "grpcs"];
    !route.protocols.iter().any(|protocol| http.contains(&protocol.as_str()))
}

fn has_wildcard(host: &str) -> bool {
    host.contains('*')
}

fn http(route: &Route, class: PathClass) -> u64 {
    let attributes = [
        route.methods.is_empty(),
        route.hosts.is_empty(),
        route.headers.is_empty(),
        route.snis.is_empty(),
        route.paths.is_empty(),
        route.sources.is_empty(),
        route.destinations.is_empty(),
    ];
    let set = attributes.iter().filter(|empty| !**empty).count().min(7) as u64;
    let plain = !route.hosts.is_empty() && !route.hosts.iter().any(|host| has_wildcard(host));
    let headers = route.headers.len().min(255) as u64;
    let bits = set << 61 | u64::from(plain) << 60 | headers << 52;
    bits | match class {
        PathClass::Prefix(length) => length.min(0x7_ffff) as u64,
        PathClass::Pattern => {
            let order = route.regex_priority.unwrap_or(0).clamp(0, i64::from(u32::MAX));
            1 << 51 | order.unsigned_abs() << 19
        }
    }
}

fn stream(route: &Route) -> u64 {
    let both = !route.sources.is_empty() && !route.destinations.is_empty();
    let first = !route.snis.is_empty() || both;
    u64::from(first) << 61 | weight(&route.sources) << 4 | weight(&route.destinations)
}

/// Addresses count more than ports, and ports more than ranges.
fn weight(endpoints: &[Endpoint]) -> u64 {
    endpoints.iter().fold(0, |weight, endpoint| {
        let ip = endpoint.ip.as_deref().map_or(0, |ip| if ip.contains('/') { 1 } else { 8 });
        weight | ip | if endpoint.port.is_some() { 4 } else { 0 }
    })
}

fn traditional(route: &Route, class: PathClass) -> Rank {
    // In order of weight.
    let categories = [
        !route.hosts.is_empty(),
        !route.headers.is_empty(),
        !route.paths.is_empty(),
        !route.methods.is_empty(),
        !route.snis.is_empty(),
        !route.sources.is_empty(),
        !route.destinations.is_empty(),
    ];
    let set = categories.iter().filter(|set| **set).count() as u64;
    let mask = categories.iter().fold(0, |mask, set| mask << 1 | u64::from(*set));
    let with_port =
        |host: &String| has_wildcard(host) && super::hosts::split_port(host).1.is_some();
    let pattern = class == PathClass::Pattern;
    let plain = !route.hosts.is_empty() && !route.hosts.iter().any(|host| has_wildcard(host));
    let finer = u64::from(route.hosts.iter().any(with_port)) << 2
        | u64::from(plain) << 1
        | u64::from(pattern);
    let headers = route.headers.len().min(0xffff) as u64;
    let order = route.regex_priority.unwrap_or(0).wrapping_sub(i64::MIN) as u64;
    Rank {
        major: set << 40 | mask << 32 | finer << 24 | headers,
        order: if pattern { order } else { 0 },
        length: match class {
            PathClass::Prefix(length) => length as u64,
            PathClass::Pattern => 0,
        },
        age: u64::MAX - route.created_at.unsigned_abs(),
        // Kong leaves it open who of two equally old routes wins.
        tie: !route.id.as_u128(),
    }
}
