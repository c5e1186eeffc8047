//! The control plane: log, writer, Admin API, cluster listener.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use tokio::sync::watch;

use super::certificates::{Certificates, Listeners};
use super::identity;
use super::janitor::Janitor;
use super::kong;
use super::listen::{self, Face};
use super::node::{self, Counts};
use super::sockets::{Kind, Sockets};
use super::tasks::Tasks;
use super::{database, origin};
use crate::admin::auth::Auth;
use crate::admin::health::Balancers;
use crate::admin::metrics::MetricsSource;
use crate::admin::serve::serve;
use crate::admin::status::{StatusApi, StatusSource, Unready};
use crate::admin::{Admin, Api, NodeInfo, Options, Parts, Tells};
use crate::clock::Clock;
use crate::domain::catalog::UnsupportedPlugins;
use crate::domain::decide::Fresh;
use crate::domain::event::{EventKind, Origin};
use crate::fleet::share::Sharer;
use crate::fleet::{ControlPlane, Fleet};
use crate::log::LogDatabase;
use crate::log::promotions::PromotionStore;
use crate::log::tokens::TokenStore;
use crate::pki::cluster::LiveIdentity;
use crate::pki::ocsp::{DEADLINE, Revocation, Rule};
use crate::promotion::keeper::Keeper;
use crate::settings::{ClusterMtls, Database, Ocsp, Role, Settings};
use crate::telemetry::Guard;
use crate::telemetry::level::Level;
use crate::wire::publish::{Publication, publish};
use crate::wire::session::publisher::Timing;
use crate::writer::Writer;
use crate::writer::projector::Projector;

/// A running control plane.
pub struct Control {
    /// Where the Admin API listens.
    pub admin: Vec<SocketAddr>,
    /// Where data planes connect.
    pub cluster: Vec<SocketAddr>,
    /// Where the status API listens.
    pub status: Vec<SocketAddr>,
    /// Who writes the log.
    pub writer: Writer,
    /// Who runs what.
    pub fleet: Arc<Fleet>,
    /// What the data half of a traditional node balances by.
    pub(super) balancers: Arc<OnceLock<Balancers>>,
    settings: watch::Sender<Arc<Settings>>,
    tasks: Tasks,
}

impl Control {
    /// Builds and starts everything; it serves when this returns.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from starting.
    pub async fn start(settings: &Settings, clock: Clock) -> anyhow::Result<Self> {
        let log = Arc::new(Guard::silent(Level::Notice));
        Self::start_logging(settings, clock, log, (Counts::new(), &Sockets::default())).await
    }

    /// Does the same in a process whose log is set up, on the sockets that it finds open.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from starting.
    pub(super) async fn start_logging(
        settings: &Settings,
        clock: Clock,
        process_log: Arc<Guard>,
        (counts, sockets): (Counts, &Sockets),
    ) -> anyhow::Result<Self> {
        let catalog = Arc::new(super::catalog(settings)?);
        warn_of_stored_plugins(settings);
        let (log, stored) = database::open(settings).await?;
        let cluster = identity::signer(&*log, &clock).await?;
        let (writer, task) = database::writer(settings, log.clone(), &catalog, &clock).await?;
        let mut tasks = Tasks::new();
        tasks.spawn(task.run(stopped(&tasks)));
        match settings.database {
            Database::Off => declare(settings, &writer, &clock).await?,
            _ => tasks.spawn(Projector::new(log, writer.subscribe()).run(stopped(&tasks))),
        }
        tasks.spawn(end_log_levels(process_log.clone(), stopped(&tasks)));
        let (here, fleet) = fleet(settings, &clock);
        if let Some(log) = stored.clone() {
            let janitor = Janitor::new(settings, log, fleet.clone(), clock.clone());
            tasks.spawn(janitor.run(tasks.stopped()));
        }

        let (has_cluster, balancers) = (settings.role == Role::ControlPlane, Arc::default());
        let (live, mut certificates) = Certificates::new(settings, &clock);
        let identity = has_cluster.then(|| certificates.add_cluster()).transpose()?;
        let of_cluster = identity.clone().map(|identity| (identity, fleet.clone()));
        let metrics = metrics(&here, &writer, of_cluster, (&balancers, &clock));
        let status_source = Arc::new(status(settings, &writer, &counts, metrics));
        let promotion = match stored.clone().filter(|_| has_cluster) {
            Some(store) => {
                share(store.clone(), &fleet, &clock, &mut tasks).await?;
                Some(promotion(store, &writer, &fleet, &clock, &mut tasks).await?)
            }
            None => None,
        };
        let auth = authentication(settings, stored.map(|it| it as _), &clock, &mut tasks).await?;
        let admin_api = admin(
            settings,
            &writer,
            (here, has_cluster.then(|| fleet.clone()), &promotion),
            &status_source,
            (process_log, auth, &balancers),
            &clock,
        );
        let mut hall = Hall::new(&mut tasks, certificates.listeners(), sockets);
        let admin = serve_all(&mut hall, settings, Face::Admin, admin_api.router(), &counts)?;
        let (mut status, mut addresses) = (Vec::new(), Vec::new());
        // In a traditional node the data half serves it: it knows the traffic.
        if has_cluster {
            let api = status_api(settings, status_source, &clock);
            status = serve_all(&mut hall, settings, Face::Status, api, &counts)?;
        }
        if let (Some(promotion), Some(identity)) = (promotion, identity) {
            certificates.add_fleet(fleet.clone());
            let publication = Publication {
                catalog,
                heads: writer.subscribe(),
                promotion,
                fleet: fleet.clone(),
                cluster,
                identity,
                revocation: revocation(settings, &clock),
                clock,
                timing: Timing::default(),
                payload_bytes_max: super::payload_bytes_max(settings),
                kong: kong::terms(settings),
            };
            addresses = serve_cluster(&mut tasks, settings, sockets, publication)?;
        }
        tasks.spawn(certificates.follow(tasks.stopped()));
        let head = writer.head();
        tracing::info!(seq = head.seq.0, config_hash = %head.config_hash, "control plane serves");
        let (cluster, settings) = (addresses, live);
        Ok(Self { admin, cluster, status, writer, fleet, balancers, settings, tasks })
    }

    /// Takes over the certificates that these settings name.
    pub fn reload(&self, settings: &Settings) {
        self.settings.send_replace(Arc::new(settings.clone()));
    }

    /// Stops everything; what was acknowledged is on disk already.
    pub async fn stop(self) {
        self.tasks.stop().await;
    }
}

/// Returns how certificates of data planes are checked for being revoked.
fn revocation(settings: &Settings, clock: &Clock) -> Option<Revocation> {
    let rule = match settings.cluster.ocsp {
        Ocsp::Off => return None,
        Ocsp::On => Rule::Required,
        Ocsp::Optional => Rule::Optional,
    };
    if settings.cluster.mtls == ClusterMtls::Shared {
        tracing::warn!("cluster_ocsp has no effect while cluster_mtls = shared");
        return None;
    }
    Some(Revocation::new(rule, DEADLINE, clock.clone()))
}

fn warn_of_stored_plugins(settings: &Settings) {
    if settings.unsupported_plugins == UnsupportedPlugins::Store {
        tracing::warn!(
            "unsupported_plugins = store: plugins without a handler are accepted, and data planes \
             answer 503 to the requests that they apply to"
        );
    }
}

/// Puts the declared configuration of a node without a database into its log.
async fn declare(settings: &Settings, writer: &Writer, clock: &Clock) -> anyhow::Result<()> {
    let mut id = || clock.id();
    let mut fresh = Fresh { at: clock.now(), id: &mut id };
    let declared = origin::declared(settings, writer.history().catalog(), &mut fresh)?;
    let Some(snapshot) = declared else { return Ok(()) };
    let origin = Origin {
        actor: "hybridctl".into(),
        request_id: clock.id().simple().to_string(),
        source: "declarative-config".into(),
        kind: EventKind::Imported,
        reason: None,
    };
    let written = writer.import(origin, snapshot.config().clone()).await;
    written.map(drop).context("cannot take over the declarative configuration")
}

/// Returns who this control plane is, and where it notes its data planes.
fn fleet(settings: &Settings, clock: &Clock) -> (ControlPlane, Arc<Fleet>) {
    let here = ControlPlane { node_id: node::id(settings, clock), hostname: node::hostname() };
    let purge_delay = settings.cluster.data_plane_purge_delay;
    (here.clone(), Arc::new(Fleet::new(purge_delay.as_secs()).of(here)))
}

/// Finds out which data planes other control planes know, and keeps in step with them.
async fn share(
    store: Arc<dyn LogDatabase>,
    fleet: &Arc<Fleet>,
    clock: &Clock,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let sharer = Sharer::start(store, fleet.clone(), clock.clone()).await;
    let sharer = sharer.context("cannot read which data planes there are")?;
    tasks.spawn(sharer.run(tasks.stopped()));
    Ok(())
}

/// Finds out what data planes may get, and follows it.
async fn promotion(
    store: Arc<dyn PromotionStore>,
    writer: &Writer,
    fleet: &Arc<Fleet>,
    clock: &Clock,
    tasks: &mut Tasks,
) -> anyhow::Result<Arc<Keeper>> {
    let keeper = Keeper::open(store, writer.clone(), fleet.clone(), clock.clone()).await;
    let keeper = Arc::new(keeper.context("cannot read the decisions on promotion")?);
    tasks.spawn(keeper.clone().follow(tasks.stopped()));
    Ok(keeper)
}

/// Brings the lasting log level back after a temporary one.
async fn end_log_levels(log: Arc<Guard>, stop: impl Future<Output = ()>) {
    tokio::select! {
        () = log.end_temporary_levels() => {}
        () = stop => {}
    }
}

/// Sets up who may call the Admin API.
async fn authentication(
    settings: &Settings,
    tokens: Option<Arc<dyn TokenStore>>,
    clock: &Clock,
    tasks: &mut Tasks,
) -> anyhow::Result<Arc<Auth>> {
    if !settings.admin.auth {
        return Ok(Arc::new(Auth::off()));
    }
    let clients = settings.admin.clients.iter();
    let roles = clients.flat_map(|clients| clients.roles.iter().cloned()).collect();
    let auth = Auth::on(tokens, roles, clock.clone()).await;
    let auth = auth.context("cannot read the admin tokens")?;
    if auth.lacks_admin() {
        tracing::warn!(
            "admin_auth is on and nobody has the role admin: make a token by \
             `hybridctl token create --role admin --name NAME`"
        );
    }
    let auth = Arc::new(auth);
    tasks.spawn(auth.clone().follow(tasks.stopped()));
    Ok(auth)
}

fn status_api(settings: &Settings, source: Arc<StatusSource>, clock: &Clock) -> Api {
    let tells = Tells::read(&settings.proxy.headers);
    StatusApi::new(source, clock.clone(), tells).router()
}

fn metrics(
    here: &ControlPlane,
    writer: &Writer,
    of_cluster: Option<(LiveIdentity, Arc<Fleet>)>,
    (balancers, clock): (&Arc<OnceLock<Balancers>>, &Clock),
) -> MetricsSource {
    let (hash, seq) = (writer.clone(), writer.clone());
    let (identity, fleet) = of_cluster.unzip();
    MetricsSource {
        node_id: here.node_id,
        config: Box::new(move || hash.head().config_hash),
        seq: Some(Box::new(move || seq.head().seq)),
        certificate_end: identity.map(|it| Box::new(move || it.current().not_after()) as _),
        is_connected: None,
        fleet,
        balancers: balancers.clone(),
        clock: clock.clone(),
    }
}

fn status(
    settings: &Settings,
    writer: &Writer,
    counts: &Counts,
    metrics: MetricsSource,
) -> StatusSource {
    let counts = counts.clone();
    let (hash, log, ready) = (writer.clone(), writer.clone(), writer.clone());
    let database_off = settings.database == Database::Off;
    StatusSource {
        counters: Box::new(move || counts.snapshot()),
        memory_bytes: Box::new(node::memory_bytes),
        configuration_hash: match database_off {
            true => Some(Box::new(move || hash.head().config_hash.to_hex())),
            false => None,
        },
        database_reachable: match database_off {
            true => None,
            false => Some(Box::new(move || log.reaches_log())),
        },
        readiness: Box::new(move || match database_off || ready.reaches_log() {
            true => Ok(()),
            false => Err(Unready::Database),
        }),
        metrics,
        draining: AtomicBool::new(false),
    }
}

fn admin(
    settings: &Settings,
    writer: &Writer,
    (here, fleet, promotion): (ControlPlane, Option<Arc<Fleet>>, &Option<Arc<Keeper>>),
    status: &Arc<StatusSource>,
    (process_log, auth, balancers): (Arc<Guard>, Arc<Auth>, &Arc<OnceLock<Balancers>>),
    clock: &Clock,
) -> Admin {
    let body_max = settings.admin.client_max_body_size;
    Admin::new(Parts {
        writer: writer.clone(),
        fleet,
        promotion: promotion.clone(),
        node: NodeInfo {
            id: here.node_id,
            role: settings.role,
            hostname: here.hostname,
            pid: std::process::id(),
            configuration: settings.to_json(),
        },
        status: status.clone(),
        log: process_log,
        auth,
        balancers: balancers.clone(),
        clock: clock.clone(),
        options: Options {
            body_bytes_max: usize::try_from(body_max)
                .ok()
                .filter(|max| *max > 0)
                .unwrap_or(usize::MAX),
            gui_origins: settings.admin.gui_origins.clone(),
            tells: Tells::read(&settings.proxy.headers),
            database_off: settings.database == Database::Off,
        },
    })
}

/// What APIs are served with.
pub(super) struct Hall<'a> {
    pub(super) tasks: &'a mut Tasks,
    pub(super) certificates: &'a Listeners,
    pub(super) sockets: &'a Sockets,
    /// Turns true when they are served: until then clients wait.
    pub(super) opened: watch::Receiver<bool>,
}

impl<'a> Hall<'a> {
    /// Returns one that is open.
    pub(super) fn new(
        tasks: &'a mut Tasks,
        certificates: &'a Listeners,
        sockets: &'a Sockets,
    ) -> Self {
        Self { tasks, certificates, sockets, opened: watch::channel(true).1 }
    }
}

/// Binds the listeners of a face and serves an API on them.
pub(super) fn serve_all(
    hall: &mut Hall<'_>,
    settings: &Settings,
    face: Face,
    app: Api,
    counts: &Counts,
) -> anyhow::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for wanted in face.listeners(settings) {
        let listener = listen::bind(wanted, face.kind(), hall.sockets)?;
        addresses.push(listen::address(&listener)?);
        let tls = match wanted.ssl {
            true => Some(listen::tls(settings, face, wanted.http2, hall.certificates)?),
            false => None,
        };
        let serving = serve(listener, tls, app.clone(), counts.api(), hall.tasks.stopped());
        let mut opened = hall.opened.clone();
        hall.tasks.spawn(async move {
            if opened.wait_for(|opened| *opened).await.is_ok() {
                serving.await;
            }
        });
    }
    Ok(addresses)
}

/// Serves data planes on the cluster listeners; returns where they are.
fn serve_cluster(
    tasks: &mut Tasks,
    settings: &Settings,
    sockets: &Sockets,
    publication: Publication,
) -> anyhow::Result<Vec<SocketAddr>> {
    let listeners = settings.cluster.listen.iter();
    let listeners = listeners.map(|wanted| listen::bind(wanted, Kind::Cluster, sockets));
    let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
    let addresses = listeners.iter().map(listen::address).collect::<Result<_, _>>()?;
    let stop = tasks.stopped();
    tasks.spawn(async move {
        if let Err(error) = publish(listeners, publication, stop).await {
            tracing::error!(%error, "[clustering] cannot serve data planes");
        }
    });
    Ok(addresses)
}

/// Resolves when the plane stops.
fn stopped(tasks: &Tasks) -> impl Future<Output = ()> + Send + use<> {
    let mut stop = tasks.stopped();
    async move {
        // A plane that is gone has stopped too.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}
