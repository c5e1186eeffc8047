//! What `/metrics` tells of upstreams: how each address of a target does, as Kong's prometheus
//! plugin tells it (reference gateway-4, section F), and what was counted of it, by names of ours.

use std::collections::HashSet;
use std::sync::Arc;

use crate::balancer::address::{Address, Moment};
use crate::balancer::health::Health;
use crate::balancer::{Algorithm, Balancer, Generation};
use crate::telemetry::exposition::Exposition;

/// The values of the label `state`; of each address exactly one has the value 1.
const STATES: [(Health, &str); 4] = [
    (Health::Off, "healthchecks_off"),
    (Health::Healthy, "healthy"),
    (Health::Unhealthy, "unhealthy"),
    (Health::DnsError, "dns_error"),
];

/// One address of a target; none of a target without.
struct Row<'a> {
    upstream: &'a str,
    target: String,
    address: String,
    health: Health,
    known: Option<&'a Address>,
    algorithm: Algorithm,
}

/// Writes the metrics of these balancers, by the names of their upstreams.
pub(super) fn write(balancers: &[Arc<Balancer>], page: &mut Exposition) {
    let mut generations: Vec<_> = balancers.iter().map(|it| (&**it, it.generation())).collect();
    generations.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    let rows: Vec<_> =
        generations.iter().flat_map(|(balancer, generation)| rows(balancer, generation)).collect();
    health(&rows, page);
    failures(&rows, page);
    let help = "Requests under way, of upstreams that are balanced by least-connections";
    let mut connections = page.gauge("hybridctl_upstream_target_connections", help);
    for (row, address) in of_algorithm(&rows, Algorithm::LeastConnections) {
        connections.sample(&row.labels(), f64::from(address.connections()));
    }
    let (now, help) = (Moment::now(), "Average latency, of upstreams that are balanced by latency");
    let mut latency = page.gauge("hybridctl_upstream_target_latency_milliseconds", help);
    for (row, address) in of_algorithm(&rows, Algorithm::Latency) {
        latency.sample(&row.labels(), address.latency_ms(now));
    }
}

fn rows<'a>(balancer: &'a Balancer, generation: &'a Generation) -> Vec<Row<'a>> {
    let (upstream, algorithm) = (balancer.name.as_str(), balancer.algorithm());
    let mut rows: Vec<_> = generation
        .members()
        .iter()
        .map(|member| Row {
            upstream,
            target: member.address.target.to_string(),
            address: member.address.socket().to_string(),
            health: balancer.health_of(&member.address),
            known: Some(&member.address),
            algorithm,
        })
        .collect();
    let with_address: HashSet<_> =
        generation.members().iter().map(|it| &it.address.target).collect();
    let without = generation.targets().iter().filter(|target| !with_address.contains(target));
    rows.extend(without.map(|target| Row {
        upstream,
        target: target.to_string(),
        address: String::new(),
        health: balancer.health_without_address(),
        known: None,
        algorithm,
    }));
    rows
}

fn health(rows: &[Row<'_>], page: &mut Exposition) {
    let help = "How a target does: the state that it is in is 1";
    let mut family = page.gauge("kong_upstream_target_health", help);
    for row in rows {
        let [upstream, target, address] = row.labels();
        for (health, state) in STATES {
            let labels = [upstream, target, address, ("state", state), ("subsystem", "http")];
            family.sample(&labels, f64::from(u8::from(row.health == health)));
        }
    }
}

fn failures(rows: &[Row<'_>], page: &mut Exposition) {
    let help = "Failures that health checks have seen, of traffic and of probes";
    let mut family = page.counter("hybridctl_upstream_target_failures_total", help);
    for row in rows.iter().filter(|row| row.health != Health::Off) {
        let Some(address) = row.known else { continue };
        let (seen, [upstream, target, at]) = (address.health.failures(), row.labels());
        for (kind, count) in [("tcp", seen.tcp), ("http", seen.http), ("timeout", seen.timeouts)] {
            family.sample(&[upstream, target, at, ("kind", kind)], count as f64);
        }
    }
}

fn of_algorithm<'a>(
    rows: &'a [Row<'a>],
    algorithm: Algorithm,
) -> impl Iterator<Item = (&'a Row<'a>, &'a Address)> {
    let rows = rows.iter().filter(move |row| row.algorithm == algorithm);
    rows.filter_map(|row| Some((row, row.known?)))
}

impl Row<'_> {
    fn labels(&self) -> [(&str, &str); 3] {
        [("upstream", self.upstream), ("target", &self.target), ("address", &self.address)]
    }
}
