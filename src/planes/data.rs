//! The data plane: cache, cluster link, runtime, proxy, status API.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

use super::apply::{Applier, Origin, rejected};
use super::certificates::Certificates;
use super::control::serve_all;
use super::kong;
use super::listen::{self, Face};
use super::node::{self, Counts};
use super::origin::{self, Start};
use super::served::{Served, serve_head, serve_heads};
use super::status::{self, Reachable};
use super::tasks::Tasks;
use super::tls;
use super::trust;
use crate::admin::Tells;
use crate::admin::health::Balancers;
use crate::admin::metrics::MetricsSource;
use crate::admin::status::StatusApi;
use crate::balancer::dns::core::CoreResolver;
use crate::balancer::dns::resolver::{Resolver, resolver};
use crate::balancer::health::checker::{Checker, CheckerTask, checker};
use crate::clock::Clock;
use crate::domain::hash::ConfigHash;
use crate::pki::cluster::{LiveIdentity, cluster_client_config};
use crate::pki::upstream::{TrustStore, UpstreamOptions, upstream_client_config};
use crate::plugins::state::PluginState;
use crate::proxy::charset::Charset;
use crate::proxy::forward::Transport;
use crate::proxy::handler::Core;
use crate::proxy::listener::{ListenSpec, ProxyServer, ServeLimits};
use crate::proxy::settings::{Network, OwnHeaders, ProxySettings};
use crate::proxy::template::{Template, Templates};
use crate::proxy::upstream::{Pool, PoolLimits};
use crate::runtime::{CompileError, Handle, Tools};
use crate::settings::{ClusterProtocol, Database, Settings, TrustedAddress};
use crate::snapshot::Snapshot;
use crate::snapshot::file::KongOrigin;
use crate::snapshot::head::SignedHead;
use crate::telemetry::access::{AccessGuard, AccessLog, AccessTarget};
use crate::telemetry::trouble::is_of_disk;
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

/// How many bytes of access log wait in memory.
const ACCESS_LOG_BYTES: usize = 4 << 20;

/// How long requests under way may take when the plane stops at once.
const STOP_DRAIN: Duration = Duration::from_millis(100);

/// A running data plane.
pub struct Data {
    /// Where the proxy listens.
    pub proxy: Vec<SocketAddr>,
    /// Where the status API listens.
    pub status: Vec<SocketAddr>,
    handle: Handle,
    link: watch::Receiver<LinkState>,
    server: ProxyServer,
    /// Dropped last, so that the last lines are written.
    access: Option<AccessGuard>,
    /// Of a node that follows control planes.
    applier: Option<Applier>,
    settings: watch::Sender<Arc<Settings>>,
    tasks: Tasks,
}

impl Data {
    /// Builds and starts everything; it serves what it has when this returns.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from starting.
    pub async fn start(settings: &Settings, clock: Clock) -> anyhow::Result<Self> {
        Self::start_from(settings, clock, None, Counts::new()).await
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
        counts: Counts,
        balancers: &OnceLock<Balancers>,
    ) -> anyhow::Result<Self> {
        let data = Self::start_from(settings, clock, Some(writer.clone()), counts).await?;
        // A second half would be a bug of who starts it, and is not asked.
        let _ = balancers.set(status::balancers(&data.handle));
        Ok(data)
    }

    async fn start_from(
        settings: &Settings,
        clock: Clock,
        writer: Option<Writer>,
        counts: Counts,
    ) -> anyhow::Result<Self> {
        let heads = writer.as_ref().map(Writer::subscribe);
        let catalog = Arc::new(super::catalog(settings)?);
        let plugin_state = PluginState::default();
        let (tls, flavour) = (trust::node_tls(settings)?, settings.router_flavour);
        let (resolver, resolving) = resolver(&settings.dns);
        let (names, (checker, checking)) = (resolver.clone(), health(settings, &clock));
        let tools = Tools { plugin_state, tls, clock: clock.clone(), flavour, resolver, checker };
        let served = Served::nothing();
        let handle = served.handle.clone();
        let mut start = None;
        match &heads {
            None => {
                let (served, tools) = (served.clone(), tools.clone());
                let applier = Applier::open(settings, catalog.clone(), served, tools);
                start = Some((origin::start(settings, &applier, &clock)?, applier));
            }
            Some(heads) => serve_head(&served, &heads.borrow().clone(), &tools),
        }
        let applier = start.as_ref().map(|(_, applier)| applier.clone());

        let (access_log, access) = open_access_log(&settings.proxy.access_log, settings)?;
        let (live, mut certificates) = Certificates::new(settings, &clock);
        let server = proxy(settings, &handle, names, access_log, &mut certificates)?;
        let mut tasks = Tasks::new();
        tasks.spawn(resolving.run(tasks.stopped()));
        tasks.spawn(checking.run(tasks.stopped()));
        counts.add_traffic(status::traffic(&server));
        let database = writer.filter(|_| settings.database != Database::Off);
        let database = database.map(|it| -> Reachable { Arc::new(move || it.reaches_log()) });
        let has_database = database.is_some();
        let (state, link) = watch::channel(LinkState::default());
        let identity = match &start {
            Some(_) => Some(certificates.add_cluster()?),
            None => None,
        };
        let (config, is_linked, end) = (handle.clone(), link.clone(), identity.clone());
        let metrics = MetricsSource {
            node_id: node::id(settings, &clock),
            config: Box::new(move || config.load().config_hash),
            seq: None,
            certificate_end: end.map(|end| Box::new(move || end.current().not_after()) as _),
            is_connected: start
                .is_some()
                .then(|| Box::new(move || is_linked.borrow().connected) as _),
            fleet: None,
            clock: clock.clone(),
        };
        let source = Arc::new(status::source(&served, &counts, database, metrics));
        let tells = Tells::read(&settings.proxy.headers);
        let mut status_api = StatusApi::new(source, clock.clone(), tells);
        if !has_database {
            let upstreams = status::upstreams(settings, &catalog, &served, &clock);
            status_api = status_api.with_upstreams(upstreams);
        }
        let status_api = status_api.router();
        let mut started = (&mut tasks, &mut certificates);
        let listening = serve_all(&mut started, settings, Face::Status, status_api, &counts)?;
        tasks.spawn(sweep(handle.clone(), applier.clone(), tasks.stopped()));
        if let (Some((start, applier)), Some(identity)) = (start, identity) {
            let cluster = cluster_link(settings, start, applier, (identity, clock))?;
            tasks.spawn(follow(cluster, state, tasks.stopped()));
        } else if let Some(heads) = heads {
            tasks.spawn(serve_heads(served, heads, tools, tasks.stopped()));
        }
        tasks.spawn(certificates.follow(tasks.stopped()));
        let proxy = server.addresses().to_vec();
        tracing::info!(config_hash = %handle.load().config_hash, "data plane serves");
        let (status, settings) = (listening, live);
        Ok(Self { proxy, status, handle, link, server, access, applier, settings, tasks })
    }

    /// Returns which config is served.
    pub fn config_hash(&self) -> ConfigHash {
        self.handle.load().config_hash
    }

    /// Returns why the cluster link failed last, unless it works.
    pub fn last_link_error(&self) -> Option<String> {
        self.link.borrow().last_error.clone()
    }

    /// Takes over the certificates that these settings name.
    pub fn reload(&self, settings: &Settings) {
        self.settings.send_replace(Arc::new(settings.clone()));
    }

    /// Stops everything at once.
    pub async fn stop(self) {
        self.quit(STOP_DRAIN).await;
    }

    /// Stops accepting, lets the requests under way finish for so long, then stops everything.
    pub async fn quit(self, deadline: Duration) {
        self.server.drain(deadline).await;
        self.tasks.stop().await;
        if let Some(applier) = self.applier {
            applier.close();
        }
        drop(self.access);
    }
}

/// Returns who checks the health of upstreams, and keeps it over a restart where that is wanted.
fn health(settings: &Settings, clock: &Clock) -> (Checker, CheckerTask) {
    let kept = settings.keeps_health.then(|| settings.prefix.join("health_state"));
    checker(clock.clone(), kept)
}

fn open_access_log(
    target: &str,
    settings: &Settings,
) -> anyhow::Result<(Option<AccessLog>, Option<AccessGuard>)> {
    let target = match target {
        "off" => return Ok((None, None)),
        "/dev/stdout" => AccessTarget::Stdout,
        "/dev/stderr" => AccessTarget::Stderr,
        path => AccessTarget::File(settings.prefix.join(path)),
    };
    match AccessLog::open(target, ACCESS_LOG_BYTES) {
        Ok((log, guard)) => Ok((Some(log), Some(guard))),
        Err(error) if is_of_disk(&error) => {
            tracing::error!(%error, "cannot open proxy_access_log: requests are not logged");
            Ok((None, None))
        }
        Err(error) => Err(error).context("cannot open proxy_access_log"),
    }
}

fn proxy_settings(
    settings: &Settings,
    access_log: Option<AccessLog>,
) -> anyhow::Result<ProxySettings> {
    let proxy = &settings.proxy;
    let trusted = proxy.trusted_ips.iter().filter_map(|address| match address {
        TrustedAddress::Network { ip, bits } => Some(Network { ip: *ip, bits: *bits }),
        TrustedAddress::Unix => None,
    });
    let upstream = |name: &str| proxy.headers_upstream.iter().any(|n| n.eq_ignore_ascii_case(name));
    Ok(ProxySettings {
        headers: OwnHeaders::of(&proxy.headers),
        upstream_request_id: upstream("x-kong-request-id"),
        trusted: trusted.collect(),
        real_ip_header: proxy.real_ip_header.to_ascii_lowercase(),
        real_ip_recursive: proxy.real_ip_recursive,
        port_maps: proxy.port_maps.clone(),
        body_bytes_max: proxy.client_max_body_size,
        body_buffer_bytes: usize::try_from(proxy.client_body_buffer_size).unwrap_or(usize::MAX),
        error_default_type: proxy.error_default_type.clone(),
        error_templates: Arc::new(error_templates(settings)?),
        charset: proxy.charset.as_deref().and_then(Charset::new),
        debug_header: proxy.allow_debug_header,
        access_log,
        access_format: proxy.access_format,
    })
}

fn error_templates(settings: &Settings) -> anyhow::Result<Templates> {
    let read = |form: &str| {
        let path = settings.proxy.error_templates.iter().find(|(known, _)| *known == form);
        let Some((_, path)) = path else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read error_template_{form}"))?;
        let template = Template::parse(&text).with_context(|| format!("error_template_{form}"));
        template.map(Some)
    };
    let (json, plain) = (read("json")?, read("plain")?);
    Ok(Templates { json, plain, html: read("html")?, xml: read("xml")? })
}

fn proxy(
    settings: &Settings,
    handle: &Handle,
    names: Resolver,
    access_log: Option<AccessLog>,
    certificates: &mut Certificates,
) -> anyhow::Result<ProxyServer> {
    tls::warn_of_what_is_left_out(settings);
    let clock = certificates.clock().clone();
    let mut specs = Vec::new();
    for wanted in &settings.proxy.listen {
        let names = Some(tls::names(handle));
        let offered = match wanted.ssl {
            true => Some(listen::tls_with_names(
                settings,
                Face::Proxy,
                wanted.http2,
                names,
                certificates,
            )?),
            false => None,
        };
        let backlog = wanted.backlog.and_then(|backlog| i32::try_from(backlog).ok());
        specs.push(ListenSpec {
            addr: wanted.addr,
            tls: offered,
            http2: wanted.http2,
            proxy_protocol: wanted.proxy_protocol,
            ipv6only: wanted.ipv6only.unwrap_or(true),
            keepalive: wanted.keepalive(),
            backlog: backlog.unwrap_or(16384),
        });
    }
    let keepalive = &settings.proxy.upstream_keepalive;
    let limits = PoolLimits {
        idle_max: keepalive.pool_size as usize,
        requests_max: keepalive.max_requests,
        idle_timeout: keepalive.idle_timeout,
    };
    let proxy_settings = proxy_settings(settings, access_log)?;
    let handle = handle.clone();
    let make = move |_core: usize| {
        let pool = Pool::new(limits);
        tokio::task::spawn_local(pool.clone().sweep_until_dropped());
        let resolver = CoreResolver::new(names.clone());
        let transport = Transport { pool, resolver, clock: clock.clone() };
        let core = Rc::new(Core::new(&handle, proxy_settings.clone(), transport, clock.clone()));
        move |request, info| core.clone().handle(request, info)
    };
    let cores = settings.worker_processes;
    let server = ProxyServer::start(cores, specs, ServeLimits::default(), make);
    server.context("cannot start the proxy")
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
        let work = move || applier.apply(&snapshot, Origin::Signed(head, pin));
        Box::pin(async move {
            let done = run(work).await;
            done.map_err(|error| rejected(head.config_hash, &error))
        })
    })
}

/// Does the same for a snapshot from a control plane of Kong.
fn apply_unsigned(applier: Applier) -> ApplyUnsigned {
    Arc::new(move |snapshot: Arc<Snapshot>, origin: KongOrigin| {
        let applier = applier.clone();
        let work = move || applier.apply(&snapshot, Origin::Kong(origin));
        Box::pin(async move { run(work).await.map_err(|error| error.to_string()) })
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
