//! How the targets of an upstream do (reference gateway-3, section E.3).
//!
//! Data planes know how targets do; a control plane carries no traffic and knows nothing of it, so
//! it answers what Kong's does: health checks are off there.

use axum::response::Response;
use serde_json::{Value, json};

use super::Admin;
use super::call::Call;
use super::error::ApiError;
use super::place::Named;
use super::status::Checked;
use super::{locate, read};
use crate::balancer::health::{Health, TargetHealth};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::entity::Entity;
use crate::domain::kinds::typedef;
use uuid::Uuid;

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
    of(&admin.0.catalog, head.snapshot.config(), (admin.0.node.id, None), call, upstream)
}

/// The same for any config of a node, which may know how targets do.
pub(super) fn of(
    catalog: &Catalog,
    config: &Config,
    (node_id, checked): (Uuid, Option<&Checked>),
    call: &Call,
    upstream: &Named,
) -> Result<Value, ApiError> {
    let upstream = locate::entity(catalog, config, upstream)?;
    let mut answer = match call.argument("balancer_health") {
        Some("1") => json!({"data": whole(config, upstream, checked), "next": null}),
        _ => read::targets(catalog, config, call, upstream, "health", |mut target| {
            let seen = Seen::of(&target, upstream, checked);
            target.insert("health".into(), seen.health.health.as_str().into());
            if checked.is_some() {
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
    fn of(target: &Document, upstream: &Entity, checked: Option<&Checked>) -> Self {
        let text = target.get("target").and_then(Value::as_str).unwrap_or_default();
        let (host, port) = typedef::split_host_port(text).unwrap_or((text, None));
        let weight = target.get("weight").and_then(Value::as_u64).unwrap_or(0);
        let health = checked
            .zip(port)
            .map_or_else(TargetHealth::unchecked, |(it, port)| it(upstream.id(), host, port));
        Self { host: host.to_owned(), port, weight, health }
    }

    /// Returns how much of the weight gets traffic.
    fn available(&self) -> u64 {
        let addresses = &self.health.addresses;
        if addresses.is_empty() {
            return if self.health.health.is_available() { self.weight } else { 0 };
        }
        let available = addresses.iter().filter(|it| it.health.is_available());
        available.map(|it| u64::from(it.weight)).sum()
    }

    fn describe(&self) -> Value {
        let addresses = self.health.addresses.iter().map(|it| {
            json!({"ip": it.ip, "port": it.port, "weight": it.weight, "health": it.health.as_str()})
        });
        json!({
            "host": self.host,
            "port": self.port,
            "nodeWeight": self.weight,
            "weight": weights(self.weight, self.available()),
            "addresses": addresses.collect::<Vec<_>>(),
        })
    }
}

fn weights(total: u64, available: u64) -> Value {
    let unavailable = total.saturating_sub(available);
    json!({"total": total, "available": available, "unavailable": unavailable})
}

/// The balancer has a peer if there is weight that gets traffic.
fn whole(config: &Config, upstream: &Entity, checked: Option<&Checked>) -> Value {
    let targets: Vec<_> = read::newest_targets(config, upstream)
        .iter()
        .map(|target| Seen::of(&target.document(), upstream, checked))
        .collect();
    let total = targets.iter().map(|target| target.weight).sum();
    let available = targets.iter().map(Seen::available).sum();
    let is_healthy = available > 0;
    let balancer_health = if is_healthy { Health::Healthy } else { Health::Unhealthy };
    let is_checked = targets
        .iter()
        .any(|target| matches!(target.health.health, Health::Healthy | Health::Unhealthy));
    let health = if is_checked { balancer_health } else { Health::Off };
    json!({
        "id": upstream.id(),
        "health": health.as_str(),
        "balancer_health": balancer_health.as_str(),
        "details": {
            "healthy": is_healthy,
            "weight": weights(total, available),
            "hosts": targets.iter().map(Seen::describe).collect::<Vec<_>>(),
        },
    })
}

/// Declares a target healthy or not, which needs a health checker.
pub(super) fn set(admin: &Admin, health: &Declared) -> Result<Response, ApiError> {
    let (head, catalog) = (admin.0.store.head(), &admin.0.catalog);
    let config = head.snapshot.config();
    let upstream = locate::entity(catalog, config, &health.upstream)?;
    locate::child(catalog, config, upstream.key(), &health.target, "upstream")?;
    let name = upstream.document().get("name").and_then(Value::as_str).map(str::to_owned);
    let name = name.unwrap_or_default();
    Err(ApiError::BadRequest(format!("no healthchecker found for {name}")))
}
