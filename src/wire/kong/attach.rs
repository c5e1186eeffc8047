//! The data plane's driver: one session with a control plane of Kong.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use super::dialect::Dialects;
use super::session::inlet::{Action, Inlet};
use super::session::{CloseReason, Timing};
use super::stream::{self, Reader, StreamError, UpgradeError, Writer};
use super::table::config_hash;
use super::table::import::{Message, ReadError, Reconfigure, read};
use super::websocket::{Frame, Side};
use super::{HASH_LEN, PATH};
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::decide::Fresh;
use crate::snapshot::Snapshot;
use crate::snapshot::file::KongOrigin;
use crate::wire::content::{CONNECT_WITHIN, ContentError, LinkStream, Source};
use crate::wire::follow::{Link, LinkState};

/// How often a session looks at the time.
const TICK: Duration = Duration::from_secs(1);

/// How long a frame may take to be written; ours are short.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// How many times longer than the longest message its text may be: a configuration is packed to a
/// tenth or so, and what grows a thousandfold was made to.
const UNPACKED_RATIO_MAX: u64 = 64;

/// Puts a configuration in force that nobody signed, and keeps it; the error is why it cannot.
pub type ApplyUnsigned = Arc<
    dyn Fn(Arc<Snapshot>, KongOrigin) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>>
        + Send
        + Sync,
>;

/// What a data plane needs to attach to a control plane of Kong.
pub struct Attachment {
    /// Which control planes are Kong's.
    pub dialects: Dialects,
    /// What it says of itself first.
    pub basic_info: Bytes,
    /// What it serves, as its control plane named it.
    pub hash: String,
    /// The longest message in bytes, both ways (`cluster_max_payload`).
    pub payload_len_max: usize,
    /// Serves a snapshot.
    pub apply: ApplyUnsigned,
    /// When things are done, and when a control plane is given up.
    pub timing: Timing,
    /// The shortest and the longest pause before the next attempt, in seconds.
    pub retry_seconds: (u64, u64),
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(in crate::wire) enum AttachError {
    /// There is no session.
    #[error("{0}")]
    Connect(#[from] ContentError),
    /// The control plane did not agree to one.
    #[error("{0}")]
    Upgrade(#[from] UpgradeError),
    /// The connection broke.
    #[error("{0}")]
    Stream(#[from] StreamError),
    /// A message could not be read.
    #[error("{0}")]
    Message(#[from] ReadError),
    /// The session's rules end it.
    #[error("{0}")]
    Closed(#[from] CloseReason),
    /// The data plane stops.
    #[error("data plane stops")]
    Stopped,
}

/// What became of a message.
enum Outcome {
    /// Its configuration is in force, under this name.
    Served(Arc<Snapshot>, String),
    /// What is served stays.
    Kept,
    /// It could not be read, which ends the session.
    Unreadable(ReadError),
}

type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Returns where a control plane's outlet is asked for; nothing in it is encoded, as with Kong.
pub(in crate::wire) fn target(link: &Link) -> String {
    let hello = &link.hello;
    let hostname: String = hello.hostname.chars().filter(char::is_ascii_graphic).collect();
    let (id, version) = (hello.node_id, &hello.version);
    format!("{PATH}?node_id={id}&node_hostname={hostname}&node_version={version}")
}

/// Runs one session. What is being put in force when it ends comes into force.
pub(in crate::wire) async fn session(
    link: &mut Link,
    address: &str,
    state: &watch::Sender<LinkState>,
    stop: &mut watch::Receiver<bool>,
) -> AttachError {
    let source = Source::new(address.to_owned(), link.tls.clone());
    let target = target(link);
    let connecting = async {
        let mut stream = source.connect().await?;
        let rest = stream::upgrade(&mut stream, (address, &target), &link.clock).await?;
        Ok::<_, AttachError>((stream, rest))
    };
    let connected = tokio::select! {
        connected = timeout(CONNECT_WITHIN, connecting) => connected,
        _ = stop.wait_for(|stop| *stop) => return AttachError::Stopped,
    };
    let (stream, rest) = match connected {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return error,
        Err(_) => return ContentError::TimedOut.into(),
    };
    state.send_replace(LinkState { connected: true, last_error: None });
    tracing::info!("[clustering] connected to control plane of Kong [{address}]");
    let kong = &link.kong;
    let opened = (rest, kong.payload_len_max);
    let (reader, mut writer) = stream::divide(stream, Side::Client, opened, link.clock.clone());
    let (info, hash, now) = (kong.basic_info.clone(), kong.hash.clone(), Instant::now());
    let (mut inlet, first) = Inlet::new(kong.timing, info, hash, now);
    let mut work = None;
    let streams = (reader, &mut writer);
    let ended = run(link, (address, state), streams, (&mut inlet, first), &mut work, stop).await;
    if let Some(work) = work
        && let Outcome::Served(snapshot, hash) = work.await
    {
        serves(link, snapshot, hash);
    }
    let _ = timeout(TICK, writer.send(Frame::Close)).await;
    ended
}

async fn run(
    link: &mut Link,
    (address, state): (&str, &watch::Sender<LinkState>),
    (mut reader, writer): (Reader<LinkStream>, &mut Writer<LinkStream>),
    (inlet, first): (&mut Inlet, Vec<Action>),
    work: &mut Option<Work>,
    stop: &mut watch::Receiver<bool>,
) -> AttachError {
    let mut ticks = tokio::time::interval(TICK);
    let mut actions = first;
    loop {
        for action in actions {
            match action {
                Action::Send(frame) => {
                    if let Err(error) = send(writer, frame, address).await {
                        return error.into();
                    }
                }
                Action::Apply(message) => *work = Some(apply(link, message, inlet, address)),
                Action::Unknown(name) => tracing::info!(
                    "[clustering] received unknown ({name}) frame from control plane [{address}]"
                ),
                Action::Close(reason) => return reason.into(),
            }
        }
        actions = tokio::select! {
            frame = reader.receive() => match frame {
                Ok(frame) => {
                    if matches!(frame, Frame::Pong(_)) {
                        tracing::debug!(
                            "[clustering] received pong frame from control plane [{address}]"
                        );
                    }
                    inlet.frame(frame, Instant::now())
                }
                Err(error) => return error.into(),
            },
            outcome = finished(work) => {
                *work = None;
                match outcome {
                    Outcome::Served(snapshot, hash) => {
                        serves(link, snapshot, hash.clone());
                        state.send_modify(|state| state.last_error = None);
                        inlet.applied(hash, Instant::now())
                    }
                    Outcome::Kept => inlet.kept(),
                    Outcome::Unreadable(error) => return error.into(),
                }
            }
            _ = ticks.tick() => inlet.tick(Instant::now()),
            _ = stop.wait_for(|stop| *stop) => return AttachError::Stopped,
        };
    }
}

/// Waits for what is being put in force; for ever if that is nothing.
async fn finished(work: &mut Option<Work>) -> Outcome {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Remembers what is served for the sessions to come; no head of a cluster stands for it.
fn serves(link: &mut Link, snapshot: Arc<Snapshot>, hash: String) {
    link.snapshot = snapshot;
    link.kong.hash = hash;
    link.memory.applied = None;
}

async fn send(
    writer: &mut Writer<LinkStream>,
    frame: Frame,
    address: &str,
) -> Result<(), StreamError> {
    let is_ping = matches!(frame, Frame::Ping(_));
    let sent = timeout(WRITE_WITHIN, writer.send(frame)).await;
    let sent =
        sent.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
    if is_ping {
        match &sent {
            Ok(()) => tracing::debug!("[clustering] sent ping frame to control plane [{address}]"),
            Err(error) => tracing::warn!(
                "[clustering] unable to send ping frame to control plane: {error} [{address}]"
            ),
        }
    }
    sent
}

/// Reads a message, checks its configuration whole, and puts it in force.
fn apply(link: &Link, message: Bytes, inlet: &Inlet, address: &str) -> Work {
    let (catalog, clock, apply) =
        (link.catalog.clone(), link.clock.clone(), link.kong.apply.clone());
    let unpacked_max = (link.kong.payload_len_max as u64).saturating_mul(UNPACKED_RATIO_MAX);
    let served = (link.snapshot.clone(), inlet.hash().to_owned());
    let address = address.to_owned();
    Box::pin(async move {
        let control_plane = address.clone();
        let work = move || match read(&message, unpacked_max) {
            Ok(Message::Reconfigure(message)) => Ok(verify(&message, &catalog, &clock, &address)),
            Ok(Message::Ignored) => Ok(None),
            Err(error) => Err(error),
        };
        let (snapshot, hash) = match tokio::task::spawn_blocking(work).await {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => return Outcome::Kept,
            Ok(Err(error)) => return Outcome::Unreadable(error),
            Err(error) => {
                tracing::error!(%error, "[clustering] unable to update running config");
                return Outcome::Kept;
            }
        };
        // The content decides: two configurations may come under one name.
        if (snapshot.hash(), &hash) == (served.0.hash(), &served.1) {
            tracing::debug!(
                "[clustering] same config received from control plane, no need to reload \
                 [{control_plane}]"
            );
            return Outcome::Kept;
        }
        let (snapshot, name) = (Arc::new(snapshot), hash.clone());
        let origin = KongOrigin { config_hash: name, control_plane: control_plane.clone() };
        match apply(snapshot.clone(), origin).await {
            Ok(()) => Outcome::Served(snapshot, hash),
            Err(reason) => {
                tracing::error!(
                    "[clustering] unable to update running config: {reason} [{control_plane}]"
                );
                Outcome::Kept
            }
        }
    })
}

/// Returns the snapshot of a message and the name that its control plane has for it; none if the
/// configuration is refused, which is logged.
fn verify(
    message: &Reconfigure,
    catalog: &Catalog,
    clock: &Clock,
    address: &str,
) -> Option<(Snapshot, String)> {
    tracing::debug!(
        "[clustering] received reconfigure frame from control plane with timestamp: {} [{address}]",
        message.timestamp.as_deref().unwrap_or("none").escape_debug()
    );
    let mut id = || clock.id();
    let mut fresh = Fresh { at: clock.now(), id: &mut id };
    match message.verify(catalog, &mut fresh) {
        Ok(snapshot) => {
            // A control plane closes on a ping of another length.
            let named = message.config_hash.clone().filter(|name| name.len() == HASH_LEN);
            let hash = named.unwrap_or_else(|| config_hash(snapshot.hash()));
            Some((snapshot, hash))
        }
        Err(error) => {
            tracing::error!("[clustering] {} [{address}]", error.line());
            None
        }
    }
}
