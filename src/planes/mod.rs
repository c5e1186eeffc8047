//! The planes: where everything is built, started, and stopped. Nobody else starts tasks of their
//! own, but for those that one connection needs.

mod apply;
mod certificates;
pub mod control;
pub mod data;
pub mod database;
pub mod identity;
mod janitor;
mod kong;
mod listen;
pub mod mirror;
mod node;
mod origin;
mod ready;
pub mod remote;
mod served;
mod status;
mod tasks;
mod tls;
pub mod trial;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use self::control::Control;
use self::data::Data;
pub use self::ready::ReadySignal;
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
    Data(Data),
    /// Both halves in one process, without a cluster link between.
    Traditional(Control, Box<Data>),
}

/// Runs a node until it is told to end: SIGTERM at once, SIGQUIT after the last request.
///
/// SIGHUP opens the log files again and takes over the log level and the certificates of the
/// settings.
///
/// # Errors
/// Whatever keeps the node from starting.
pub fn run(settings: Settings, ready: ReadySignal) -> anyhow::Result<()> {
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
        let mut quit = signal(SignalKind::quit())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut reload = signal(SignalKind::hangup())?;
        let node = Node::start(&settings, &log).await?;
        ready.ready();
        loop {
            tokio::select! {
                _ = terminate.recv() => return node.stop().await,
                _ = interrupt.recv() => return node.stop().await,
                _ = quit.recv() => return node.quit().await,
                _ = reload.recv() => node.reload(&settings, &log),
            }
        }
    })
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
    async fn start(settings: &Settings, log: &Arc<telemetry::Guard>) -> anyhow::Result<Self> {
        match settings.role {
            Role::ControlPlane => Ok(Self::Control(control(settings, log).await?)),
            Role::DataPlane => Ok(Self::Data(Data::start(settings, Clock::System).await?)),
            Role::Traditional => {
                let control = control(settings, log).await?;
                let (writer, counts) = (&control.writer, control.counts.clone());
                let balancers = &control.balancers;
                let data =
                    Data::start_local(settings, Clock::System, writer, counts, balancers).await?;
                Ok(Self::Traditional(control, Box::new(data)))
            }
        }
    }

    /// Does what SIGHUP asks for.
    fn reload(&self, settings: &Settings, log: &telemetry::Guard) {
        let Some(fresh) = reread(settings, log) else { return };
        match self {
            Self::Control(control) => control.reload(&fresh),
            Self::Data(data) => data.reload(&fresh),
            Self::Traditional(control, data) => {
                control.reload(&fresh);
                data.reload(&fresh);
            }
        }
        tracing::info!("reloaded");
    }

    async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Control(control) => control.stop().await,
            Self::Data(data) => data.stop().await,
            Self::Traditional(control, data) => {
                data.stop().await;
                control.stop().await;
            }
        }
        Ok(())
    }

    async fn quit(self) -> anyhow::Result<()> {
        match self {
            Self::Control(control) => control.stop().await,
            Self::Data(data) => data.quit(QUIT_DRAIN).await,
            Self::Traditional(control, data) => {
                data.quit(QUIT_DRAIN).await;
                control.stop().await;
            }
        }
        Ok(())
    }
}

async fn control(settings: &Settings, log: &Arc<telemetry::Guard>) -> anyhow::Result<Control> {
    Control::start_logging(settings, Clock::System, log.clone()).await
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
