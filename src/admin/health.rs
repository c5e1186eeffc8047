//! How the targets of an upstream do (reference gateway-3, section E.3).
//!
//! Data planes check targets; a control plane carries no traffic and knows nothing of it, so it
//! answers what Kong's does: health checks are off here.

use axum::response::Response;
use serde_json::{Value, json};

use super::Admin;
use super::call::Call;
use super::error::ApiError;
use super::place::Named;
use super::{locate, read};
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::entity::Entity;
use uuid::Uuid;

/// What is said of a target that nobody checks.
const OFF: &str = "HEALTHCHECKS_OFF";

/// A target, or one address of it, that an operator declares healthy or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
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
    of(&admin.0.catalog, head.snapshot.config(), admin.0.node.id, call, upstream)
}

/// The same for any config.
pub(super) fn of(
    catalog: &Catalog,
    config: &Config,
    node_id: Uuid,
    call: &Call,
    upstream: &Named,
) -> Result<Value, ApiError> {
    let upstream = locate::entity(catalog, config, upstream)?;
    let mut answer = match call.argument("balancer_health") {
        Some("1") => json!({"data": whole(config, upstream), "next": null}),
        _ => read::targets(catalog, config, call, upstream, "health", |mut target| {
            target.insert("health".into(), OFF.into());
            target
        })?,
    };
    answer["node_id"] = node_id.to_string().into();
    Ok(answer)
}

/// Without checks every target counts as available: the balancer has a peer if one has weight.
fn whole(config: &Config, upstream: &Entity) -> Value {
    let targets: Vec<_> = read::newest_targets(config, upstream)
        .iter()
        .map(|target| target.document())
        .map(|target| (target.get("target").cloned(), target.get("weight").and_then(Value::as_u64)))
        .collect();
    let total: u64 = targets.iter().filter_map(|(_, weight)| *weight).sum();
    let weight = |total: u64| json!({"total": total, "available": total, "unavailable": 0});
    let hosts: Vec<_> = targets
        .into_iter()
        .map(|(target, own)| {
            let own = own.unwrap_or(0);
            let split =
                target.as_ref().and_then(Value::as_str).and_then(|text| text.rsplit_once(':'));
            let (host, port) = split.unwrap_or_default();
            let port = port.parse::<u16>().ok();
            json!({"host": host, "port": port, "nodeWeight": own, "weight": weight(own)})
        })
        .collect();
    let balancer_health = if total > 0 { "HEALTHY" } else { "UNHEALTHY" };
    json!({
        "id": upstream.id(),
        "health": OFF,
        "balancer_health": balancer_health,
        "details": {"healthy": total > 0, "weight": weight(total), "hosts": hosts},
    })
}

/// Declares a target healthy or not, which needs a health checker.
pub(super) fn set(admin: &Admin, health: &Health) -> Result<Response, ApiError> {
    let (head, catalog) = (admin.0.store.head(), &admin.0.catalog);
    let config = head.snapshot.config();
    let upstream = locate::entity(catalog, config, &health.upstream)?;
    locate::child(catalog, config, upstream.key(), &health.target, "upstream")?;
    let name = upstream.document().get("name").and_then(Value::as_str).map(str::to_owned);
    let name = name.unwrap_or_default();
    Err(ApiError::BadRequest(format!("no healthchecker found for {name}")))
}
