//! How the targets of an upstream do (reference gateway-3, section E.3).
//!
//! Data planes know how targets do; a control plane carries no traffic and knows nothing of it, so
//! it answers what Kong's does: health checks are off there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use super::call::Call;
use super::error::ApiError;
use super::place::Named;
use super::{locate, read, reply};
use crate::balancer::Balancer;
use crate::balancer::health::{DeclareError, Health, TargetHealth};
use crate::balancer::target::{self, Endpoint};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::entity::Entity;
use crate::domain::kinds::typedef;
use uuid::Uuid;

/// The balancers of a node that carries traffic; neither closure blocks.
pub struct Balancers {
    /// Returns that of an upstream by its id.
    pub find: Box<dyn Fn(Uuid) -> Option<Arc<Balancer>> + Send + Sync>,
    /// Returns all of them, in any order.
    pub all: Box<dyn Fn() -> Vec<Arc<Balancer>> + Send + Sync>,
}

/// A target, or one address of it, that an operator declares healthy or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// The upstream.
    pub(super) upstream: Named,
    /// The target.
    pub(super) target: Named,
    /// One of the addresses that it resolves to; all when absent.
    pub(super) address: Option<String>,
    /// What it is declared.
    pub(super) healthy: bool,
}

/// Returns one page of the targets with their health, or with `balancer_health=1` that of the
/// upstream as a whole.
pub(super) fn show(admin: &Admin, call: &Call, upstream: &Named) -> Result<Value, ApiError> {
    let head = admin.0.store.head();
    of(
        &admin.0.catalog,
        head.snapshot.config(),
        (admin.0.node.id, admin.0.balancers.get()),
        call,
        upstream,
    )
}

/// The same for any config of a node, which may know how targets do.
pub(super) fn of(
    catalog: &Catalog,
    config: &Config,
    (node_id, balancers): (Uuid, Option<&Balancers>),
    call: &Call,
    upstream: &Named,
) -> Result<Value, ApiError> {
    let upstream = locate::entity(catalog, config, upstream)?;
    let balancer = balancers.and_then(|balancers| (balancers.find)(upstream.id()));
    let balancer = balancer.as_deref();
    let mut answer = match call.argument("balancer_health") {
        Some("1") => json!({"data": whole(config, upstream, balancer), "next": null}),
        _ => read::targets(catalog, config, call, upstream, "health", |mut target| {
            let seen = Seen::of(&target, balancer);
            target.insert("health".into(), seen.health.health.as_str().into());
            if balancers.is_some() {
                target.insert("data".into(), seen.describe());
            }
            target
        })?,
    };
    answer["node_id"] = node_id.to_string().into();
    Ok(answer)
}

/// A target and how it does.
struct Seen {
    host: String,
    port: Option<u16>,
    weight: u64,
    health: TargetHealth,
}

impl Seen {
    fn of(target: &Document, balancer: Option<&Balancer>) -> Self {
        let text = target.get("target").and_then(Value::as_str).unwrap_or_default();
        let (host, port) = typedef::split_host_port(text).unwrap_or((text, None));
        let weight = target.get("weight").and_then(Value::as_u64).unwrap_or(0);
        let health = balancer
            .zip(port)
            .map_or_else(TargetHealth::unchecked, |(balancer, port)| balancer.health(host, port));
        Self { host: host.to_owned(), port, weight, health }
    }

    /// Returns the weight of the addresses, and how much of it gets traffic.
    fn weights(&self) -> (u64, u64) {
        let addresses = &self.health.addresses;
        if addresses.is_empty() {
            let available = if self.health.health.is_available() { self.weight } else { 0 };
            return (self.weight, available);
        }
        let sum = |only_available: bool| {
            let counted = addresses.iter().filter(|it| !only_available || it.health.is_available());
            counted.map(|it| u64::from(it.weight)).sum()
        };
        (sum(false), sum(true))
    }

    fn describe(&self) -> Value {
        let addresses = self.health.addresses.iter().map(|it| {
            json!({"ip": it.ip, "port": it.port, "weight": it.weight, "health": it.health.as_str()})
        });
        json!({
            "host": self.host,
            "port": self.port,
            "nodeWeight": self.weight,
            "weight": weights(self.weights()),
            "addresses": addresses.collect::<Vec<_>>(),
        })
    }
}

fn weights((total, available): (u64, u64)) -> Value {
    let unavailable = total.saturating_sub(available);
    json!({"total": total, "available": available, "unavailable": unavailable})
}

/// The balancer has a peer if more of the weight gets traffic than the threshold asks for.
fn whole(config: &Config, upstream: &Entity, balancer: Option<&Balancer>) -> Value {
    let targets: Vec<_> = read::newest_targets(config, upstream)
        .iter()
        .map(|target| Seen::of(&target.document(), balancer))
        .collect();
    let (total, available) = targets
        .iter()
        .map(Seen::weights)
        .fold((0, 0), |sum, weights| (sum.0 + weights.0, sum.1 + weights.1));
    let threshold = balancer.map_or(0.0, |balancer| balancer.checks.threshold);
    let is_healthy = total > 0 && available as f64 / total as f64 * 100.0 > threshold;
    let balancer_health = if is_healthy { Health::Healthy } else { Health::Unhealthy };
    let is_checked = balancer.is_some_and(|balancer| balancer.checks.is_on);
    let health = if is_checked { balancer_health } else { Health::Off };
    json!({
        "id": upstream.id(),
        "health": health.as_str(),
        "balancer_health": balancer_health.as_str(),
        "details": {
            "healthy": is_healthy,
            "weight": weights((total, available)),
            "hosts": targets.iter().map(Seen::describe).collect::<Vec<_>>(),
        },
    })
}

/// Declares a target or an address of it healthy or not, which needs a health checker.
pub(super) fn set(admin: &Admin, health: &Declared) -> Result<Response, ApiError> {
    let (head, catalog) = (admin.0.store.head(), &admin.0.catalog);
    let config = head.snapshot.config();
    let upstream = locate::entity(catalog, config, &health.upstream)?;
    let target = locate::child(catalog, config, upstream.key(), &health.target, "upstream")?;
    let text = |entity: &Entity, field: &str| {
        entity.document().get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let target = Endpoint::parse(&text(target, "target")).ok_or(ApiError::NotFound)?;
    let address = health.address.as_deref().map(|it| address(it).ok_or(ApiError::NotFound));
    let address = address.transpose()?;
    let balancer = admin.0.balancers.get().and_then(|balancers| (balancers.find)(upstream.id()));
    let balancer = balancer.ok_or_else(|| {
        ApiError::BadRequest(format!("Upstream {} has no balancer", text(upstream, "name")))
    })?;
    balancer.declare(&target, address, health.healthy).map_err(|error| match error {
        DeclareError::NotChecked(_) => ApiError::BadRequest(error.to_string()),
        DeclareError::NoAddress => ApiError::NotFound,
    })?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// Reads an address, with the default port of targets without one.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = typedef::split_host_port(text).ok()?;
    let ip: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some(SocketAddr::new(ip, port.unwrap_or(target::PORT)))
}
