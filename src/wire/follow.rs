//! The data plane's driver: keeps a session with one of the control planes, obtains what it
//! announces, and hands it to be served.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::Pin as Pinned;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::timeout;

use super::content::{ContentError, Pulled, Source, TlsLink};
use super::frame::{Delta, FromControl, Hello, Pin, Rejected};
use super::kong::attach::{self, AttachError, Attachment};
use super::kong::dialect::Dialect;
use super::kong::session::CloseReason;
use super::kong::stream::StreamError;
use super::mirror::Mirror;
use super::pause;
use super::renewal::{ClientSocket, ConnectError, Renewal, connect};
use super::session::follower::{Action, Follower, Memory};
use super::session::publisher::Timing;
use super::socket::{PATH, SocketError};
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::event::decode_changes;
use crate::failpoint;
use crate::snapshot::Snapshot;
use crate::snapshot::head::SignedHead;

/// How often a session looks at the time.
const TICK: Duration = Duration::from_secs(1);

/// A session that lasted so long was no failed attempt.
const GOOD_SESSION: Duration = Duration::from_secs(60);

/// Serves a verified snapshot, or says why it cannot. Of one that is served already it keeps the
/// head.
pub type Apply = Arc<
    dyn Fn(
            Arc<Snapshot>,
            SignedHead,
            Pin,
        ) -> Pinned<Box<dyn Future<Output = Result<(), Rejected>> + Send>>
        + Send
        + Sync,
>;

/// What the cluster link of a data plane is made of.
pub struct Link {
    /// The control planes, as `host:port`, tried in turn.
    pub addresses: Vec<String>,
    /// TLS towards them.
    pub tls: TlsLink,
    /// Who we are.
    pub hello: Hello,
    /// The kinds and plugins.
    pub catalog: Arc<Catalog>,
    /// What is known from before.
    pub memory: Memory,
    /// What is served.
    pub snapshot: Arc<Snapshot>,
    /// Where the pin is kept.
    pub pin_path: PathBuf,
    /// Where content is looked for before a control plane is asked.
    pub mirror: Option<Mirror>,
    /// Serves a snapshot.
    pub apply: Apply,
    /// Time and jitter.
    pub clock: Clock,
    /// When peers are given up.
    pub timing: Timing,
    /// How long the first retry waits at the most; doubles with each failure.
    pub retry: Duration,
    /// What else it needs where a control plane is of Kong.
    pub kong: Attachment,
}

/// How the link is, for the status and for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether there is a session.
    pub connected: bool,
    /// Why the last one ended, or the last head was refused.
    pub last_error: Option<String>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("{0}")]
    Content(#[from] ContentError),
    #[error("{0}")]
    Socket(#[from] SocketError),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Closed(#[from] super::session::CloseReason),
    #[error("there is a new connection with the new certificate")]
    Renewed,
    #[error("data plane stops")]
    Stopped,
}

/// What is wanted of the outside of a session.
enum Obtained {
    Served(SignedHead, Arc<Snapshot>),
    Rejected(Rejected),
    Failed(ContentError),
}

/// The head that is being obtained.
#[derive(Default)]
struct Obtaining {
    work: Option<Pinned<Box<dyn Future<Output = Obtained> + Send>>>,
    /// Whether its content is there and is being put in force, which nothing stops any more.
    applies: Arc<AtomicBool>,
}

impl Obtaining {
    /// Returns what became of a head that was being put in force; one that was still being
    /// fetched is left.
    async fn finish(self) -> Option<Obtained> {
        match self.work {
            Some(work) if self.applies.load(Ordering::Acquire) => Some(work.await),
            _ => None,
        }
    }
}

/// Follows the control planes until `stop` turns true. Whatever fails, it tries again.
pub async fn follow(
    mut link: Link,
    state: watch::Sender<LinkState>,
    mut stop: watch::Receiver<bool>,
) {
    let pulled = Arc::new(Pulled::default());
    let mut failures = 0_u32;
    let mut turn = 0_usize;
    let mut renewal = Renewal::new(link.tls.identity.subscribe());
    while !*stop.borrow() && !link.addresses.is_empty() {
        let address = link.addresses.iter().cycle().nth(turn % link.addresses.len()).cloned();
        let Some(address) = address else { return };
        turn = turn.wrapping_add(1);
        let began = Instant::now();
        let is_pinned = link.memory.pin.is_some();
        let mut ended = None;
        if link.kong.dialects.choose(&address, is_pinned, began) == Dialect::Native {
            let around = (&pulled, &state, &mut renewal);
            let error = session(&mut link, &address, around, &mut stop).await;
            match error {
                SessionError::Stopped => return,
                SessionError::Renewed => {
                    // It is to the same control plane.
                    turn = turn.wrapping_sub(1);
                    continue;
                }
                _ => {}
            }
            if !falls_back(&mut link, &address, &error) {
                failures =
                    if began.elapsed() > GOOD_SESSION { 0 } else { failures.saturating_add(1) };
                ended = Some(broken(&link, &address, &error, failures));
            }
        }
        let ended = match ended {
            Some(ended) => ended,
            None => match attach::session(&mut link, &address, &state, &mut stop).await {
                AttachError::Stopped => return,
                error => detached(&link, &address, &error),
            },
        };
        let Ended { pause, error } = ended;
        state.send_replace(LinkState { connected: false, last_error: Some(error) });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Where the WebSocket is, and who asks for it.
fn url(hello: &Hello, address: &str) -> String {
    format!(
        "wss://{address}{PATH}?node_id={}&node_hostname={}&node_version={}",
        hello.node_id, hello.hostname, hello.version
    )
}

/// How a session ended, and how long to wait before the next.
struct Ended {
    pause: Duration,
    error: String,
}

/// Says whether a control plane turned out to be Kong's, and is to be followed as such.
fn falls_back(link: &mut Link, address: &str, error: &SessionError) -> bool {
    if !matches!(error, SessionError::Connect(ConnectError::Socket(SocketError::NoSuchPath))) {
        return false;
    }
    let is_pinned = link.memory.pin.is_some();
    let falls_back = link.kong.dialects.has_no_native(address, is_pinned, Instant::now());
    if falls_back {
        tracing::info!("[clustering] control plane has no native path, is it of Kong? [{address}]");
    } else {
        tracing::warn!(
            "[clustering] control plane has no native path; unsigned configurations of Kong are \
             taken by a data plane that has pinned no cluster, or by cluster_protocol = kong \
             [{address}]"
        );
    }
    falls_back
}

/// Tells how a native session ended.
fn broken(link: &Link, address: &str, error: &SessionError, failures: u32) -> Ended {
    let pause = pause::draw(link.retry, failures, is_refusal(error), link.clock.random());
    let url = url(&link.hello, address);
    tracing::warn!(
        "[clustering] connection to control plane {url} broken: {error} (retrying after {} \
         seconds) [{address}]",
        pause.as_secs_f64().ceil()
    );
    Ended { pause, error: error.to_string() }
}

/// Tells how a session with a control plane of Kong ended, in Kong's words; it is tried again
/// after a whole number of seconds that is drawn anew each time.
fn detached(link: &Link, address: &str, error: &AttachError) -> Ended {
    let (shortest, longest) = link.kong.retry_seconds;
    let spread = longest.saturating_sub(shortest).saturating_add(1);
    let seconds = shortest + link.clock.random() % spread;
    match error {
        AttachError::Connect(_) | AttachError::Upgrade(_) => tracing::warn!(
            "[clustering] connection to control plane wss://{address}{} broken: {error} \
             (retrying after {seconds} seconds) [{address}]",
            attach::target(link)
        ),
        AttachError::Stream(StreamError::Closed) | AttachError::Closed(CloseReason::Closed) => {
            tracing::info!("[clustering] connection to control plane closed [{address}]");
        }
        error => tracing::error!("[clustering] {error} [{address}]"),
    }
    Ended { pause: Duration::from_secs(seconds), error: error.to_string() }
}

/// Says whether one of the two refused the other, so that trying again soon is of no use.
fn is_refusal(error: &SessionError) -> bool {
    use super::session::CloseReason::{Lagging, Silent};
    use ContentError::{Connect, TimedOut, Tunnel};
    let is_away = matches!(
        error,
        SessionError::Socket(_)
            | SessionError::Closed(Silent | Lagging)
            | SessionError::Connect(ConnectError::Content(Connect(_) | TimedOut | Tunnel(_)))
    );
    !is_away
}

async fn session(
    link: &mut Link,
    address: &str,
    (pulled, state, renewal): (&Arc<Pulled>, &watch::Sender<LinkState>, &mut Renewal),
    stop: &mut watch::Receiver<bool>,
) -> SessionError {
    let source = Source::new(address.to_owned(), link.tls.clone());
    let url = url(&link.hello, address);
    let connected = match renewal.begin() {
        Some(socket) => Ok(socket),
        None => tokio::select! {
            connected = connect(&source, &url) => connected,
            _ = stop.wait_for(|stop| *stop) => return SessionError::Stopped,
        },
    };
    let mut socket = match connected {
        Ok(socket) => socket,
        Err(error) => return error.into(),
    };
    failpoint::hit("link.connected");
    let (mut follower, first) =
        Follower::new(link.timing, link.memory.clone(), link.hello.clone(), Instant::now());
    state.send_replace(LinkState { connected: true, last_error: None });
    tracing::info!("[clustering] connected to control plane {address}");
    let mut obtaining = Obtaining::default();
    let peer = (&source, pulled, state, (url.as_str(), &mut *renewal));
    let ended = run(link, peer, &mut socket, &mut follower, &mut obtaining, first, stop).await;
    // What is being put in force comes into force, session or not: the next one has to know.
    match obtaining.finish().await {
        Some(Obtained::Served(head, snapshot)) => {
            link.snapshot = snapshot;
            let _ = follower.applied(head, Instant::now());
        }
        Some(Obtained::Rejected(rejected)) => {
            let _ = follower.rejected(rejected, Instant::now());
        }
        Some(Obtained::Failed(_)) | None => {}
    }
    link.memory = follower.memory;
    if matches!(ended, SessionError::Renewed) {
        renewal.keep(socket);
    } else {
        renewal.welcomed().await;
        let _ = timeout(TICK, socket.close()).await;
    }
    ended
}

async fn run(
    link: &mut Link,
    (source, pulled, state, (url, renewal)): (
        &Source,
        &Arc<Pulled>,
        &watch::Sender<LinkState>,
        (&str, &mut Renewal),
    ),
    socket: &mut ClientSocket,
    follower: &mut Follower,
    obtaining: &mut Obtaining,
    first: Action,
    stop: &mut watch::Receiver<bool>,
) -> SessionError {
    let mut ticks = tokio::time::interval(TICK);
    let mut actions = vec![first];
    let mut heard = false;
    loop {
        for action in actions {
            match action {
                Action::Send(frame) => {
                    failpoint::hit("link.send");
                    if let Err(error) = socket.send(&frame).await {
                        return error.into();
                    }
                }
                Action::Pin(pin) => keep_pin(&link.pin_path, &pin),
                Action::Obtain { head, delta } => {
                    failpoint::hit("link.obtain");
                    let pin = follower.memory.pin.clone();
                    obtaining.applies.store(false, Ordering::Release);
                    let applies = obtaining.applies.clone();
                    let from = (source, pulled);
                    let work = pin.map(|pin| obtain(link, from, head, delta, pin, applies));
                    obtaining.work = work;
                }
                Action::Keep(head) => keep(link, follower, head).await,
                Action::Distrust(why, head) => distrust(state, &why, &head),
                Action::Close(reason) => return reason.into(),
            }
        }
        if std::mem::take(&mut heard) {
            renewal.welcomed().await;
        }
        actions = tokio::select! {
            frame = socket.receive::<FromControl>() => match frame {
                Ok(frame) => {
                    failpoint::hit("link.frame");
                    heard = true;
                    follower.frame(frame, Instant::now())
                }
                Err(error) => return error.into(),
            },
            obtained = async {
                match &mut obtaining.work {
                    Some(work) => work.await,
                    None => std::future::pending().await,
                }
            } => {
                obtaining.work = None;
                match obtained {
                    Obtained::Served(head, snapshot) => {
                        link.snapshot = snapshot;
                        state.send_modify(|state| state.last_error = None);
                        follower.applied(head, Instant::now())
                    }
                    Obtained::Rejected(rejected) => {
                        tracing::error!(config_hash = %rejected.config_hash,
                            phase = rejected.phase, entity = rejected.entity,
                            "[clustering] configuration rejected: {}", rejected.reason);
                        follower.rejected(rejected, Instant::now())
                    }
                    Obtained::Failed(error) => return error.into(),
                }
            }
            () = renewal.renewed(source, url) => return SessionError::Renewed,
            _ = ticks.tick() => follower.tick(Instant::now()),
            _ = stop.wait_for(|stop| *stop) => return SessionError::Stopped,
        };
    }
}

/// Keeps a newer head of what is served.
async fn keep(link: &Link, follower: &Follower, head: SignedHead) {
    if let Some(pin) = follower.memory.pin.clone() {
        // It is served: there is nothing to refuse.
        let _ = (link.apply)(link.snapshot.clone(), head, pin).await;
    }
}

/// Tells of a head that is not believed.
fn distrust(state: &watch::Sender<LinkState>, why: &impl std::fmt::Display, head: &SignedHead) {
    tracing::error!(epoch = head.epoch, seq = head.seq.0,
        config_hash = %head.config_hash, "[clustering] head refused: {why}");
    state.send_modify(|state| {
        state.last_error = Some(format!("head {} refused: {why}", head.seq));
    });
}

/// Keeps the cluster that a data plane belongs to from now on.
pub fn keep_pin(path: &Path, pin: &Pin) {
    failpoint::hit("link.pin");
    tracing::info!(cluster_id = %pin.cluster_id, "[clustering] cluster pinned");
    if let Err(error) = super::pin::store(path, pin) {
        tracing::error!(%error, path = %path.display(), "[clustering] cannot keep the pin");
    }
}

/// Obtains, verifies and serves a head.
fn obtain(
    link: &Link,
    (source, pulled): (&Source, &Arc<Pulled>),
    head: SignedHead,
    delta: Option<Box<Delta>>,
    pin: Pin,
    applies: Arc<AtomicBool>,
) -> Pinned<Box<dyn Future<Output = Obtained> + Send>> {
    let (source, catalog) = (source.clone(), link.catalog.clone());
    let (current, apply) = (link.snapshot.clone(), link.apply.clone());
    let (mirror, pulled) = (link.mirror.clone(), pulled.clone());
    let work = async move {
        let snapshot = match delta.and_then(|delta| by_delta(&catalog, &current, &delta)) {
            Some(snapshot) => Ok(snapshot),
            None => {
                let wanted = (&*current, head.config_hash);
                source.fetch(&catalog, wanted, mirror.as_ref(), &pulled).await
            }
        };
        let snapshot = match snapshot {
            Ok(snapshot) => Arc::new(snapshot),
            Err(ContentError::Verify(error)) if !error.is_damage() => {
                return Obtained::Rejected(unverified(head, error.to_string()));
            }
            Err(error) => return Obtained::Failed(error),
        };
        failpoint::hit("obtain.verified");
        applies.store(true, Ordering::Release);
        let applied = apply(snapshot.clone(), head, pin).await;
        failpoint::hit("obtain.applied");
        match applied {
            Ok(()) => Obtained::Served(head, snapshot),
            Err(rejected) => Obtained::Rejected(rejected),
        }
    };
    // A bug here must not end the link for ever: the config is refused as one that is not sound.
    Box::pin(AssertUnwindSafe(work).catch_unwind().map(move |done| {
        let panicked = |_| Obtained::Rejected(unverified(head, "verifying it panicked".to_owned()));
        done.unwrap_or_else(panicked)
    }))
}

/// A delta is a shortcut: if it does not lead where it says, the content is fetched.
fn by_delta(catalog: &Catalog, current: &Snapshot, delta: &Delta) -> Option<Snapshot> {
    let changes = match decode_changes(catalog, &delta.changes) {
        Ok(changes) => changes,
        Err(error) => {
            tracing::warn!(%error, "[clustering] delta cannot be read");
            return None;
        }
    };
    failpoint::hit("obtain.delta");
    match current.verify_delta(catalog, &changes, delta.head.config_hash) {
        Ok(snapshot) => Some(snapshot),
        Err(error) => {
            tracing::warn!(%error, "[clustering] delta does not lead to the head");
            None
        }
    }
}

fn unverified(head: SignedHead, reason: String) -> Rejected {
    Rejected {
        config_hash: head.config_hash,
        phase: "verify".to_owned(),
        entity: None,
        pointer: None,
        reason,
    }
}
