//! Connections: announced, greeted, routed, decrypted where TLS ends here, joined to an upstream.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::core::Core;
use super::hello::{self, HELLO_TIMEOUT};
use super::peer::connect_tcp;
use super::session::{Session, status};
use crate::proxy::ahead::ReadAhead;
use crate::proxy::listener::{accept_until, proxy_protocol};
use crate::proxy::upstream::{Stream, splice};
use crate::router::Protocol;

/// A socket of this core and how connections of it begin.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    pub(super) local: SocketAddr,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) proxy_protocol: bool,
}

/// How long a TLS handshake may take (nginx `ssl_handshake_timeout`).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Accepts until the core drains, and then what waits already.
pub(super) async fn accept_all(core: Rc<Core>, door: Door) {
    let Door { listener, local, tls, proxy_protocol } = door;
    let welcome = |socket: TcpStream, peer| {
        core.counters.accepted.add();
        let local = socket.local_addr().unwrap_or(local);
        let session = Session::begin(core.clone(), false, peer, local);
        let serving = serve(core.clone(), session, socket, tls.clone(), proxy_protocol);
        tokio::task::spawn_local(serving);
    };
    let mut stop = core.stop.clone();
    let mut stopping = pin!(stop.wait_for(Option::is_some));
    accept_until(listener, local, |cx| stopping.as_mut().poll(cx).is_ready(), welcome).await;
}

async fn serve(
    core: Rc<Core>,
    mut session: Session,
    mut socket: TcpStream,
    tls: Option<TlsAcceptor>,
    announced: bool,
) {
    if announced && Box::pin(announce(&core, &mut session, &mut socket)).await.is_none() {
        return;
    }
    let Some(acceptor) = tls else {
        core.counters.handled.add();
        let client = ReadAhead::new(BytesMut::new(), socket);
        return join(&core, session, client, Protocol::Tcp).await;
    };
    let (read, name) = match Box::pin(hello::read(&mut socket)).await {
        Ok(read) => read,
        Err(error) => {
            session.status = status::BAD_REQUEST;
            tracing::info!(client = %session.client, address = %session.local, %error, "a connection without a TLS hello is closed");
            return;
        }
    };
    session.sni = name;
    let client = ReadAhead::new(read, socket);
    let Some(target) = session.route(Protocol::Tls) else { return };
    if target.is_passthrough() {
        core.counters.handled.add();
        return forward(&core, session, client).await;
    }
    session.tls = true;
    let client = match timeout(HANDSHAKE_TIMEOUT, Box::pin(acceptor.accept(client))).await {
        Ok(Ok(client)) => client,
        failed => {
            let error = failed.map_or_else(
                |_| io::ErrorKind::TimedOut.into(),
                |it| it.err().unwrap_or_else(|| io::ErrorKind::Other.into()),
            );
            tracing::info!(client = %session.client, address = %session.local, %error, "a TLS handshake failed");
            return;
        }
    };
    core.counters.handled.add();
    forward(&core, session, client).await;
}

/// Reads what the balancer before us says; nothing, if that is not the PROXY protocol.
async fn announce(core: &Core, session: &mut Session, socket: &mut TcpStream) -> Option<()> {
    let Ok(Ok(announced)) = timeout(HELLO_TIMEOUT, proxy_protocol::read(socket)).await else {
        session.status = status::BAD_REQUEST;
        let (peer, local) = (session.client, session.local);
        tracing::info!(%peer, address = %local, "a connection without a PROXY protocol header is closed");
        return None;
    };
    let peer = session.client.ip();
    if let Some(announced) = announced
        && core.settings.trusted.iter().any(|network| network.contains(peer))
    {
        session.client = announced.source;
    }
    Some(())
}

/// Routes a connection and joins it.
async fn join<C>(core: &Core, mut session: Session, client: C, protocol: Protocol)
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if session.route(protocol).is_some() {
        forward(core, session, client).await;
    }
}

/// Joins a connection that has a target to a peer of it.
async fn forward<C>(core: &Core, mut session: Session, client: C)
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let Some(target) = session.target.clone() else { return };
    let upstream = Box::pin(connect_tcp(core, &mut session, &target)).await;
    let Some((upstream, _lease)) = upstream else { return };
    let (idle, moved) = (target.idle(), &session.moved);
    let ended = match upstream {
        Stream::Tcp(upstream) => splice(client, upstream, idle, &core.buffers, moved).await,
        upstream => splice(client, upstream, idle, &core.buffers, moved).await,
    };
    if let Err(error) = ended {
        tracing::debug!(client = %session.client, %error, "a connection broke off");
    }
}
