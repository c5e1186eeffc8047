//! The API under test: a writer on a log in a directory of its own, requests as function calls.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::body::Body;
use axum::extract::{Request, State};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::admin::auth::Auth;
use crate::admin::metrics::MetricsSource;
use crate::admin::status::StatusSource;
use crate::admin::{Admin, NodeInfo, Options, Parts, dispatch};
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::hash::ConfigHash;
use crate::domain::role::AdminRole;
use crate::fleet::Fleet;
use crate::log::sqlite::SqliteLog;
use crate::log::tokens::TokenStore;
use crate::promotion::keeper::Keeper;
use crate::settings::Role;
use crate::telemetry::Guard;
use crate::telemetry::counter::Snapshot;
use crate::telemetry::level::Level;
use crate::writer::Writer;

/// An id that nothing has.
pub(super) const ABSENT: &str = "00000000-0000-4000-8000-00000000dead";

pub(super) struct App {
    pub(super) admin: Admin,
    pub(super) fleet: Arc<Fleet>,
    pub(super) tokens: Arc<dyn TokenStore>,
    directory: PathBuf,
    task: JoinHandle<()>,
}

/// An answer, read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

pub(super) fn metrics_source() -> MetricsSource {
    MetricsSource {
        node_id: Uuid::nil(),
        config: Box::new(|| ConfigHash([0; 32])),
        seq: None,
        certificate_end: None,
        is_connected: None,
        balancers: Arc::default(),
        fleet: None,
        clock: Clock::System,
    }
}

pub(super) fn status_source() -> Arc<StatusSource> {
    Arc::new(StatusSource {
        counters: Box::new(|| Snapshot { total_requests: 7, ..Snapshot::default() }),
        memory_bytes: Box::new(|| 3 << 20),
        configuration_hash: None,
        database_reachable: Some(Box::new(|| true)),
        readiness: Box::new(|| Ok(())),
        metrics: metrics_source(),
        draining: AtomicBool::new(false),
    })
}

impl App {
    pub(super) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// Starts a node that is configured as a whole.
    pub(super) async fn without_database() -> Self {
        Self::with(Options { database_off: true, ..Options::default() }).await
    }

    pub(super) async fn with(options: Options) -> Self {
        Self::with_catalog(options, Catalog::new(Vec::new())).await
    }

    /// Starts the API with every plugin of this binary.
    pub(super) async fn with_plugins() -> Self {
        Self::with_catalog(Options::default(), crate::plugins::catalog(|_| true)).await
    }

    /// Starts the API over the kinds and plugins of a catalog.
    pub(super) async fn with_catalog(options: Options, catalog: Catalog) -> Self {
        Self::of(options, catalog, None, Clock::System).await
    }

    /// Starts an API that asks for tokens, or for certificates of these names.
    pub(super) async fn guarded(certificates: &[(&str, AdminRole)], clock: Clock) -> Self {
        let roles = certificates.iter().map(|(name, role)| ((*name).to_owned(), *role));
        let gui_origins = vec!["http://gui.test".to_owned(), "http://gui".to_owned()];
        let options = Options { gui_origins, ..Options::default() };
        Self::of(options, Catalog::new(Vec::new()), Some(roles.collect()), clock).await
    }

    async fn of(
        options: Options,
        catalog: Catalog,
        certificates: Option<BTreeMap<String, AdminRole>>,
        clock: Clock,
    ) -> Self {
        let directory = std::env::temp_dir().join(format!("hybridctl-{}", Clock::System.id()));
        std::fs::create_dir(&directory).unwrap();
        let log = Arc::new(SqliteLog::open(&directory.join("log.db")).await.unwrap());
        let catalog = Arc::new(catalog);
        let auth = match certificates {
            None => Auth::off(),
            Some(roles) => Auth::on(Some(log.clone()), roles, clock.clone()).await.unwrap(),
        };
        let tokens: Arc<dyn TokenStore> = log.clone();
        let opened = Writer::open(log.clone(), catalog, Clock::System).await;
        let (writer, task) = opened.unwrap();
        let task = tokio::spawn(task.run(std::future::pending()));
        let fleet = Arc::new(Fleet::new(600));
        let promotion =
            Keeper::open(log, writer.clone(), fleet.clone(), Clock::System).await.unwrap();
        let node = NodeInfo {
            id: Clock::System.id(),
            role: if options.database_off { Role::Traditional } else { Role::ControlPlane },
            hostname: "host-a".into(),
            pid: 1,
            configuration: Map::from_iter([("role".to_owned(), "control_plane".into())]),
        };
        let admin = Admin::new(Parts {
            writer,
            fleet: Some(fleet.clone()),
            promotion: Some(Arc::new(promotion)),
            node,
            status: status_source(),
            log: Arc::new(Guard::silent(Level::Notice)),
            auth: Arc::new(auth),
            balancers: Arc::default(),
            clock,
            options,
        });
        Self { admin, fleet, tokens, directory, task }
    }

    /// Ends the task behind the writer.
    pub(super) async fn stop_writer(&self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// Sends a request with a JSON body, or without one when it is null.
    pub(super) async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        match body {
            Value::Null => self.send_raw(method, path, &[], "").await,
            body => {
                let headers = [("content-type", "application/json")];
                self.send_raw(method, path, &headers, &body.to_string()).await
            }
        }
    }

    pub(super) async fn send_raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.answer(request).await
    }

    pub(super) async fn answer(&self, request: Request) -> Answer {
        let response = dispatch::dispatch(State(self.admin.clone()), request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Value::Null).await
    }

    pub(super) async fn form(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send_raw(method, path, &headers, body).await
    }

    /// Asserts that a request is answered with this status and, unless null, this body.
    pub(super) async fn expect(
        &self,
        (method, path): (&str, &str),
        body: Value,
        status: u16,
        expected: Value,
    ) {
        let shown = format!("{method} {path} {body}");
        let answer = self.send(method, path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{shown}: {}", answer.text);
        if !expected.is_null() {
            assert_eq!(answer.json(), expected, "{shown}");
        }
    }

    /// Creates an entity and returns its id.
    pub(super) async fn create(&self, path: &str, body: Value) -> String {
        let answer = self.send("POST", path, body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Makes a service `s` with a route `r`, and a service `other`.
    pub(super) async fn populate(&self) {
        self.create("/services", json!({"name": "s", "host": "a"})).await;
        self.create("/services", json!({"name": "other", "host": "a"})).await;
        self.create("/services/s/routes", json!({"name": "r", "paths": ["/a"]})).await;
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
