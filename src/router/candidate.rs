//! Candidates: a route, split so that each part has one rank.

use std::sync::Arc;

use regex::Regex;
use uuid::Uuid;

use super::bucket::Pass;
use super::expression::Expression;
use super::header::HeaderRule;
use super::net::NetRules;
use super::pattern::Pattern;
use super::rank::{self, PathClass, Rank};
use super::{BuildError, NetView, RequestView, hosts};
use crate::domain::kinds::route::{Flavour, Route};

/// The part of a route whose paths have one length, or are all patterns; in `traditional`, one path.
pub(super) struct Candidate {
    /// The route.
    pub(super) route: Arc<Route>,
    /// What whoever built the router knows the route by.
    pub(super) slot: usize,
    /// Its place in the order of all.
    pub(super) rank: Rank,
    /// Where the index has it.
    pub(super) places: Vec<Place>,
    condition: Condition,
}

/// One place in the index of HTTP routes.
pub(super) struct Place {
    pub(super) host: HostKey,
    pub(super) port: Option<u16>,
    pub(super) path: PathKey,
    /// Which of the route's paths it is, counted from 0.
    pub(super) nth: u32,
}

/// Which hosts a place is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum HostKey {
    /// All.
    Any,
    /// One.
    Exact(Arc<str>),
    /// Those with this end.
    Suffix(Arc<str>),
    /// Those with this beginning.
    Prefix(Arc<str>),
}

/// Which paths a place is for.
#[derive(Clone)]
pub(super) enum PathKey {
    /// All.
    None,
    /// Those with this beginning.
    Prefix(Arc<str>),
    /// Those that a pattern matches.
    Pattern(Arc<Pattern>),
}

/// What a request must fulfil beside being found at one of the places.
enum Condition {
    /// Nothing.
    None,
    /// The attributes.
    Attributes(Arc<Attributes>),
    /// An expression, whose places only narrow the search down.
    Expression { protocols: Arc<Attributes>, expression: Expression },
}

struct Attributes {
    net: NetRules,
    methods: Vec<String>,
    headers: Vec<HeaderRule>,
    /// In `traditional` server names alone do not match what comes without TLS.
    only_snis: bool,
}

/// How a request fits.
#[derive(Clone, Copy)]
pub(super) struct Fit<'r> {
    /// How many bytes of the path matched.
    pub(super) prefix_len: usize,
    /// The pattern that did.
    pub(super) pattern: Option<&'r Regex>,
}

/// The namespace of the ids of a route's parts (reference gateway-3, section C.2).
const PARTS: Uuid = Uuid::from_u128(0x7f14_5bf9_0dce_4f91_98eb_debb_ce4b_9f6b);

/// Splits a route into candidates: one for each length of its prefixes and one for its patterns, or
/// in `traditional` one for each path.
pub(super) fn split(
    flavour: Flavour,
    slot: usize,
    route: &Arc<Route>,
) -> Result<Vec<Candidate>, BuildError> {
    let fault = |reason| BuildError { route: route.id, reason };
    let attributes = Arc::new(Attributes::of(flavour, route).map_err(fault)?);
    if let Some(text) = &route.expression {
        if flavour != Flavour::Expressions {
            return Err(fault("this router_flavor reads no expressions".to_owned()));
        }
        let stream = rank::is_stream(route);
        let expression = Expression::parse(text, stream).map_err(fault)?;
        return Ok(vec![Candidate {
            route: route.clone(),
            slot,
            rank: rank::of(flavour, route, PathClass::Prefix(0), route.id),
            places: if stream { Vec::new() } else { expression.places() },
            condition: Condition::Expression { protocols: attributes, expression },
        }]);
    }
    let groups = groups(flavour, route).map_err(fault)?;
    let several = groups.len() > 1;
    let part = |number: usize| match several {
        true => Uuid::new_v5(&PARTS, format!("{}#{}", route.id, number + 1).as_bytes()),
        false => route.id,
    };
    let candidate = |(number, (class, paths)): (usize, Group)| Candidate {
        rank: rank::of(flavour, route, class, part(number)),
        places: if rank::is_stream(route) {
            Vec::new()
        } else {
            hosts::places(&route.hosts, &paths)
        },
        condition: match attributes.is_empty() {
            true => Condition::None,
            false => Condition::Attributes(attributes.clone()),
        },
        route: route.clone(),
        slot,
    };
    Ok(groups.into_iter().enumerate().map(candidate).collect())
}

/// Paths that count the same, each with its number.
type Group = (PathClass, Vec<(u32, PathKey)>);

/// Groups the paths of a route by what they count in its rank.
fn groups(flavour: Flavour, route: &Route) -> Result<Vec<Group>, String> {
    let mut groups: Vec<Group> = Vec::new();
    for (nth, path) in (0..).zip(&route.paths) {
        let (class, key) = match path.strip_prefix('~') {
            Some(pattern) => {
                let compiled = Pattern::of_path(flavour, pattern);
                let compiled = compiled.map_err(|reason| format!("{pattern}: {reason}"))?;
                (PathClass::Pattern, PathKey::Pattern(Arc::new(compiled)))
            }
            None => (PathClass::Prefix(path.len()), PathKey::Prefix(path.as_str().into())),
        };
        let same = groups.iter_mut().find(|(known, _)| *known == class);
        match same.filter(|_| flavour != Flavour::Traditional) {
            Some((_, keys)) => keys.push((nth, key)),
            None => groups.push((class, vec![(nth, key)])),
        }
    }
    if groups.is_empty() {
        groups.push((PathClass::Prefix(0), vec![(0, PathKey::None)]));
    }
    Ok(groups)
}

impl Attributes {
    fn of(flavour: Flavour, route: &Route) -> Result<Self, String> {
        let header = |(name, values): (&String, &Vec<String>)| {
            HeaderRule::new(flavour, name, values)
                .map_err(|reason| format!("header {name}: {reason}"))
        };
        let others = route.methods.len() + route.hosts.len() + route.paths.len();
        Ok(Self {
            net: NetRules::of(flavour, route)?,
            methods: route.methods.clone(),
            headers: route.headers.iter().map(header).collect::<Result<_, _>>()?,
            only_snis: !route.snis.is_empty() && others + route.headers.len() == 0,
        })
    }

    fn is_empty(&self) -> bool {
        self.net.is_empty() && self.methods.is_empty() && self.headers.is_empty()
    }

    fn admit(&self, request: &RequestView<'_>, pass: Pass) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|method| method == request.method))
            && self.net.admit(&request.net, pass.snis && !self.only_snis)
            && self.headers.iter().all(|rule| rule.admits(request))
    }
}

impl Candidate {
    /// Returns how a request fits that was found at one of the places, `prefix_len` bytes of
    /// its path matched.
    pub(super) fn fit<'r>(
        &'r self,
        request: &RequestView<'_>,
        pass: Pass,
        prefix_len: usize,
    ) -> Option<Fit<'r>> {
        let fit = Fit { prefix_len, pattern: None };
        match &self.condition {
            Condition::None => Some(fit),
            Condition::Attributes(attributes) => attributes.admit(request, pass).then_some(fit),
            Condition::Expression { protocols, expression } => {
                let admitted = protocols.net.admit(&request.net, true);
                if admitted { expression.fit(request) } else { None }
            }
        }
    }

    /// Returns whether a stream fits.
    pub(super) fn fits_stream(&self, net: &NetView<'_>) -> bool {
        match &self.condition {
            Condition::None => true,
            Condition::Attributes(attributes) => attributes.net.admit(net, false),
            Condition::Expression { protocols, expression } => {
                protocols.net.admit(net, false) && expression.fits_stream(net)
            }
        }
    }
}
