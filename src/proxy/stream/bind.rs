//! The sockets of streams, bound for all cores before any core starts.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::proxy::listener::{BindError, ListenSpec, flags};

/// One address that streams come to.
#[derive(Debug)]
pub struct StreamSpec {
    /// The address and its flags; no HTTP is spoken there, so `http2` means nothing.
    pub listen: ListenSpec,
    /// Whether datagrams are taken instead of connections.
    pub udp: bool,
    /// Sockets of this address and kind that are open already: they hold what nobody has taken yet.
    pub open: Vec<OwnedFd>,
}

/// A socket that is served.
#[derive(Debug)]
pub struct StreamSocket {
    /// The address that was asked for; its port may be 0.
    pub asked: SocketAddr,
    /// Whether it takes datagrams.
    pub udp: bool,
    /// The socket, beside the core's own hold of it.
    pub fd: OwnedFd,
}

/// Returns sockets of one address for all cores, and the real address: those that were open before,
/// all of them, and new ones until there is one per core. The system gives all datagrams of a client
/// to one of them.
pub(super) fn bind_all(
    spec: &mut StreamSpec,
    cores: usize,
) -> Result<(Vec<Socket>, SocketAddr), BindError> {
    let asked = spec.listen.addr;
    let failed = |error| BindError::new(asked, error);
    let open = std::mem::take(&mut spec.open);
    if open.is_empty() && asked.port() != 0 {
        // With SO_REUSEPORT a second gateway of the same user would silently take a share of what
        // comes; a socket without it is refused while anybody is there.
        drop(bind(spec, asked, false).map_err(failed)?);
    }
    let mut addr = asked;
    let mut sockets = Vec::with_capacity(cores.max(open.len()));
    for socket in open {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true).map_err(failed)?;
        addr = real(&socket).map_err(failed)?;
        sockets.push(socket);
    }
    while sockets.len() < cores {
        let socket = bind(spec, addr, true).map_err(failed)?;
        addr = real(&socket).map_err(failed)?;
        sockets.push(socket);
    }
    Ok((sockets, addr))
}

fn real(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn bind(spec: &StreamSpec, addr: SocketAddr, shared: bool) -> io::Result<Socket> {
    let (kind, protocol) = match spec.udp {
        true => (Type::DGRAM, Protocol::UDP),
        false => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(spec.listen.ipv6only)?;
    }
    if !spec.udp {
        socket.set_reuse_address(true)?;
        flags::set(&socket, &spec.listen)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    if shared && !spec.udp {
        socket.listen(spec.listen.backlog.max(1))?;
    }
    Ok(socket)
}
