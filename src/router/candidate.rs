//! Candidates: a route, split so that each part has one priority.

use std::sync::Arc;

use regex::Regex;
use uuid::Uuid;

use super::{BuildError, RequestView};
use crate::domain::kinds::route::Route;
use crate::domain::kinds::typedef;

/// The part of a route whose paths have one length, or are all patterns.
pub(super) struct Candidate {
    /// The route.
    pub(super) route: Arc<Route>,
    /// The place of the route among those that the router was built of.
    pub(super) slot: usize,
    /// Higher wins.
    pub(super) priority: u64,
    /// Decides between equal priorities: the larger wins.
    pub(super) tie: Uuid,
    /// What the path must begin with; without any, every path does.
    pub(super) paths: Vec<PathRule>,
    headers: Vec<HeaderRule>,
}

/// One path of a route.
#[derive(Clone)]
pub(super) enum PathRule {
    /// A prefix.
    Prefix(Box<str>),
    /// The source of a pattern, anchored at the start by the search.
    Pattern(Box<str>),
}

struct HeaderRule {
    /// In lower case.
    name: Box<str>,
    /// In lower case; one of them must be there.
    values: Vec<Box<str>>,
    /// A pattern, when the only value begins with `~*`.
    pattern: Option<Regex>,
}

/// The namespace of the ids of a route's parts (reference gateway-3, section C.2).
const PARTS: Uuid = Uuid::from_u128(0x7f14_5bf9_0dce_4f91_98eb_debb_ce4b_9f6b);

/// Splits a route into candidates: one for each length of its prefixes, one for its patterns.
pub(super) fn split(slot: usize, route: &Arc<Route>) -> Result<Vec<Candidate>, BuildError> {
    let headers = header_rules(route)?;
    // A pattern is grouped under no length.
    let mut groups: Vec<(Option<usize>, Vec<PathRule>)> = Vec::new();
    for path in &route.paths {
        let (length, rule) = match path.strip_prefix('~') {
            Some(pattern) => (None, PathRule::Pattern(pattern.into())),
            None => (Some(path.len()), PathRule::Prefix(path.as_str().into())),
        };
        match groups.iter_mut().find(|(known, _)| *known == length) {
            Some((_, rules)) => rules.push(rule),
            None => groups.push((length, vec![rule])),
        }
    }
    if groups.is_empty() {
        groups.push((Some(0), Vec::new()));
    }
    let several = groups.len() > 1;
    let part = |number: usize| match several {
        true => Uuid::new_v5(&PARTS, format!("{}#{}", route.id, number + 1).as_bytes()),
        false => route.id,
    };
    let candidate =
        |(number, (length, paths)): (usize, (Option<usize>, Vec<PathRule>))| Candidate {
            priority: priority(route, length),
            tie: part(number),
            paths,
            headers: headers.iter().map(HeaderRule::copy).collect(),
            route: route.clone(),
            slot,
        };
    Ok(groups.into_iter().enumerate().map(candidate).collect())
}

/// The 64 bits of reference gateway-3, section C.2.
fn priority(route: &Route, prefix_len: Option<usize>) -> u64 {
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
    let plain = !route.hosts.is_empty() && !route.hosts.iter().any(|host| host.contains('*'));
    let headers = route.headers.len().min(255) as u64;
    let mut bits = set << 61 | u64::from(plain) << 60 | headers << 52;
    match prefix_len {
        Some(length) => bits |= length.min(0x7_ffff) as u64,
        None => {
            let order = route.regex_priority.unwrap_or(0).clamp(0, i64::from(u32::MAX));
            bits |= 1 << 51 | order.unsigned_abs() << 19;
        }
    }
    bits
}

fn header_rules(route: &Route) -> Result<Vec<HeaderRule>, BuildError> {
    let rule = |(name, values): (&String, &Vec<String>)| {
        let pattern = match &values[..] {
            [value] => value.strip_prefix("~*").map(|pattern| {
                regex::RegexBuilder::new(pattern).case_insensitive(true).size_limit(1 << 20).build()
            }),
            _ => None,
        };
        let pattern = pattern.transpose().map_err(|error| BuildError {
            route: route.id,
            reason: format!("header {name}: {error}"),
        })?;
        Ok(HeaderRule {
            name: name.to_ascii_lowercase().into(),
            values: values.iter().map(|value| value.to_ascii_lowercase().into()).collect(),
            pattern,
        })
    };
    route.headers.iter().map(rule).collect()
}

impl HeaderRule {
    fn copy(&self) -> Self {
        let Self { name, values, pattern } = self;
        Self { name: name.clone(), values: values.clone(), pattern: pattern.clone() }
    }

    fn admits(&self, request: &RequestView<'_>) -> bool {
        let mut found = false;
        (request.headers)(&self.name, &mut |value| {
            found = found
                || match &self.pattern {
                    Some(pattern) => pattern.is_match(value),
                    None => self.values.iter().any(|wanted| value.eq_ignore_ascii_case(wanted)),
                };
        });
        found
    }
}

impl Candidate {
    /// Returns whether it asks for more than host name and path.
    pub(super) fn is_picky(&self) -> bool {
        let route = &self.route;
        !(route.methods.is_empty() && self.headers.is_empty() && route.snis.is_empty())
    }

    /// Returns whether everything but host name and path matches.
    pub(super) fn admits(&self, request: &RequestView<'_>) -> bool {
        let route = &self.route;
        (route.methods.is_empty() || route.methods.iter().any(|method| method == request.method))
            && self.headers.iter().all(|rule| rule.admits(request))
            && (route.snis.is_empty() || !request.scheme_https || self.admits_sni(request.sni))
    }

    fn admits_sni(&self, sni: Option<&str>) -> bool {
        let Some(sni) = sni.map(|sni| sni.strip_suffix('.').unwrap_or(sni)) else { return false };
        self.route.snis.iter().any(|wanted| {
            let wanted = wanted.strip_suffix('.').unwrap_or(wanted);
            if let Some(suffix) = wanted.strip_prefix('*') {
                sni.len() > suffix.len() && sni.ends_with(suffix)
            } else if let Some(prefix) = wanted.strip_suffix('*') {
                sni.len() > prefix.len() && sni.starts_with(prefix)
            } else {
                sni == wanted
            }
        })
    }

    /// Returns how many bytes of `path` one rule matches.
    #[cfg(test)]
    pub(super) fn matches_path(&self, path: &str) -> Option<usize> {
        if self.paths.is_empty() {
            return Some(0);
        }
        let rule = |rule: &PathRule| match rule {
            PathRule::Prefix(prefix) => path.starts_with(&**prefix).then_some(prefix.len()),
            PathRule::Pattern(pattern) => {
                typedef::compile(pattern).ok()?.find(path).map(|found| found.end())
            }
        };
        self.paths.iter().find_map(rule)
    }
}

/// Checks that a pattern compiles as the admin side accepts it.
pub(super) fn check(route: &Route, pattern: &str) -> Result<(), BuildError> {
    typedef::compile(pattern)
        .map(drop)
        .map_err(|reason| BuildError { route: route.id, reason: format!("{pattern}: {reason}") })
}
