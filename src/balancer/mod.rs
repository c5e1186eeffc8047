//! Which peer of an upstream gets a request, and which addresses a host name has.
//!
//! Weighted round-robin for now; hashing, least connections and health checks come on this seam
//! (behaviour: reference gateway-3, section E).
//!
//! Invariants:
//! - picking takes no lock and allocates nothing;
//! - over as many picks as the weights add up to, each target gets exactly its weight;
//! - the position carries over when targets change, so a change does not favour the first target.

pub mod health;
mod resolver;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::kinds::target::{Target, WEIGHT};
use crate::domain::kinds::typedef;
use crate::domain::kinds::upstream::Upstream;
pub use resolver::{ResolveError, Resolver};

/// One peer to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its place among the targets; what `tried` lists.
    pub index: usize,
    /// A host name or an address.
    pub host: Arc<str>,
    /// The address that `host` is, if it is one.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
    authority: Arc<str>,
}

impl Peer {
    /// Makes a peer; `host` is a name or an address, an IPv6 one with or without brackets.
    pub fn new(index: usize, host: &str, port: u16) -> Self {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let authority = match bare.contains(':') {
            true => format!("[{bare}]:{port}"),
            false => format!("{bare}:{port}"),
        };
        Self { index, host: bare.into(), ip: bare.parse().ok(), port, authority: authority.into() }
    }

    /// Returns host and port as a Host header has them: without the port if it is `default`.
    pub fn authority(&self, default: u16) -> &str {
        let end = self.authority.rfind(':').filter(|_| self.port == default);
        end.and_then(|end| self.authority.get(..end)).unwrap_or(&self.authority)
    }
}

/// The targets of an upstream in turn, each as often as its weight says.
#[derive(Debug)]
pub struct Balancer {
    peers: Vec<Peer>,
    /// Of each peer, as its target has it.
    weights: Vec<u32>,
    /// The sum of the weights up to and with each peer, in steps of their common divisor.
    ends: Vec<u64>,
    /// A step that has no divisor in common with the sum, so that it visits every position.
    stride: u64,
    position: AtomicU64,
}

impl Balancer {
    /// Builds the balancer of an upstream; `old` is the one that it replaces.
    ///
    /// Only round-robin is balanced here so far: [`unsupported`] names what else an upstream asks.
    pub fn build(targets: &[Target], old: Option<&Self>) -> Self {
        let mut peers = Vec::with_capacity(targets.len());
        let mut weights = Vec::with_capacity(targets.len());
        for target in targets.iter().filter(|target| weight(target) > 0) {
            let Ok((host, port)) = typedef::split_host_port(&target.target) else { continue };
            let index = peers.len();
            peers.push(Peer::new(index, host, port.unwrap_or(8000)));
            weights.push(weight(target));
        }
        let divisor = weights.iter().map(|weight| u64::from(*weight)).fold(0, gcd).max(1);
        let mut total = 0;
        let mut end = |weight: &u32| {
            total += u64::from(*weight) / divisor;
            total
        };
        let ends: Vec<u64> = weights.iter().map(&mut end).collect();
        let position = old.map_or(0, |old| old.position.load(Ordering::Relaxed));
        Self { peers, weights, ends, stride: stride(total), position: AtomicU64::new(position) }
    }

    /// Returns the next peer that is not among `tried`; none when all were, or there are none.
    pub fn pick(&self, tried: &[usize]) -> Option<&Peer> {
        let total = *self.ends.last()?;
        let position = self.position.fetch_add(1, Ordering::Relaxed) % total;
        // Fits: both are below 2^32 for as many targets of the largest weight as anyone has.
        let at = position.wrapping_mul(self.stride) % total;
        let first = self.ends.partition_point(|end| *end <= at);
        let order = self.peers.iter().cycle().skip(first).take(self.peers.len());
        order.into_iter().find(|peer| !tried.contains(&peer.index))
    }

    /// Returns the peers that get traffic.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }
}

/// Returns what an upstream asks for that no balancer does yet, for a warning at compile time.
pub fn unsupported(upstream: &Upstream) -> Option<String> {
    let algorithm = upstream.algorithm.as_deref().unwrap_or("round-robin");
    let checks = &upstream.healthchecks;
    let counts = &checks.passive.unhealthy;
    let passive = [counts.tcp_failures, counts.timeouts, counts.http_failures];
    let intervals = [checks.active.healthy.interval, checks.active.unhealthy.interval];
    if algorithm != "round-robin" {
        return Some(format!("algorithm {algorithm} is balanced as round-robin"));
    }
    let checked = intervals.iter().flatten().any(|seconds| *seconds > 0.0)
        || passive.iter().flatten().any(|count| *count > 0);
    checked.then(|| "health checks do not run yet".to_owned())
}

fn weight(target: &Target) -> u32 {
    target.weight.unwrap_or(WEIGHT)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Steps of about 0.618 of the whole spread consecutive picks evenly.
fn stride(total: u64) -> u64 {
    let wanted = (total as f64 * 0.618_033_988_75) as u64;
    (wanted.max(1)..).find(|step| gcd(*step, total.max(1)) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn targets(weights: &[u32]) -> Vec<Target> {
        let target = |(i, weight): (usize, &u32)| {
            let document = json!({
                "id": uuid::Uuid::from_u128(i as u128), "created_at": 1.0, "updated_at": 1.0,
                "upstream": {"id": uuid::Uuid::nil()}, "target": format!("h{i}:80"), "weight": weight,
            });
            serde_json::from_value(document).unwrap()
        };
        weights.iter().enumerate().map(target).collect()
    }

    proptest! {
        #[test]
        fn each_target_gets_its_weight(weights in prop::collection::vec(0_u32..50, 0..8)) {
            let balancer = Balancer::build(&targets(&weights), None);
            let wanted: Vec<u64> = weights.iter().filter(|w| **w > 0).map(|w| u64::from(*w)).collect();
            let divisor = wanted.iter().copied().fold(0, gcd).max(1);
            let mut seen = vec![0; wanted.len()];
            for _ in 0..wanted.iter().sum::<u64>() / divisor {
                seen[balancer.pick(&[]).unwrap().index] += divisor;
            }
            prop_assert_eq!(seen, wanted);
        }
    }

    #[test]
    fn a_retry_goes_to_a_target_not_tried() {
        let balancer = Balancer::build(&targets(&[1, 1000]), None);
        for _ in 0..10 {
            assert_eq!(balancer.pick(&[1]).map(|peer| peer.index), Some(0));
        }
        assert_eq!(balancer.pick(&[0, 1]), None);
        assert_eq!(Balancer::build(&[], None).pick(&[]), None);
    }

    #[test]
    fn consecutive_picks_are_spread() {
        let balancer = Balancer::build(&targets(&[2, 2]), None);
        let picks: Vec<_> = (0..4).map(|_| balancer.pick(&[]).unwrap().index).collect();
        assert_eq!(picks, [0, 1, 0, 1]);
    }

    #[test]
    fn the_position_carries_over() {
        let old = Balancer::build(&targets(&[1, 1]), None);
        let first = old.pick(&[]).unwrap().index;
        let new = Balancer::build(&targets(&[1, 1]), Some(&old));
        assert_ne!(new.pick(&[]).unwrap().index, first);
    }
}
