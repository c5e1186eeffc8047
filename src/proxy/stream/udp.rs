//! UDP sessions: the datagrams of one client, each with a socket of its own towards the upstream,
//! until nothing has moved for a while. An upstream that refuses before it has answered makes room for
//! another one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tokio::time::{Instant, sleep_until};

use super::core::Core;
use super::peer::{choose, tries};
use super::session::{Session, status};
use crate::balancer::address::Lease;
use crate::proxy::forward::RETRIES;
use crate::proxy::tries::Chosen;
use crate::proxy::upstream::{UpstreamError, UpstreamErrorKind};
use crate::router::Protocol;
use crate::runtime::Channel;
use crate::telemetry::trouble::Trouble;

/// Most sessions of one core: each is a socket (nginx `worker_connections`, as Kong has it at least).
const SESSIONS_MAX: usize = 16_384;

/// How many datagrams of one client wait while its upstream is looked for; more are dropped.
const WAITING_MAX: usize = 64;

/// The socket that clients send to, and who is known there.
struct Door {
    socket: UdpSocket,
    sessions: RefCell<HashMap<SocketAddr, Sender<Bytes>>>,
}

/// Takes datagrams until the core drains.
pub(super) async fn take_all(core: Rc<Core>, socket: UdpSocket, local: SocketAddr) {
    let door = Rc::new(Door { socket, sessions: RefCell::default() });
    let (mut crowd, mut stop) = (Trouble::new(), core.stop.clone());
    loop {
        let ready = tokio::select! {
            _ = stop.wait_for(Option::is_some) => return,
            ready = door.socket.readable() => ready,
        };
        if let Err(error) = ready {
            tracing::error!(address = %local, %error, "cannot receive datagrams");
            return;
        }
        let received = core.buffers.scratch(|scratch| {
            let (length, peer) = door.socket.try_recv_from(scratch)?;
            Ok::<_, io::Error>((
                Bytes::copy_from_slice(scratch.get(..length).unwrap_or_default()),
                peer,
            ))
        });
        // A failure here is one client's: its port refused an answer.
        let Ok((datagram, peer)) = received else { continue };
        let known = door.sessions.borrow().get(&peer).cloned();
        let datagram = match known.map(|session| session.try_send(datagram.clone())) {
            Some(Ok(()) | Err(TrySendError::Full(_))) => continue,
            Some(Err(TrySendError::Closed(datagram))) => datagram,
            None => datagram,
        };
        if door.sessions.borrow().len() >= SESSIONS_MAX {
            if crowd.begins() {
                tracing::error!(address = %local, "too many UDP sessions: datagrams of new clients are dropped");
            }
            continue;
        }
        if crowd.ends() {
            tracing::info!(address = %local, "there is room for UDP sessions again");
        }
        core.counters.accepted.add();
        core.counters.handled.add();
        let session = Session::begin(core.clone(), true, peer, local);
        let (sender, inbox) = mpsc::channel(WAITING_MAX);
        // There is room for the first.
        let _sent = sender.try_send(datagram);
        door.sessions.borrow_mut().insert(peer, sender);
        let known = Known { door: door.clone(), peer };
        tokio::task::spawn_local(serve(core.clone(), session, known, inbox));
    }
}

/// A session that the door knows until this is dropped.
struct Known {
    door: Rc<Door>,
    peer: SocketAddr,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.door.sessions.borrow_mut().remove(&self.peer);
    }
}

async fn serve(core: Rc<Core>, mut session: Session, known: Known, inbox: Receiver<Bytes>) {
    let Some(target) = session.route(Protocol::Udp) else { return };
    let service = &target.service.service;
    if !matches!(target.service.channel, Channel::Plain) {
        tracing::error!(service = %service.id, protocol = service.protocol, "no TLS is spoken over UDP");
        return;
    }
    let mut tries = tries(&session, &target);
    let mut way = Way { core: &core, known, inbox, last: None, idle: target.idle() };
    for _ in 0..=service.retries.unwrap_or(RETRIES) {
        let choosing = Box::pin(choose(&core, &mut session, &target, &mut tries));
        let Some(chosen) = choosing.await else { return };
        session.status = status::OK;
        let mut peer = Peer::Unheard(chosen);
        let Err(error) = way.pass(&session, &mut peer).await else { return };
        session.status = status::BAD_GATEWAY;
        tracing::warn!(upstream = ?session.upstream, client = %session.client, %error, "upstream failed");
        let Peer::Unheard(chosen) = peer else { return };
        chosen.failed(&UpstreamError::caused(UpstreamErrorKind::Connect, false, error));
    }
}

/// Whom a session is joined to.
enum Peer<'r> {
    /// One that has not answered yet.
    Unheard(Chosen<'r>),
    /// One that has; the lease is kept as long as the session.
    Heard { _lease: Option<Lease> },
}

impl Peer<'_> {
    /// Notes that it has answered.
    fn hear(&mut self) {
        if let Self::Unheard(chosen) = std::mem::replace(self, Self::Heard { _lease: None }) {
            *self = Self::Heard { _lease: chosen.joined() };
        }
    }
}

/// Opens a socket towards an address.
async fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// The way of a session's datagrams.
struct Way<'r> {
    core: &'r Core,
    known: Known,
    inbox: Receiver<Bytes>,
    /// The last one of the client, as long as nothing was answered: it is sent to the next peer, too.
    last: Option<Bytes>,
    idle: Duration,
}

impl Way<'_> {
    /// Passes datagrams both ways until nothing has moved for the idle time. While the core drains, an
    /// answered client is done.
    async fn pass(&mut self, session: &Session, peer: &mut Peer<'_>) -> io::Result<()> {
        let Peer::Unheard(chosen) = peer else { return Ok(()) };
        let upstream = open(chosen.socket).await?;
        let mut stop = self.core.stop.clone();
        // What the peer before refused.
        if let Some(datagram) = &self.last {
            upstream.send(datagram).await?;
        }
        let mut moved_at = Instant::now();
        let mut answered = false;
        loop {
            tokio::select! {
                datagram = self.inbox.recv() => {
                    // Nobody receives any more once the door has gone.
                    let Some(datagram) = datagram else { return Ok(()) };
                    count(&session.moved.inward, datagram.len());
                    if let Peer::Unheard(_) = peer {
                        self.last = Some(datagram.clone());
                    }
                    upstream.send(&datagram).await?;
                    answered = false;
                }
                ready = upstream.ready(Interest::READABLE | Interest::ERROR) => {
                    if ready?.is_error() {
                        refusal(&upstream)?;
                    }
                    let (known, buffers) = (&self.known, &self.core.buffers);
                    match buffers.scratch(|scratch| pass(known, &upstream, scratch)) {
                        Ok(length) => count(&session.moved.outward, length),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                        Err(error) => return Err(error),
                    }
                    peer.hear();
                    (self.last, answered) = (None, true);
                }
                () = sleep_until(moved_at + self.idle) => return Ok(()),
                _ = stop.wait_for(Option::is_some), if answered => return Ok(()),
            }
            moved_at = Instant::now();
        }
    }
}

/// Returns what the upstream's system has sent back, if it has. That it was looked at is noted, so that
/// one that is gone again wakes nobody twice.
fn refusal(upstream: &UdpSocket) -> io::Result<()> {
    let looked = upstream.try_io(Interest::ERROR, || match upstream.take_error()? {
        Some(error) => Err(error),
        None => Err(io::ErrorKind::WouldBlock.into()),
    });
    match looked {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        looked => looked,
    }
}

/// Passes one datagram to the client; one that its socket has no room for is lost, as on any network.
fn pass(known: &Known, upstream: &UdpSocket, scratch: &mut [u8]) -> io::Result<usize> {
    let length = upstream.try_recv(scratch)?;
    let datagram = scratch.get(..length).unwrap_or_default();
    let _sent = known.door.socket.try_send_to(datagram, known.peer);
    Ok(length)
}

fn count(counter: &std::cell::Cell<u64>, length: usize) {
    counter.set(counter.get() + length as u64);
}
