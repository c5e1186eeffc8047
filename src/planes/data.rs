//! The data plane: cache, cluster link, runtime, proxy, status API.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

use super::apply::{Applier, Origin, rejected};
use super::certificates::Certificates;
use super::control::{Hall, serve_all};
use super::kong;
use super::listen::Face;
use super::node::{self, Counts};
use super::origin::{self, Start};
use super::served::{Served, serve_head, serve_heads};
use super::sockets::Sockets;
use super::status::{self, Reachable};
use super::tasks::Tasks;
use super::traffic::Traffic;
use super::trust::{self, NodeTrust, UpstreamTrust};
use crate::admin::health::Balancers;
use crate::admin::metrics::MetricsSource;
use crate::admin::status::{StatusApi, StatusSource, Upstreams};
use crate::admin::{Api, Tells};
use crate::balancer::dns::resolver::{Resolver, resolver};
use crate::balancer::health::HealthFile;
use crate::balancer::health::checker::{Checker, checker};
use crate::clock::Clock;
use crate::domain::hash::ConfigHash;
use crate::pki::cluster::{LiveIdentity, cluster_client_config};
use crate::pki::upstream::{TrustStore, UpstreamOptions, upstream_client_config};
use crate::plugins::state::PluginState;
use crate::proxy::listener::Ending;
use crate::runtime::{CompileError, Handle, LiveTls, NodeTls, Tools};
use crate::settings::{ClusterProtocol, Database, Settings};
use crate::snapshot::Snapshot;
use crate::snapshot::file::KongOrigin;
use crate::snapshot::head::SignedHead;
use crate::wire::content::TlsLink;
use crate::wire::follow::{Apply, Link, LinkState, follow};
use crate::wire::frame::{Hello, PROTOCOL, Pin};
use crate::wire::kong::attach::ApplyUnsigned;
use crate::wire::session::publisher::Timing;
use crate::wire::tunnel::ForwardProxy;
use crate::writer::Writer;

/// How long the first pause before a new attempt is at the most; it is at least a second, and a fleet
/// that has lost its control plane is spread from the first attempt on.
const RETRY: Duration = Duration::from_secs(2);

/// How often old runtimes are looked after.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// When the plane stops at once.
const STOP: Ending = Ending { idle: Duration::ZERO, within: Duration::from_millis(100) };

/// How long a connection that waits for a request is kept when the plane ends, at the most.
const QUIT_IDLE: Duration = Duration::from_secs(1);

/// A running data plane.
pub struct Data {
    /// Where the proxy listens.
    pub proxy: Vec<SocketAddr>,
    /// Where streams come to.
    pub streams: Vec<SocketAddr>,
    /// Where the status API listens.
    pub status: Vec<SocketAddr>,
    handle: Handle,
    link: watch::Receiver<LinkState>,
    traffic: Box<Traffic>,
    /// Of a node that follows control planes.
    applier: Option<Applier>,
    health: HealthFile,
    settings: watch::Sender<Arc<Settings>>,
    tasks: Tasks,
    /// What looks up names, for as long as there is traffic.
    names: Tasks,
}

impl Data {
    /// Builds and starts everything; it serves what it has when this returns.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from starting.
    pub async fn start(settings: &Settings, clock: Clock) -> anyhow::Result<Self> {
        Self::start_from(settings, clock, None, (Counts::new(), &Sockets::default())).await
    }

    /// Does the same on the sockets that it finds open.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from starting.
    pub(super) async fn start_on(
        settings: &Settings,
        clock: Clock,
        place: (Counts, &Sockets),
    ) -> anyhow::Result<Self> {
        Self::start_from(settings, clock, None, place).await
    }

    /// Builds and starts the data half of a traditional node, which serves what is written.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from starting.
    pub(super) async fn start_local(
        settings: &Settings,
        clock: Clock,
        writer: &Writer,
        place: (Counts, &Sockets),
        balancers: &OnceLock<Balancers>,
    ) -> anyhow::Result<Self> {
        let data = Self::start_from(settings, clock, Some(writer.clone()), place).await?;
        // A second half would be a bug of who starts it, and is not asked.
        let _ = balancers.set(status::balancers(&data.handle));
        Ok(data)
    }

    async fn start_from(
        settings: &Settings,
        clock: Clock,
        writer: Option<Writer>,
        (counts, sockets): (Counts, &Sockets),
    ) -> anyhow::Result<Self> {
        let heads = writer.as_ref().map(Writer::subscribe);
        let catalog = Arc::new(super::catalog(settings)?);
        let NodeTrust { texts, tls } = NodeTrust::read(settings)?;
        let (resolver, resolving) = resolver(&settings.dns);
        let (health, is_read) = health(settings, &clock, sockets);
        let (checker, checking) = checker(clock.clone(), is_read.then(|| health.clone()));
        let names = resolver.clone();
        let tools = tools(settings, tls, &clock, (resolver, checker));
        let served = Served::nothing();
        let (handle, mut start) = (served.handle.clone(), None);
        match &heads {
            None => {
                let (served, tools) = (served.clone(), tools.clone());
                let applier = Applier::open(settings, catalog.clone(), served, tools);
                start = Some((origin::start(settings, &applier, &clock)?, applier));
            }
            Some(heads) => serve_head(&served, &heads.borrow().clone(), &tools),
        }
        let applier = start.as_ref().map(|(_, applier)| applier.clone());

        let (live, mut certificates) = Certificates::new(settings, &clock);
        certificates.add_upstreams(UpstreamTrust::new(texts, served.clone(), tools.clone()));
        let followed = certificates.listeners().clone();
        let (mut tasks, mut looking_up) = (Tasks::new(), Tasks::new());
        looking_up.spawn(resolving.run(looking_up.stopped()));
        looking_up.spawn(checking.run(looking_up.stopped()));
        let database = writer.filter(|_| settings.database != Database::Off);
        let database = database.map(|it| -> Reachable { Arc::new(move || it.reaches_log()) });
        let (state, link) = watch::channel(LinkState::default());
        let identity = match &start {
            Some(_) => Some(certificates.add_cluster()?),
            None => None,
        };
        let is_linked = start.as_ref().map(|_| link.clone());
        let metrics = metrics(settings, &handle, (identity.clone(), is_linked), &clock);
        // A node with a database tells of upstreams on its Admin API.
        let upstreams = database.is_none();
        let upstreams = upstreams.then(|| status::upstreams(settings, &catalog, &served, &clock));
        let source = status::source(&served, &counts, database, metrics);
        let status_api = status_api(settings, source, upstreams, &clock);
        // Whoever says that it is ready accepts connections.
        let (open, opened) = watch::channel(false);
        let mut hall = Hall { opened, ..Hall::new(&mut tasks, &followed, sockets) };
        let listening = serve_all(&mut hall, settings, Face::Status, status_api, &counts)?;
        tasks.spawn(sweep(handle.clone(), applier.clone(), tasks.stopped()));
        if let (Some((start, applier)), Some(identity)) = (start, identity) {
            let cluster = cluster_link(settings, start, applier, (identity, clock))?;
            tasks.spawn(follow(cluster, state, tasks.stopped()));
        } else if let Some(heads) = heads {
            tasks.spawn(serve_heads(served, heads, tools, tasks.stopped()));
        }
        tasks.spawn(certificates.follow(tasks.stopped()));
        // Last: a process that cannot start must not have accepted a connection.
        let by = (handle.clone(), names, followed);
        let traffic = Box::new(Traffic::start(settings, by, (&counts, sockets))?);
        open.send_replace(true);
        let ((proxy, streams), names) = (traffic.addresses(), looking_up);
        tracing::info!(config_hash = %handle.load().config_hash, "data plane serves");
        let (status, settings) = (listening, live);
        Ok(Self {
            proxy,
            streams,
            status,
            handle,
            link,
            traffic,
            applier,
            health,
            settings,
            tasks,
            names,
        })
    }

    /// Returns which config is served.
    pub fn config_hash(&self) -> ConfigHash {
        self.handle.load().config_hash
    }

    /// Returns why the cluster link failed last, unless it works.
    pub fn last_link_error(&self) -> Option<String> {
        self.link.borrow().last_error.clone()
    }

    /// Takes over what these settings say of certificates and of the proxy: connections that are open
    /// go on as they are. What cannot be taken over is logged, and stays as it was.
    pub fn reload(&mut self, settings: &Settings) {
        self.settings.send_replace(Arc::new(settings.clone()));
        match self.traffic.reload(settings) {
            Ok(()) => (self.proxy, self.streams) = self.traffic.addresses(),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "new settings of the proxy cannot be used, the old ones stay"
                );
            }
        }
    }

    /// Leaves the prefix to a process that may take the place of this one.
    pub(super) fn lend(&self) {
        self.applier.iter().for_each(Applier::lend);
        self.health.write(self.handle.load().balancers().cloned());
    }

    /// Goes on, since that process did not come to serve.
    pub(super) fn take_back(&self) {
        self.applier.iter().for_each(Applier::take_back);
        self.health.remove();
    }

    /// Ends after what is under way: another process serves what comes.
    pub(super) async fn retire(mut self, within: Duration) {
        self.applier.iter().for_each(Applier::give_up);
        self.health.leave();
        // Idle connections end by themselves, or with the answer to one more request.
        let ending = Ending { idle: within, within };
        tokio::join!(self.traffic.end(ending), self.tasks.stop());
        self.names.stop().await;
    }

    /// Stops everything at once.
    pub async fn stop(self) {
        self.end(STOP).await;
    }

    /// Stops accepting, lets the requests under way finish for so long, then stops everything.
    pub async fn quit(self, within: Duration) {
        self.end(Ending { idle: within.min(QUIT_IDLE), within }).await;
    }

    async fn end(mut self, ending: Ending) {
        self.traffic.end(ending).await;
        tokio::join!(self.tasks.stop(), self.names.stop());
        if let Some(applier) = self.applier {
            applier.close();
        }
    }
}

/// The authorities that upstreams are verified by.
pub(super) fn trust_store(settings: &Settings) -> anyhow::Result<TrustStore> {
    let pems = trust::pems(settings)?;
    Ok(TrustStore::from_pems(pems.iter().map(String::as_str))?)
}

/// Drops old runtimes, and notes when the one in force has proved good.
async fn sweep(handle: Handle, applier: Option<Applier>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => handle.sweep(),
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if let Some(applier) = applier.clone().filter(Applier::is_baked) {
            // Whether it was noted is looked at again in a moment.
            let _ = tokio::task::spawn_blocking(move || applier.bake()).await;
        }
    }
}

fn cluster_link(
    settings: &Settings,
    start: Start,
    applier: Applier,
    (identity, clock): (LiveIdentity, Clock),
) -> anyhow::Result<Link> {
    let catalog = applier.catalog().clone();
    let config = cluster_client_config(&identity, &clock)?;
    let plugins =
        catalog.plugins().map(|plugin| (plugin.name.to_owned(), plugin.version.to_owned()));
    let hello = Hello {
        protocol: PROTOCOL,
        node_id: node::id(settings, &clock),
        hostname: node::hostname(),
        version: crate::settings::KONG_VERSION.to_owned(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        labels: settings.cluster.dp_labels.iter().cloned().collect(),
        plugins: plugins.collect(),
        applied: None,
        rejected: Vec::new(),
    };
    let Start { snapshot, memory, pin_path, kong_hash } = start;
    if memory.pin.is_some() && settings.cluster.protocol == ClusterProtocol::Kong {
        tracing::warn!(
            "cluster_protocol = kong: this data plane has pinned a cluster that signs its heads, and \
             takes unsigned configurations all the same"
        );
    }
    let kong = kong::attachment(
        settings,
        (&catalog, &hello.labels),
        kong_hash.unwrap_or_else(|| kong::hash(&snapshot)),
        apply_unsigned(applier.clone()),
    );
    let mirror = settings.cluster.snapshot_mirror.as_deref();
    let mirror = mirror.map(|url| super::mirror::open(settings, url, &clock)).transpose()?;
    Ok(Link {
        mirror,
        addresses: settings.cluster.control_planes.clone(),
        tls: TlsLink {
            config,
            identity,
            proxy: forward_proxy(settings, &clock)?,
            payload_bytes_max: super::payload_bytes_max(settings),
        },
        hello,
        apply: apply(applier),
        catalog,
        memory,
        snapshot,
        pin_path,
        clock,
        timing: Timing::default(),
        retry: RETRY,
        kong,
    })
}

/// Returns the forward proxy that control planes are reached through, if there is to be one.
fn forward_proxy(settings: &Settings, clock: &Clock) -> anyhow::Result<Option<ForwardProxy>> {
    let Some(proxy) = &settings.cluster.proxy_server else { return Ok(None) };
    let opened = ForwardProxy::open(&proxy.url, || {
        let verify = proxy.ssl_verify.then(|| trust_store(settings)).transpose();
        let verify = verify.context("cannot verify proxy_server")?;
        let options = UpstreamOptions { verify, client: None, http2: false };
        Ok::<_, anyhow::Error>(upstream_client_config(&options, clock)?)
    });
    Ok(Some(opened?))
}

/// Puts configs in force off the request path.
fn apply(applier: Applier) -> Apply {
    Arc::new(move |snapshot: Arc<Snapshot>, head: SignedHead, pin: Pin| {
        let applier = applier.clone();
        Box::pin(async move {
            applier.turn().await;
            let work = move || applier.apply(&snapshot, Origin::Signed(head, pin));
            let done = run(work).await;
            done.map_err(|error| rejected(head.config_hash, &error))
        })
    })
}

/// Does the same for a snapshot from a control plane of Kong.
fn apply_unsigned(applier: Applier) -> ApplyUnsigned {
    Arc::new(move |snapshot: Arc<Snapshot>, origin: KongOrigin| {
        let applier = applier.clone();
        Box::pin(async move {
            applier.turn().await;
            let work = move || applier.apply(&snapshot, Origin::Kong(origin));
            run(work).await.map_err(|error| error.to_string())
        })
    })
}

/// Compiles off the request path.
async fn run(
    work: impl FnOnce() -> Result<(), CompileError> + Send + 'static,
) -> Result<(), CompileError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(CompileError { entity: None, reason: error.to_string() }))
}

fn status_api(
    settings: &Settings,
    source: StatusSource,
    upstreams: Option<Upstreams>,
    clock: &Clock,
) -> Api {
    let tells = Tells::read(&settings.proxy.headers);
    let api = StatusApi::new(Arc::new(source), clock.clone(), tells);
    match upstreams {
        Some(upstreams) => api.with_upstreams(upstreams).router(),
        None => api.router(),
    }
}

/// Returns what compiling needs.
fn tools(
    settings: &Settings,
    tls: NodeTls,
    clock: &Clock,
    (resolver, checker): (Resolver, Checker),
) -> Tools {
    Tools {
        plugin_state: PluginState::default(),
        tls: LiveTls::new(tls),
        clock: clock.clone(),
        flavour: settings.router_flavour,
        resolver,
        checker,
        slow_start: settings.upstream_slow_start,
    }
}

/// Returns what the metrics tell; a node of a cluster tells of its certificate and its link.
fn metrics(
    settings: &Settings,
    handle: &Handle,
    (identity, link): (Option<LiveIdentity>, Option<watch::Receiver<LinkState>>),
    clock: &Clock,
) -> MetricsSource {
    let config = handle.clone();
    MetricsSource {
        node_id: node::id(settings, clock),
        config: Box::new(move || config.load().config_hash),
        seq: None,
        certificate_end: identity.map(|it| Box::new(move || it.current().not_after()) as _),
        is_connected: link.map(|it| Box::new(move || it.borrow().connected) as _),
        fleet: None,
        balancers: Arc::new(OnceLock::from(status::balancers(handle))),
        clock: clock.clone(),
    }
}

/// Returns the file that health is kept in, and whether there is something in it for this process:
/// after a restart where that is wanted, and always from a process whose place this one takes.
fn health(settings: &Settings, clock: &Clock, sockets: &Sockets) -> (HealthFile, bool) {
    let path = settings.prefix.join("health_state");
    let file = HealthFile::new(path, clock.clone(), settings.keeps_health);
    (file, settings.keeps_health || sockets.has_found())
}
