//! UDP sessions: the datagrams of one client, each with a socket of its own towards the upstream,
//! until nothing has moved for a while.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tokio::time::{Instant, sleep_until};

use super::core::{Core, Target};
use super::peer::{choose, tries};
use super::session::{Session, status};
use crate::balancer::address::Lease;
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
    let upstream = Box::pin(connect(&core, &mut session, &target)).await;
    let Some((upstream, _lease)) = upstream else { return };
    session.status = status::OK;
    if let Err(error) = exchange(&core, &session, &known, inbox, &upstream, &target).await {
        session.status = status::BAD_GATEWAY;
        tracing::warn!(upstream = ?session.upstream, client = %session.client, %error, "upstream failed");
    }
}

/// Opens a socket towards a peer of the target; what comes with it is kept as long as it.
async fn connect(
    core: &Core,
    session: &mut Session,
    target: &Target,
) -> Option<(UdpSocket, Option<Lease>)> {
    if !matches!(target.service.channel, Channel::Plain) {
        let service = &target.service.service;
        tracing::error!(service = %service.id, protocol = service.protocol, "no TLS is spoken over UDP");
        return None;
    }
    let mut tries = tries(session, target);
    let chosen = choose(core, session, target, &mut tries).await?;
    let address = chosen.socket;
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let opening = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(address).await?;
        Ok::<_, io::Error>(socket)
    };
    match opening.await {
        Ok(socket) => Some((socket, chosen.joined())),
        Err(error) => {
            tracing::warn!(upstream = %address, client = %session.client, %error, "upstream failed");
            chosen.failed(&UpstreamError::caused(UpstreamErrorKind::Connect, false, error));
            None
        }
    }
}

/// Passes datagrams both ways until nothing has moved for the idle time. While the core drains, an
/// answered client is done.
async fn exchange(
    core: &Core,
    session: &Session,
    known: &Known,
    mut inbox: Receiver<Bytes>,
    upstream: &UdpSocket,
    target: &Target,
) -> io::Result<()> {
    let (idle, mut stop) = (target.idle(), core.stop.clone());
    let mut last = Instant::now();
    let mut answered = false;
    loop {
        tokio::select! {
            datagram = inbox.recv() => {
                // Nobody receives any more once the door has gone.
                let Some(datagram) = datagram else { return Ok(()) };
                upstream.send(&datagram).await?;
                count(&session.moved.inward, datagram.len());
                answered = false;
            }
            ready = upstream.readable() => {
                ready?;
                let passed = core.buffers.scratch(|scratch| pass(known, upstream, scratch));
                match passed {
                    Ok(length) => count(&session.moved.outward, length),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error),
                }
                answered = true;
            }
            () = sleep_until(last + idle) => return Ok(()),
            _ = stop.wait_for(Option::is_some), if answered => return Ok(()),
        }
        last = Instant::now();
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
