//! The control plane's driver: the cluster listener, its sessions, and content by hash.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::admit::admit;
use super::answer::{Answer, immutable, plain, refusal};
use super::frame::{self, FromControl, FromData, PROTOCOL, Pin, Welcome};
use super::gate::Gate;
use super::kong;
use super::kong::compat::Ours;
use super::kong::introduction::Arguments;
use super::kong::serve::{Outlets, Terms};
use super::native::{Known, in_this_epoch};
use super::recent::Recent;
use super::session::publisher::{Action, Publisher, Timing};
use super::socket::{NODES, PATH, SNAPSHOTS, Socket, SocketError, Text};
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::fleet::Fleet;
use crate::pki::TlsError;
use crate::pki::cluster::{LiveIdentity, PeerCertificate, cluster_server_config};
use crate::pki::ocsp::Revocation;
use crate::promotion::decision::Peer;
use crate::promotion::keeper::Keeper;
use crate::promotion::view::View;
use crate::snapshot::head::Signer;
use crate::telemetry::trouble::Trouble;
use crate::writer::Head;

/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How often a session looks at the time.
const TICK: Duration = Duration::from_secs(1);

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long no accept has failed when accepting is in order again.
const ACCEPT_QUIET: Duration = Duration::from_secs(5);

/// What the cluster listener serves.
pub struct Publication {
    /// The kinds and plugins.
    pub catalog: Arc<Catalog>,
    /// The newest head.
    pub heads: watch::Receiver<Arc<Head>>,
    /// Who is to get which head.
    pub promotion: Arc<Keeper>,
    /// Where it is noted who runs what.
    pub fleet: Arc<Fleet>,
    /// The cluster, and the key that signs its heads.
    pub cluster: Signer,
    /// Our certificate, and whom we trust.
    pub identity: LiveIdentity,
    /// Whether certificates are checked for being revoked, and how.
    pub revocation: Option<Revocation>,
    /// Time.
    pub clock: Clock,
    /// When peers are given up.
    pub timing: Timing,
    /// The largest message that is sent, in bytes (`cluster_max_payload`).
    pub payload_bytes_max: usize,
    /// How data planes of Kong are served.
    pub kong: Terms,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) publication: Publication,
    pub(super) ours: Arc<Ours>,
    pub(super) recent: Recent,
    pub(super) outlets: Outlets,
    pin: Pin,
    pub(super) stop: watch::Receiver<bool>,
}

/// Serves one cluster listener until `stop` turns true.
///
/// # Errors
///
/// The certificate cannot be used for TLS.
pub async fn publish(
    listeners: Vec<TcpListener>,
    publication: Publication,
    stop: watch::Receiver<bool>,
) -> Result<(), TlsError> {
    let tls = cluster_server_config(&publication.identity, &publication.clock)?;
    let gate = Arc::new(Gate::new(TlsAcceptor::from(tls)));
    let signer = publication.cluster.clone();
    let public_key = signer.key.verify_key().to_string();
    let pin = Pin { cluster_id: signer.cluster_id, public_key };
    let recent = Recent::new(publication.catalog.clone(), signer);
    let ours = Arc::new(Ours::of(&publication.catalog).with_legacy(publication.kong.legacy));
    let outlets = Outlets::new(&publication);
    let shared = Arc::new(Shared { publication, ours, recent, outlets, pin, stop });
    let mut tasks = JoinSet::new();
    tasks.spawn(remember(shared.clone()));
    for listener in listeners {
        tasks.spawn(accept(listener, gate.clone(), shared.clone()));
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Keeps the heads of late, and those that some data planes are to get.
async fn remember(shared: Arc<Shared>) {
    let mut heads = shared.publication.heads.clone();
    let mut views = shared.publication.promotion.subscribe();
    let mut stop = shared.stop.clone();
    loop {
        let head = heads.borrow_and_update().clone();
        shared.recent.remember(head);
        shared.recent.hold(views.borrow_and_update().heads.values().cloned().collect());
        tokio::select! {
            changed = heads.changed() => if changed.is_err() { return },
            changed = views.changed() => if changed.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn accept(listener: TcpListener, gate: Arc<Gate>, shared: Arc<Shared>) {
    let mut stop = shared.stop.clone();
    let mut connections = JoinSet::new();
    let mut trouble = Trouble::lasting(ACCEPT_QUIET);
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                if trouble.ends() {
                    tracing::info!("[clustering] connections are accepted again");
                }
                connections.spawn(connection(stream, peer, gate.clone(), shared.clone()));
            }
            Err(error) => {
                if trouble.begins() {
                    tracing::error!(%error, "[clustering] cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, peer: SocketAddr, gate: Arc<Gate>, shared: Arc<Shared>) {
    // Frames are small and each is waited for.
    let _ = stream.set_nodelay(true);
    let mut stop = shared.stop.clone();
    let passed = tokio::select! {
        passed = gate.pass(stream) => passed,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let stream = match passed {
        Ok(stream) => stream,
        Err(error) => {
            let reason = std::error::Error::source(&error);
            tracing::warn!(%peer, error = reason, "[clustering] {error}");
            return;
        }
    };
    let admitted = tokio::select! {
        admitted = admit(&shared, peer, stream.get_ref().1.peer_certificates()) => admitted,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let certificate = match admitted {
        Ok(certificate) => Some(Arc::new(certificate)),
        Err(error) => {
            tracing::error!(%peer, "[clustering] {error}");
            if error.closes_silently() {
                return;
            }
            None
        }
    };
    let service = service_fn(|request| async {
        match &certificate {
            Some(certificate) => answer(&shared, request, peer, certificate).await,
            None => Ok(refusal()),
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::debug!(%peer, %error, "[clustering] connection ended");
        },
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// The connection ends without an answer, as nginx's status 444 has it.
#[derive(Debug, thiserror::Error)]
#[error("ended without an answer")]
struct Silence;

async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    peer: SocketAddr,
    certificate: &Arc<PeerCertificate>,
) -> Result<Answer, Silence> {
    let path = request.uri().path();
    let is_known = path == PATH
        || path == kong::PATH
        || path.starts_with(SNAPSHOTS)
        || path.starts_with(NODES);
    if !is_known {
        match path {
            // Data planes of Kong ask for these and do without: of 3.0 by HEAD for the protocol of 3.1, of
            // 3.9 with `cluster_rpc` for the next one again and again.
            "/v1/wrpc" | "/v2/outlet" => {
                tracing::info!(%peer, path, "[clustering] this protocol is not spoken");
            }
            path => tracing::warn!(%peer, path, "[clustering] nothing is served there"),
        }
        return Ok(plain(StatusCode::NOT_FOUND));
    }
    if request.method() != Method::GET {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED));
    }
    if path == PATH || path == kong::PATH {
        return upgrade(shared, request, peer, certificate);
    }
    let content = match path.strip_prefix(SNAPSHOTS) {
        Some(hash) => match hash.parse() {
            Ok(hash) => shared.recent.pack(hash).await,
            Err(_) => None,
        },
        None => path.strip_prefix(NODES).and_then(|hash| shared.recent.nodes(hash)),
    };
    Ok(match content {
        None => plain(StatusCode::NOT_FOUND),
        // There is a way in smaller messages, down to a single node.
        Some(content) if content.len() > shared.publication.payload_bytes_max => {
            tracing::debug!(%peer, bytes = content.len(),
                "[clustering] content is larger than cluster_max_payload, it is left out");
            plain(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Some(content) => immutable(content),
    })
}

/// Answers the WebSocket handshake (checks and texts: reference hybrid.md, section 3.4).
fn upgrade(
    shared: &Arc<Shared>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
    certificate: &Arc<PeerCertificate>,
) -> Result<Answer, Silence> {
    let arguments = Arguments::parse(request.uri().query().unwrap_or_default());
    if let Some(what) = arguments.missing() {
        let suffix = arguments.suffix(peer.ip());
        tracing::warn!("[clustering] data plane didn't pass the {what}{suffix}");
        return Ok(plain(StatusCode::BAD_REQUEST));
    }
    let wanted = |name, value: &str| {
        let header =
            request.headers().get(name).and_then(|header: &HeaderValue| header.to_str().ok());
        header.is_some_and(|header| header.to_ascii_lowercase().contains(value))
    };
    let key = request
        .headers()
        .get(header::SEC_WEBSOCKET_KEY)
        .map(|key| derive_accept_key(key.as_bytes()));
    let key = key.and_then(|key| HeaderValue::try_from(key).ok());
    let Some(key) = key.filter(|_| wanted(header::UPGRADE, "websocket")) else {
        let suffix = arguments.suffix(peer.ip());
        tracing::error!(
            "[clustering] failed to perform server side websocket handshake: it lacks `Upgrade: \
             websocket` or a key{suffix}"
        );
        return Err(Silence);
    };
    let is_kong = request.uri().path() == kong::PATH;
    let upgraded = hyper::upgrade::on(&mut request);
    let (shared, certificate) = (shared.clone(), certificate.clone());
    tokio::spawn(async move {
        match upgraded.await {
            Ok(upgraded) if is_kong => {
                let from = (peer, &*certificate);
                kong::serve::session(TokioIo::new(upgraded), &shared, from, arguments).await;
            }
            Ok(upgraded) => {
                let socket = Socket::server(TokioIo::new(upgraded)).await;
                session(socket, &shared, peer, &certificate).await;
            }
            Err(error) => tracing::warn!(%peer, %error, "[clustering] upgrade failed"),
        }
    });
    let mut answer = plain(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    Ok(answer)
}

type ServerSocket = Socket<TokioIo<hyper::upgrade::Upgraded>>;

/// Runs a session to its end.
async fn session(
    mut socket: ServerSocket,
    shared: &Shared,
    peer: SocketAddr,
    certificate: &PeerCertificate,
) {
    let mut heads = shared.publication.heads.clone();
    let mut views = shared.publication.promotion.subscribe();
    let mut stop = shared.stop.clone();
    let mut publisher = Publisher::new(shared.publication.timing, Instant::now())
        .in_epoch(shared.publication.cluster.epoch)
        .comparing(shared.ours.clone());
    let mut known = Known { address: peer, certificate, visit: None, plane: None, suffix: None };
    let mut ticks = tokio::time::interval(TICK);
    let ended = loop {
        let actions = tokio::select! {
            frame = socket.receive::<FromData>() => match frame {
                Ok(frame) => {
                    if let (FromData::Hello(hello), None) = (&frame, &known.plane) {
                        let plane = Peer { id: hello.node_id, labels: hello.labels.clone() };
                        known.plane = Some(plane);
                        let serves = hello.applied;
                        known.introduce(hello);
                        offer(&mut publisher, serves, shared, &known, (&mut heads, &mut views));
                    }
                    publisher.frame(frame, Instant::now())
                }
                Err(error) => break error.to_string(),
            },
            changed = heads.changed() => {
                if changed.is_err() {
                    break "control plane stops".to_owned();
                }
                let serves = publisher.applied();
                offer(&mut publisher, serves, shared, &known, (&mut heads, &mut views))
            }
            changed = views.changed() => {
                if changed.is_err() {
                    break "control plane stops".to_owned();
                }
                let serves = publisher.applied();
                offer(&mut publisher, serves, shared, &known, (&mut heads, &mut views))
            }
            _ = ticks.tick() => publisher.tick(Instant::now()),
            _ = stop.wait_for(|stop| *stop) => break "control plane stops".to_owned(),
        };
        let serves = publisher.applied();
        if let Err(reason) = perform(actions, &mut socket, shared, &mut known, serves).await {
            break reason;
        }
    };
    if let Some(visit) = known.visit {
        shared.publication.fleet.left(visit, shared.publication.clock.now());
    }
    tracing::info!(%peer, reason = ended, "[clustering] data plane disconnected");
    let _ = timeout(TICK, socket.close()).await;
}

/// Tells the session what its data plane is to get, which serves this.
fn offer(
    publisher: &mut Publisher,
    serves: Option<frame::Position>,
    shared: &Shared,
    known: &Known<'_>,
    (heads, views): (&mut watch::Receiver<Arc<Head>>, &mut watch::Receiver<Arc<View>>),
) -> Vec<Action> {
    // The view goes first: what it holds is no newer than the head then.
    let view = views.borrow_and_update().clone();
    let newest = heads.borrow_and_update().clone();
    shared.recent.remember(newest.clone());
    let Some(plane) = &known.plane else { return Vec::new() };
    let serves = serves.and_then(|it| in_this_epoch(shared, it));
    match view.offer(plane, &newest, serves) {
        Some(offer) => publisher.offer(offer, Instant::now()),
        None => {
            publisher.withdraw();
            Vec::new()
        }
    }
}

/// Does what the session asks for; the error is why the session ends.
async fn perform(
    actions: Vec<Action>,
    socket: &mut ServerSocket,
    shared: &Shared,
    known: &mut Known<'_>,
    serves: Option<frame::Position>,
) -> Result<(), String> {
    let (fleet, now) = (&shared.publication.fleet, shared.publication.clock.now());
    let lag_max = shared.publication.timing.lag_max;
    for action in actions {
        let text = match action {
            Action::Joined(..) | Action::Judged(_) | Action::Withheld(_) | Action::Say(_) => {
                known.note(action, shared);
                continue;
            }
            Action::Applied(position, lag) => {
                if let Some(visit) = known.visit {
                    let position = position.map(|p| (p.seq, p.config_hash));
                    fleet.applied(visit, position, lag, now);
                }
                continue;
            }
            Action::Rejected(rejected, revision) => {
                known.refused(shared, rejected, (revision, serves)).await;
                continue;
            }
            Action::Refuses(rejected, revision) => {
                if known.would_get(shared, rejected.config_hash) {
                    known.refused(shared, rejected, (revision, serves)).await;
                }
                continue;
            }
            Action::Restate(revision) => {
                if let Some(plane) = &known.plane {
                    shared.publication.promotion.restate(plane.id, revision).await;
                }
                continue;
            }
            Action::Close(reason) => return Err(reason.to_string()),
            Action::Welcome => {
                let pin = shared.pin.clone();
                Text::of(&FromControl::Welcome(Welcome { protocol: PROTOCOL, pin }))
            }
            Action::Heartbeat => Text::of(&FromControl::Heartbeat),
            Action::Announce { offer, from } => {
                let (head, revision) = (&offer.head, offer.revision);
                let signed = shared.recent.sign(head, revision).map_err(|e| e.to_string())?;
                let delta = match from {
                    Some(from) => shared.recent.delta(from, head, signed).await,
                    None => None,
                };
                delta.map_or_else(|| Text::of(&FromControl::Head(signed)), Ok)
            }
        };
        let text = text.map_err(|error| error.to_string())?;
        // A peer that does not read stalls only this task, and not for ever.
        let sent = timeout(lag_max, socket.send_text(text)).await;
        sent.map_err(|_| "peer does not read".to_owned())?
            .map_err(|error: SocketError| error.to_string())?;
    }
    Ok(())
}
