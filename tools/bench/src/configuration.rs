//! Configurations of any size: one entity in eleven is a service, the others are its routes.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use hybridctl::clock::Clock;
use hybridctl::domain::canonical::Document;
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::config::Config;
use hybridctl::domain::decide::{self, Fresh};
use hybridctl::domain::entity::Kind;
use hybridctl::domain::event::{EventKind, Origin};
use hybridctl::domain::kinds::{route, service};
use hybridctl::log::LogDatabase as _;
use hybridctl::log::sqlite::SqliteLog;
use hybridctl::writer::projector::Projector;
use hybridctl::writer::{Head, Writer};
use serde_json::{Value, json};

/// Routes for each service.
const ROUTES: usize = 10;

/// Returns a configuration of `size` entities, and the ids of its routes.
pub(crate) fn build(catalog: &Catalog, size: usize) -> anyhow::Result<(Config, Vec<String>)> {
    let mut config = Config::default();
    let (mut routes, mut service) = (Vec::new(), String::new());
    for number in 0..size {
        if number % (ROUTES + 1) == 0 {
            let body = json!({"name": format!("s{number}"), "url": "http://10.0.0.1:8080/api"});
            service = create(catalog, &mut config, service::KIND, body)?;
            continue;
        }
        let body = json!({
            "name": format!("r{number}"), "paths": [format!("/p/{number}")],
            "hosts": [format!("h{}.example.com", number % 1000)], "service": {"id": service},
        });
        routes.push(create(catalog, &mut config, route::KIND, body)?);
    }
    Ok((config, routes))
}

/// Decides one write, puts it into the config, and returns the new entity's id.
fn create(
    catalog: &Catalog,
    config: &mut Config,
    kind: Kind,
    body: Value,
) -> anyhow::Result<String> {
    let clock = Clock::System;
    let mut fresh = Fresh { at: clock.now(), id: &mut || clock.id() };
    let decision = decide::post(catalog, config, kind, document(body)?, &mut fresh);
    let decision = decision.map_err(|rejection| anyhow::anyhow!(rejection.message()))?;
    for change in &decision.changes {
        config.apply(catalog, change);
    }
    let first = decision.changes.first().context("a creation changes something")?;
    Ok(first.key().id.to_string())
}

/// Returns a body as the domain takes it.
pub(crate) fn document(body: Value) -> anyhow::Result<Document> {
    match body {
        Value::Object(members) => Ok(members.into_iter().collect()),
        _ => anyhow::bail!("a body is an object"),
    }
}

/// Says who writes.
pub(crate) fn origin() -> Origin {
    Origin {
        actor: "bench".into(),
        request_id: String::new(),
        source: "bench".into(),
        kind: EventKind::Written,
        reason: None,
    }
}

/// Makes a log of one event that has the config, and its stored snapshot beside it; returns what is
/// in force.
pub(crate) async fn store(
    file: &Path,
    catalog: &Arc<Catalog>,
    config: Config,
) -> anyhow::Result<Arc<Head>> {
    let log = Arc::new(SqliteLog::open(file).await?);
    let (writer, task) = Writer::open(log.clone(), catalog.clone(), Clock::System).await?;
    let task = tokio::spawn(task.run(std::future::pending()));
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let projector = Projector::new(log.clone(), writer.subscribe());
    let projector = tokio::spawn(projector.run(async { drop(ended.await) }));
    writer.import(origin(), config).await.context("cannot import")?;
    drop(end);
    projector.await?;
    task.abort();
    log.close().await;
    Ok(writer.head())
}
