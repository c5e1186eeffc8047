//! The index of HTTP routes: buckets by whole host, by the end of a host, by its beginning, and one for
//! all hosts.

use std::sync::Arc;

use imbl::GenericHashMap;
use imbl::shared_ptr::DefaultSharedPtr;

use super::RequestView;
use super::bucket::{Best, Bucket, Entry, Pass};
use super::candidate::{Candidate, HostKey, PathKey, Place};

/// Hosts come from our own configuration: no client can choose them to collide.
type Buckets = GenericHashMap<Arc<str>, Arc<Bucket>, foldhash::fast::RandomState, DefaultSharedPtr>;

/// All HTTP candidates; a clone shares what it holds.
#[derive(Clone, Default)]
pub(super) struct Hosts {
    /// By the whole host.
    exact: Buckets,
    /// By what follows `*` in a host, from the dot on.
    suffix: Buckets,
    /// By what precedes `*` in a host, up to the dot.
    prefix: Buckets,
    /// Routes without hosts.
    any: Arc<Bucket>,
}

impl Hosts {
    /// Adds a candidate at each of its places. Its patterns are found only after
    /// [`finish`](Self::finish).
    pub(super) fn insert(&mut self, candidate: &Arc<Candidate>) {
        for place in &candidate.places {
            let (port, nth) = (place.port, place.nth);
            let entry = Entry { candidate: candidate.clone(), port, nth };
            self.bucket(&place.host).insert(entry, &place.path);
        }
    }

    /// Removes a candidate.
    pub(super) fn remove(&mut self, candidate: &Arc<Candidate>) {
        for place in &candidate.places {
            let bucket = self.bucket(&place.host);
            bucket.remove(candidate, &place.path);
            if bucket.is_empty() {
                match &place.host {
                    HostKey::Exact(host) => self.exact.remove(host),
                    HostKey::Suffix(suffix) => self.suffix.remove(suffix),
                    HostKey::Prefix(prefix) => self.prefix.remove(prefix),
                    HostKey::Any => None,
                };
            }
        }
    }

    /// Prepares the patterns of a host that begin with `literal`, after they changed.
    pub(super) fn finish(&mut self, host: &HostKey, literal: &[u8]) {
        let bucket = match host {
            HostKey::Any => Some(&mut self.any),
            HostKey::Exact(host) => self.exact.get_mut(host),
            HostKey::Suffix(suffix) => self.suffix.get_mut(suffix),
            HostKey::Prefix(prefix) => self.prefix.get_mut(prefix),
        };
        if let Some(bucket) = bucket {
            Arc::make_mut(bucket).finish(literal);
        }
    }

    fn bucket(&mut self, host: &HostKey) -> &mut Bucket {
        let bucket = match host {
            HostKey::Any => &mut self.any,
            HostKey::Exact(host) => self.exact.entry(host.clone()).or_default(),
            HostKey::Suffix(suffix) => self.suffix.entry(suffix.clone()).or_default(),
            HostKey::Prefix(prefix) => self.prefix.entry(prefix.clone()).or_default(),
        };
        Arc::make_mut(bucket)
    }

    /// Returns the best match.
    pub(super) fn search<'r>(&'r self, request: &RequestView<'_>, pass: Pass) -> Option<Best<'r>> {
        let mut best = None;
        let host = request.host;
        if !self.exact.is_empty()
            && let Some(bucket) = self.exact.get(host)
        {
            bucket.search(request, pass, &mut best);
        }
        if !self.suffix.is_empty() || !self.prefix.is_empty() {
            // In `traditional` a wildcard stands for one character at least.
            let least = usize::from(pass.traditional);
            for (at, _) in host.match_indices('.') {
                if let Some(suffix) = host.get(at..).filter(|_| at >= least)
                    && let Some(bucket) = self.suffix.get(suffix)
                {
                    bucket.search(request, pass, &mut best);
                }
                if let Some(prefix) = host.get(..=at)
                    && prefix.len() + least <= host.len()
                    && let Some(bucket) = self.prefix.get(prefix)
                {
                    bucket.search(request, pass, &mut best);
                }
            }
        }
        self.any.search(request, pass, &mut best);
        best
    }
}

/// Returns where a host of a route is found, and the port that it names.
pub(super) fn place(host: &str) -> (HostKey, Option<u16>) {
    let (host, port) = split_port(host);
    let key = if let Some(suffix) = host.strip_prefix('*') {
        HostKey::Suffix(suffix.into())
    } else if let Some(prefix) = host.strip_suffix('*') {
        HostKey::Prefix(prefix.into())
    } else {
        HostKey::Exact(host.into())
    };
    (key, port)
}

/// Returns the places of all hosts of a route under all paths of a candidate.
pub(super) fn places(hosts: &[String], paths: &[(u32, PathKey)]) -> Vec<Place> {
    let mut keys: Vec<_> = hosts.iter().map(|host| place(host)).collect();
    if keys.is_empty() {
        keys.push((HostKey::Any, None));
    }
    let pairs = keys.iter().flat_map(|key| paths.iter().map(move |path| (key, path)));
    let place = |((host, port), (nth, path)): (&(HostKey, _), &(u32, PathKey))| Place {
        host: host.clone(),
        port: *port,
        path: path.clone(),
        nth: *nth,
    };
    pairs.map(place).collect()
}

/// Splits the port off a host of a route; an IPv6 address keeps its brackets.
pub(super) fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (host, None),
        },
        _ => (host, None),
    }
}
