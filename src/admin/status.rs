//! The status API: is the node alive, is it ready, what does it carry
//! (reference hybrid.md, section 9; gateway-2, section B.6).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body::Body;
use super::call::{self, Call};
use super::error::ApiError;
use super::health::{self, Balancers};
use super::info::Info;
use super::metrics::{self, MetricsSource};
use super::place::Place;
use super::read::{self, View};
use super::reply::{self, Tells};
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::kinds::target;
use crate::snapshot::Snapshot;
use crate::telemetry::counter;

/// The bodies that the status API reads are one word.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Where the numbers come from; each closure is asked on every request and must not block.
pub struct StatusSource {
    /// Counts connections and requests.
    pub counters: Box<dyn Fn() -> counter::Snapshot + Send + Sync>,
    /// Measures the memory of the process, in bytes.
    pub memory_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Names the config that is served; for nodes without a database.
    pub configuration_hash: Option<Box<dyn Fn() -> String + Send + Sync>>,
    /// Tells whether the database answers; for nodes with one.
    pub database_reachable: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    /// Tells whether the node can do its work.
    pub readiness: Box<dyn Fn() -> Result<(), Unready> + Send + Sync>,
    /// What the metrics tell beside these.
    pub metrics: MetricsSource,
    /// Whether the operator took the node out of service.
    pub draining: AtomicBool,
}

/// Why a node is not ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unready {
    /// The operator took it out of service.
    #[error("draining")]
    Draining,
    /// The database does not answer.
    #[error("failed to connect to database")]
    Database,
    /// Not every worker routes by the config.
    #[error("router builds not yet complete, router ready in {ready} of {workers} workers")]
    Router {
        /// How many do.
        ready: usize,
        /// How many there are.
        workers: usize,
    },
    /// No config has arrived.
    #[error("no configuration available (configuration hash is not initialized)")]
    NoConfiguration,
    /// The config has no entities.
    #[error("no configuration available (empty configuration present)")]
    EmptyConfiguration,
}

impl StatusSource {
    fn readiness(&self) -> Result<(), Unready> {
        match self.draining.load(Ordering::Relaxed) {
            true => Err(Unready::Draining),
            false => (self.readiness)(),
        }
    }
}

/// Returns the answer of `GET /status`.
pub(super) fn report(source: &StatusSource, call: &Call) -> Result<Value, ApiError> {
    let counters =
        (source.counters)().fields().map(|(name, count)| (name.to_owned(), count.into()));
    let server = Map::from_iter(counters);
    let memory = Unit::read(call)?.show((source.memory_bytes)());
    let vm = json!({"pid": std::process::id(), "http_allocated_gc": memory});
    let mut report = json!({
        "memory": {"workers_lua_vms": [vm], "lua_shared_dicts": {}},
        "server": server,
    });
    if let (Some(members), Some(hash)) = (report.as_object_mut(), &source.configuration_hash) {
        members.insert("configuration_hash".into(), hash().into());
    }
    if let (Some(members), Some(reachable)) = (report.as_object_mut(), &source.database_reachable) {
        members.insert("database".into(), json!({"reachable": reachable()}));
    }
    Ok(report)
}

/// How bytes are shown: a number of bytes, or a text with a unit.
enum Unit {
    Bytes,
    Text { name: &'static str, bytes: f64, digits: usize },
}

/// More digits than this tell nothing of a count of bytes.
const DIGITS_MAX: usize = 20;

impl Unit {
    fn read(call: &Call) -> Result<Self, ApiError> {
        let wrong_scale = || ApiError::BadRequest("scale must be equal or greater than 0".into());
        let scale: f64 = match call.argument("scale") {
            Some(text) => text.parse().map_err(|_| wrong_scale())?,
            None => 2.0,
        };
        if scale.is_nan() || scale < 0.0 {
            return Err(wrong_scale());
        }
        let digits = (scale as usize).min(DIGITS_MAX);
        let text = |name, power| Self::Text { name, bytes: 1024_f64.powi(power), digits };
        match call.argument("unit").unwrap_or("m") {
            "b" | "B" => Ok(Self::Bytes),
            "k" | "K" => Ok(text("KiB", 1)),
            "m" | "M" => Ok(text("MiB", 2)),
            "g" | "G" => Ok(text("GiB", 3)),
            other => Err(ApiError::BadRequest(format!(
                "invalid unit '{other}' (expected 'k/K', 'm/M', or 'g/G')"
            ))),
        }
    }

    fn show(&self, count: u64) -> Value {
        match self {
            Self::Bytes => count.into(),
            Self::Text { name, bytes, digits } => {
                format!("{:.digits$} {name}", count as f64 / bytes, digits = *digits).into()
            }
        }
    }
}

/// The status API of one node.
#[derive(Clone)]
pub struct StatusApi {
    source: Arc<StatusSource>,
    upstreams: Option<Arc<Upstreams>>,
    clock: Clock,
    tells: Tells,
}

/// What the status API of a node without a database tells of upstreams.
pub struct Upstreams {
    /// The kinds and their paths.
    pub catalog: Arc<Catalog>,
    /// Returns what is served.
    pub snapshot: Box<dyn Fn() -> Arc<Snapshot> + Send + Sync>,
    /// What traffic is balanced by.
    pub balancers: Balancers,
    /// The node's id.
    pub node_id: Uuid,
}

impl StatusApi {
    /// Builds the API.
    pub fn new(source: Arc<StatusSource>, clock: Clock, tells: Tells) -> Self {
        Self { source, upstreams: None, clock, tells }
    }

    /// Makes it tell of upstreams, too.
    pub fn with_upstreams(mut self, upstreams: Upstreams) -> Self {
        self.upstreams = Some(Arc::new(upstreams));
        self
    }

    /// Returns the service that answers every request.
    pub fn router(&self) -> axum::Router {
        axum::Router::new().fallback(dispatch).with_state(self.clone())
    }
}

async fn dispatch(State(api): State<StatusApi>, request: Request) -> Response {
    let started = std::time::Instant::now();
    let is_head = request.method() == Method::HEAD;
    let request_id = call::client_request_id(request.headers())
        .unwrap_or_else(|| api.clock.id().simple().to_string());
    let mut response = match &api.upstreams {
        Some(upstreams) if request.uri().path().starts_with("/upstreams/") => {
            let answered = upstreams.answer(request, request_id.clone(), api.clock.now()).await;
            answered.unwrap_or_else(ApiError::into_response)
        }
        _ => respond(&api.source, request, request_id.clone()).await,
    };
    let latency_ms = started.elapsed().as_millis();
    reply::sign(&mut response, &request_id, api.tells, latency_ms);
    if is_head {
        reply::behead(&mut response);
    }
    response
}

/// Answers one request, without the common headers.
pub(super) async fn respond(
    source: &StatusSource,
    request: Request,
    request_id: String,
) -> Response {
    answer(source, request, request_id).await.unwrap_or_else(ApiError::into_response)
}

async fn answer(
    source: &StatusSource,
    request: Request,
    request_id: String,
) -> Result<Response, ApiError> {
    let path = request.uri().path().to_owned();
    let path = path.strip_suffix('/').unwrap_or(&path);
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let call = match path {
        "/status" | "/status/ready" | "/status/dns" | "/metrics" => {
            Call::read(request, request_id, BODY_BYTES_MAX).await?
        }
        _ => return Err(ApiError::NotFound),
    };
    match path {
        "/status/ready" if reads => Ok(ready(source)),
        "/status/ready" if call.method == Method::POST => drain(source, &call),
        "/status" if reads => Ok(reply::json(StatusCode::OK, &report(source, &call)?)),
        "/metrics" if reads => Ok(metrics::answer(source)),
        "/status/dns" if reads => {
            let message = "not implemented with the legacy DNS client";
            Ok(reply::json(StatusCode::NOT_IMPLEMENTED, &json!({"message": message})))
        }
        _ => Err(ApiError::MethodNotAllowed),
    }
}

impl Upstreams {
    async fn answer(
        &self,
        request: Request,
        request_id: String,
        at: DateTime<Utc>,
    ) -> Result<Response, ApiError> {
        let place = Place::resolve(&self.catalog, request.uri().path());
        let place = place.filter(|place| match place {
            Place::Info(Info::Health(_)) => true,
            place => place.kind() == Some(target::KIND),
        });
        let place = place.ok_or(ApiError::NotFound)?;
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err(ApiError::MethodNotAllowed);
        }
        let call = Call::read(request, request_id, BODY_BYTES_MAX).await?;
        let snapshot = (self.snapshot)();
        let config = snapshot.config();
        let body = match &place {
            Place::Info(Info::Health(upstream)) => {
                let of = (self.node_id, Some(&self.balancers));
                health::of(&self.catalog, config, of, &call, upstream)?
            }
            place => {
                let view = View { catalog: &self.catalog, config, at };
                return read::shown(&view, &call, place);
            }
        };
        Ok(reply::json(StatusCode::OK, &body))
    }
}

fn ready(source: &StatusSource) -> Response {
    match source.readiness() {
        Ok(()) => reply::json(StatusCode::OK, &json!({"message": "ready"})),
        Err(unready) => {
            tracing::info!("not ready for proxying: {unready}");
            let message = json!({"message": unready.to_string()});
            reply::json(StatusCode::SERVICE_UNAVAILABLE, &message)
        }
    }
}

fn drain(source: &StatusSource, call: &Call) -> Result<Response, ApiError> {
    let body = Body::read(call)?.into_plain();
    if body.get("status").and_then(Value::as_str) != Some("draining") {
        return Err(ApiError::BadRequest("status: expected 'draining'".into()));
    }
    source.draining.store(true, Ordering::Relaxed);
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
