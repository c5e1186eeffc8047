//! The planes: where everything is built, started, and stopped. Nobody else starts tasks of their
//! own, but for those that one connection needs.

mod access;
mod apply;
mod certificates;
pub mod control;
pub mod data;
pub mod database;
mod debug_token;
mod handover;
pub mod identity;
mod janitor;
mod keeper;
mod kong;
mod listen;
pub mod mirror;
mod node;
mod origin;
mod ready;
pub mod remote;
mod served;
mod sockets;
mod status;
mod streams;
mod tasks;
mod tls;
mod traffic;
pub mod trial;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use self::control::Control;
use self::data::Data;
pub use self::handover::Predecessor;
use self::handover::{Handover, Successor};
use self::node::Counts;
pub use self::ready::ReadySignal;
use self::sockets::Sockets;
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::kinds::route;
use crate::plugins;
use crate::router;
use crate::settings::{LogLevel, Role, Settings, Sources};
use crate::telemetry::trouble::is_of_disk;
use crate::telemetry::{self, InitError, LogFormat, LogTarget};

/// How long requests under way may take after SIGQUIT; `quit` kills the process before that.
const QUIT_DRAIN: Duration = Duration::from_secs(600);

/// A running node of any role.
enum Node {
    Control(Control),
    Data(Box<Data>),
    /// Both halves in one process, without a cluster link between.
    Traditional(Control, Box<Data>),
}

/// How a node comes to its place.
pub struct Arrival {
    /// The process whose place it takes, and for how long that may go on.
    pub predecessor: Option<(Predecessor, Duration)>,
    /// Whether another process may take its place later: not if somebody waits for the end of this one.
    pub may_be_succeeded: bool,
    /// Is called when the node serves: from then on commands are meant for it.
    pub arrived: Box<dyn FnOnce() -> anyhow::Result<()>>,
}

/// Runs a node until it is told to end: SIGTERM at once, SIGQUIT after the last request; or until
/// another process has taken its place.
///
/// SIGHUP opens the log files again and takes over what of the settings has changed.
///
/// # Errors
/// Whatever keeps the node from starting.
pub fn run(settings: Settings, ready: ReadySignal, arrival: Arrival) -> anyhow::Result<()> {
    let log = Arc::new(logging(&settings)?);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("plane")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        // A limit on the size of files is a full disk to whoever writes, and no reason to end.
        let _ignored = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut now = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let mut quit = signal(SignalKind::quit())?;
        let mut reload = signal(SignalKind::hangup())?;
        let mut node = Running::start(settings, log, arrival).await?;
        ready.ready();
        let end = loop {
            tokio::select! {
                () = now() => return node.node.stop(&node.sockets).await,
                _ = quit.recv() => break End::Quit,
                _ = reload.recv() => node.reload(),
                end = node.succeeded() => if let Some(end) = end { break end },
            }
        };
        tokio::select! {
            ended = node.end(end) => ended,
            // Whoever asked for patience may lose it.
            () = now() => Ok(()),
        }
    })
}

/// How a node comes to its end, if not at once.
enum End {
    Quit,
    /// Another process serves; it has asked for this one to end within some time.
    Succeeded(Successor, Duration),
}

/// A process that is given this one's place, and what came of it.
type Giving = JoinHandle<(Successor, anyhow::Result<Duration>)>;

/// A node and what commands reach it by.
struct Running {
    node: Node,
    settings: Settings,
    log: Arc<telemetry::Guard>,
    sockets: Sockets,
    counts: Counts,
    handover: Option<Handover>,
    giving: Option<Giving>,
}

impl Running {
    async fn start(
        settings: Settings,
        log: Arc<telemetry::Guard>,
        Arrival { mut predecessor, may_be_succeeded, arrived }: Arrival,
    ) -> anyhow::Result<Self> {
        let found = predecessor.as_mut().map(|(it, _)| it.sockets()).unwrap_or_default();
        let (sockets, counts) = (Sockets::found(found), Counts::new());
        let node = Node::start(&settings, &log, (counts.clone(), &sockets)).await?;
        sockets.settle();
        arrived()?;
        if let Some((predecessor, within)) = predecessor {
            let counted = tokio::task::spawn_blocking(move || predecessor.relieve(within)).await;
            if let Some(counted) = counted.ok().flatten() {
                counts.add(Box::new(move || counted));
            }
            tracing::info!("this process has taken the place of another");
        }
        let handover = may_be_succeeded.then(|| Handover::open(&settings.prefix)).transpose();
        let handover = handover.unwrap_or_else(|error| {
            tracing::warn!(%error, "no other process can take the place of this one");
            None
        });
        Ok(Self { node, settings, log, sockets, counts, handover, giving: None })
    }

    /// Does what SIGHUP asks for.
    fn reload(&mut self) {
        let Some(fresh) = reread(&self.settings, &self.log) else { return };
        self.node.reload(&fresh);
        for name in self.settings.wait_for_restart(&fresh) {
            tracing::warn!("{name} has changed: it takes effect at a restart or an upgrade");
        }
        tracing::info!("reloaded");
    }

    /// Waits for another process that wants the place of this one, or for what becomes of it.
    async fn succeeded(&mut self) -> Option<End> {
        if let Some(giving) = &mut self.giving {
            let given = giving.await;
            self.giving = None;
            match given {
                Ok((successor, Ok(within))) => return Some(End::Succeeded(successor, within)),
                Ok((_, Err(error))) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "another process has not taken the place of this one");
                }
                Err(error) => tracing::error!(%error, "another process was not given the place"),
            }
            self.node.take_back();
            return None;
        }
        let Some(handover) = &self.handover else { return std::future::pending().await };
        let mut successor = handover.asked().await;
        match self.sockets.copies() {
            Ok(sockets) => {
                self.node.lend();
                self.giving = Some(tokio::spawn(async move {
                    let given = successor.give(&sockets).await;
                    (successor, given)
                }));
            }
            Err(error) => tracing::error!(%error, "cannot give sockets to another process"),
        }
        None
    }

    async fn end(self, end: End) -> anyhow::Result<()> {
        let Self { node, sockets, counts, handover, .. } = self;
        match end {
            End::Quit => {
                if let Some(handover) = handover {
                    handover.close();
                }
                node.quit(&sockets).await
            }
            End::Succeeded(successor, within) => {
                tracing::info!("another process serves: this one ends after what is under way");
                // Its successor listens there.
                drop(handover);
                let told = counts.snapshot();
                tokio::join!(successor.tell(&told), node.retire(&sockets, within));
                Ok(())
            }
        }
    }
}

/// Takes as many open files as the system grants: each client, upstream and data plane is one, and
/// what shells and service managers grant unasked is as few as 1024.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

impl Node {
    async fn start(
        settings: &Settings,
        log: &Arc<telemetry::Guard>,
        (counts, sockets): (Counts, &Sockets),
    ) -> anyhow::Result<Self> {
        let clock = Clock::System;
        let control = async |counts: Counts| {
            let place = (counts, sockets);
            Control::start_logging(settings, Clock::System, log.clone(), place).await
        };
        match settings.role {
            Role::ControlPlane => Ok(Self::Control(control(counts).await?)),
            Role::DataPlane => {
                let data = Data::start_on(settings, clock, (counts, sockets)).await?;
                Ok(Self::Data(Box::new(data)))
            }
            Role::Traditional => {
                let control = control(counts.clone()).await?;
                let place = (counts, sockets);
                let (writer, balancers) = (&control.writer, &control.balancers);
                let data = Data::start_local(settings, clock, writer, place, balancers).await?;
                Ok(Self::Traditional(control, Box::new(data)))
            }
        }
    }

    /// Takes over what of these settings can be taken over.
    fn reload(&mut self, fresh: &Settings) {
        if let Some(control) = self.control() {
            control.reload(fresh);
        }
        if let Some(data) = self.data() {
            data.reload(fresh);
        }
    }

    /// Leaves the prefix to a process that may take the place of this one.
    fn lend(&mut self) {
        if let Some(data) = self.data() {
            data.lend();
        }
    }

    /// Goes on, since that process did not come to serve.
    fn take_back(&mut self) {
        if let Some(data) = self.data() {
            data.take_back();
        }
    }

    fn control(&self) -> Option<&Control> {
        match self {
            Self::Control(control) | Self::Traditional(control, _) => Some(control),
            Self::Data(_) => None,
        }
    }

    fn data(&mut self) -> Option<&mut Data> {
        match self {
            Self::Data(data) => Some(data),
            Self::Traditional(_, data) => Some(data),
            Self::Control(_) => None,
        }
    }

    fn halves(self) -> (Option<Control>, Option<Data>) {
        match self {
            Self::Control(control) => (Some(control), None),
            Self::Data(data) => (None, Some(*data)),
            Self::Traditional(control, data) => (Some(control), Some(*data)),
        }
    }

    async fn stop(self, sockets: &Sockets) -> anyhow::Result<()> {
        sockets.close();
        let (control, data) = self.halves();
        if let Some(data) = data {
            data.stop().await;
        }
        if let Some(control) = control {
            control.stop().await;
        }
        Ok(())
    }

    async fn quit(self, sockets: &Sockets) -> anyhow::Result<()> {
        let (control, data) = self.halves();
        if let Some(data) = data {
            data.quit(QUIT_DRAIN).await;
        }
        sockets.close();
        if let Some(control) = control {
            control.stop().await;
        }
        Ok(())
    }

    /// Ends after what is under way: another process serves what comes.
    async fn retire(self, sockets: &Sockets, within: Duration) {
        sockets.close();
        let (control, data) = self.halves();
        let control = async {
            if let Some(control) = control {
                control.stop().await;
            }
        };
        let data = async {
            if let Some(data) = data {
                data.retire(within).await;
            }
        };
        tokio::join!(control, data);
    }
}

/// Returns `cluster_max_payload` as a length.
fn payload_bytes_max(settings: &Settings) -> usize {
    usize::try_from(settings.cluster.max_payload).unwrap_or(usize::MAX)
}

/// Builds the catalog of the plugins that the settings enable.
///
/// # Errors
/// A plugin that is named but not there.
pub fn catalog(settings: &Settings) -> anyhow::Result<Catalog> {
    let named = |name: &str| settings.plugins.iter().any(|plugin| plugin == name);
    for plugin in
        settings.plugins.iter().filter(|plugin| !matches!(plugin.as_str(), "bundled" | "off"))
    {
        anyhow::ensure!(
            plugins::find(plugin).is_some(),
            "{plugin} plugin is enabled but not installed;"
        );
    }
    let bundled = named("bundled");
    let flavour = settings.router_flavour;
    let catalog = plugins::catalog_of(flavour, |name| bundled || named(name));
    let catalog = catalog.rule(route::KIND, router::route_rule(flavour));
    Ok(catalog.unsupported_plugins(settings.unsupported_plugins))
}

/// Sets up the log of this process; a node in the foreground logs to where it is told, too.
fn logging(settings: &Settings) -> anyhow::Result<telemetry::Guard> {
    let named = match settings.role {
        Role::ControlPlane => &settings.admin.error_log,
        _ => &settings.proxy.error_log,
    };
    let target = match named.split_whitespace().next().unwrap_or("/dev/stderr") {
        "/dev/stderr" | "/dev/stdout" => LogTarget::Stderr,
        path => LogTarget::File(settings.prefix.join(path)),
    };
    let level = settings.log_level.as_str();
    match telemetry::init(level, &target, LogFormat::Text) {
        Err(InitError::File { path, source }) if is_of_disk(&source) => {
            let log = telemetry::init(level, &LogTarget::Stderr, LogFormat::Text)?;
            let path = path.display();
            tracing::error!(error = %source, "cannot open {path}: logging to the standard error");
            Ok(log)
        }
        log => log.context("cannot set up the log"),
    }
}

/// Opens the log again and returns the settings as they are now, if they are good.
fn reread(settings: &Settings, log: &telemetry::Guard) -> Option<Settings> {
    if let Err(error) = log.reopen() {
        tracing::error!(%error, "cannot open the log file again");
    }
    let env = Sources::of_process(None, None).env;
    match Settings::of_node(&settings.prefix, &env) {
        Ok(fresh) => {
            apply_level(fresh.log_level, log);
            Some(fresh)
        }
        Err(error) => {
            tracing::error!(%error, "cannot read the settings again");
            None
        }
    }
}

fn apply_level(level: LogLevel, log: &telemetry::Guard) {
    if let Ok(level) = level.as_str().parse() {
        log.set_level(level);
    }
}
