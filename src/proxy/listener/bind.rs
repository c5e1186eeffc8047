//! Sockets: bound for all cores before any core starts, so that an error is told at once.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::flags;
use crate::settings::Keepalive;

/// One address to serve.
#[derive(Clone, Debug)]
pub struct ListenSpec {
    /// IP address and port; port 0 takes a free one, the same on every core.
    pub addr: SocketAddr,
    /// Present when clients speak TLS here. ALPN is set from `http2`.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Whether HTTP/2 is spoken too: by ALPN under TLS, by prior knowledge without.
    pub http2: bool,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Whether an IPv6 address refuses IPv4.
    pub ipv6only: bool,
    /// How idle connections are probed, if they are.
    pub keepalive: Option<Keepalive>,
    /// Connections that may wait to be accepted, per core.
    pub backlog: i32,
}

/// An address cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}")]
pub struct BindError {
    /// The address asked for.
    pub addr: SocketAddr,
    #[source]
    source: io::Error,
}

impl BindError {
    pub(super) fn new(addr: SocketAddr, source: io::Error) -> Self {
        Self { addr, source }
    }
}

/// Returns sockets of one address for all cores, and the real address: those that were open before,
/// all of them, and new ones until there is one per core. A socket holds connections that nobody has
/// accepted yet, so none that was open is left out.
pub(super) fn bind_all(
    spec: &ListenSpec,
    open: Vec<TcpListener>,
    cores: usize,
) -> Result<(Vec<TcpListener>, SocketAddr), BindError> {
    let failed = |error| BindError::new(spec.addr, error);
    if open.is_empty() && spec.addr.port() != 0 {
        // With SO_REUSEPORT a second gateway of the same user would silently take a share of the
        // connections; a socket without it is refused while anybody listens.
        drop(bind(spec, spec.addr, false).map_err(failed)?);
    }
    let mut addr = spec.addr;
    let mut sockets = Vec::with_capacity(cores.max(open.len()));
    for socket in open {
        take_over(&socket, spec).map_err(failed)?;
        addr = socket.local_addr().map_err(failed)?;
        sockets.push(socket);
    }
    while sockets.len() < cores {
        let socket = bind(spec, addr, true).map_err(failed)?;
        addr = socket.local_addr().map_err(failed)?;
        sockets.push(socket);
    }
    Ok((sockets, addr))
}

fn take_over(socket: &TcpListener, spec: &ListenSpec) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_nonblocking(true)?;
    flags::set(&socket, spec)?;
    // Listening again changes the backlog alone.
    socket.listen(spec.backlog.max(1))
}

fn bind(spec: &ListenSpec, addr: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if spec.addr.is_ipv6() {
        socket.set_only_v6(spec.ipv6only)?;
    }
    flags::set(&socket, spec)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    if shared {
        socket.listen(spec.backlog.max(1))?;
    }
    Ok(socket.into())
}
