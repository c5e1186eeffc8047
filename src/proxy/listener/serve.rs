//! One core at work: accepting, handshaking and serving connections.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::accept::accept_until;
use super::connection::ConnectionInfo;
use super::counters::CoreCounters;
use super::drain::Drain;
use super::http1;
use super::http2;
use super::proxy_protocol;
use super::refusal::Refusals;
use super::request::ClientRequest;
use super::response::ClientResponse;
use super::stream::{ClientStream, Transport};
use crate::proxy::outbox::Socket;
use crate::proxy::received::Received;
use crate::proxy::shelf::Shelf;

/// Bounds on what one client may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// For the whole TLS handshake.
    pub handshake_timeout: Duration,
    /// For a request head; an idle connection is closed after it too.
    pub header_timeout: Duration,
    /// Between two receives of a request body.
    pub body_timeout: Duration,
    /// Between two successful writes of a response.
    pub send_timeout: Duration,
    /// Longest HTTP/1 request head and read buffer, in bytes; at least 8192.
    pub head_bytes_max: usize,
    /// Longest HTTP/2 header list, in bytes.
    pub h2_header_list_max: u32,
    /// Concurrent HTTP/2 streams per connection.
    pub h2_streams_max: u32,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            head_bytes_max: 32 * 1024,
            h2_header_list_max: 16 * 1024,
            h2_streams_max: 128,
        }
    }
}

/// What the tasks of one core share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) index: usize,
    pub(super) limits: ServeLimits,
    pub(super) counters: Arc<CoreCounters>,
    pub(super) drain: Drain,
    pub(super) refusals: Refusals,
    /// Where connections read into while nobody knows how much there is.
    pub(super) scratch: RefCell<Box<[u8]>>,
    /// Where heads lie that were read.
    pub(super) received: RefCell<Received>,
    pub(super) date: RefCell<http1::Date>,
    /// Buffers that answers were written in, for the next ones.
    pub(super) buffers: Shelf,
}

/// Room for one receive, in bytes.
const SCRATCH: usize = 16 * 1024;

impl Core {
    pub(super) fn new(
        index: usize,
        limits: ServeLimits,
        counters: Arc<CoreCounters>,
        refusals: Refusals,
    ) -> Self {
        Self {
            index,
            limits,
            counters,
            drain: Drain::default(),
            refusals,
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            received: RefCell::default(),
            date: RefCell::default(),
            buffers: Shelf::default(),
        }
    }
}

/// A socket of this core and what is spoken on it.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    pub(super) local: SocketAddr,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) begin: Begin,
}

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Accepts until the core drains, and then what waits already.
pub(super) async fn accept_all<H, F>(core: Rc<Core>, door: Door, handler: Rc<H>)
where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    let Door { listener, local, tls, begin } = door;
    let welcome = |socket, peer| {
        core.counters.accepted.add();
        let info = ConnectionInfo::open(peer, local, core.clone());
        let serving = serve(core.clone(), socket, info, tls.clone(), begin, handler.clone());
        tokio::task::spawn_local(serving);
    };
    let id = core.drain.enter();
    let is_over = |cx: &mut Context<'_>| {
        core.drain.watch(id, cx);
        core.drain.is_draining()
    };
    accept_until(listener, local, is_over, welcome).await;
    core.drain.leave(id);
}

/// How connections of a listener may begin.
#[derive(Clone, Copy)]
pub(super) struct Begin {
    pub(super) http2: bool,
    pub(super) proxy_protocol: bool,
}

/// Serves a connection to its end. What its begin needs is in a box of its own, which is freed before the first
/// request: as a part of the task, it would be there as long as the connection.
fn serve<H, F>(
    core: Rc<Core>,
    socket: TcpStream,
    info: ConnectionInfo,
    tls: Option<TlsAcceptor>,
    begin: Begin,
    handler: Rc<H>,
) -> impl Future<Output = ()>
where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    let beginning = Box::pin(open(core.clone(), socket, info, tls, begin));
    async move {
        let Some(Opened { mut stream, info, is_h2 }) = beginning.await else { return };
        core.counters.handled.add();
        if is_h2 {
            // Rare beside HTTP/1, and large.
            Box::pin(http2::serve(core, stream, info, handler)).await;
        } else {
            let read = stream.take_prefix();
            http1::serve(core, stream, read, info, handler).await;
        }
    }
}

/// A connection on which HTTP begins.
struct Opened {
    stream: ClientStream,
    info: Rc<ConnectionInfo>,
    is_h2: bool,
}

/// Brings a socket to the point where HTTP begins.
async fn open(
    core: Rc<Core>,
    mut socket: TcpStream,
    mut info: ConnectionInfo,
    tls: Option<TlsAcceptor>,
    Begin { http2, proxy_protocol }: Begin,
) -> Option<Opened> {
    // An unspecified listening address says nothing of where the client connected to.
    if info.connection.local.ip().is_unspecified()
        && let Ok(local) = socket.local_addr()
    {
        Rc::make_mut(&mut info.connection).local = local;
    }
    if proxy_protocol {
        announced(&core, &mut socket, &mut info).await?;
    }
    let limits = &core.limits;
    if let Some(acceptor) = tls {
        let handshake = acceptor.accept(Socket::new(socket));
        let stream = timeout(limits.handshake_timeout, handshake).await.ok()?.ok()?;
        let session = stream.get_ref().1;
        let connection = Rc::make_mut(&mut info.connection);
        connection.tls = true;
        connection.sni = session.server_name().map(Box::from);
        let is_h2 = session.alpn_protocol() == Some(b"h2".as_slice());
        let transport = Transport::Tls(Box::new(stream));
        let stream = ClientStream::new(transport, Bytes::new(), limits.send_timeout);
        return Some(Opened { stream, info: Rc::new(info), is_h2 });
    }
    let prefix = match http2 {
        true => timeout(limits.header_timeout, read_preface(&mut socket)).await.ok()?.ok()?,
        false => Bytes::new(),
    };
    let is_h2 = http2 && prefix.as_ref() == H2_PREFACE;
    let transport = Transport::Tcp(Socket::new(socket));
    let stream = ClientStream::new(transport, prefix, limits.send_timeout);
    Some(Opened { stream, info: Rc::new(info), is_h2 })
}

/// Reads what the balancer before us says; nothing, if that is not the PROXY protocol.
async fn announced(core: &Core, socket: &mut TcpStream, info: &mut ConnectionInfo) -> Option<()> {
    let read = timeout(core.limits.header_timeout, proxy_protocol::read(socket)).await;
    let Ok(Ok(announced)) = read else {
        let (peer, local) = (info.connection.peer, info.connection.local);
        tracing::info!(%peer, address = %local, "a connection without a PROXY protocol header is closed");
        return None;
    };
    Rc::make_mut(&mut info.connection).announced = announced.map(|it| it.source);
    Some(())
}

/// Reads until it is clear whether the client speaks HTTP/2; what was read is handed on.
async fn read_preface(socket: &mut TcpStream) -> std::io::Result<Bytes> {
    let mut read = BytesMut::with_capacity(H2_PREFACE.len());
    while read.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(&read) {
        let room = H2_PREFACE.len() - read.len();
        if socket.take(room as u64).read_buf(&mut read).await? == 0 {
            break;
        }
    }
    Ok(read.freeze())
}

/// Counts a request while its handler works.
pub(super) struct Working(Rc<Core>);

impl Working {
    pub(super) fn begin(core: Rc<Core>) -> Self {
        core.counters.requests.add();
        core.counters.writing.add();
        Self(core)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.counters.writing.subtract();
    }
}
