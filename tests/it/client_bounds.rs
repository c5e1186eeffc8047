//! What one client may cost: floods of HTTP/2 frames, header bombs, slow senders and slow readers.
//! The frames are written by hand, since no client library sends them.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hybridctl::proxy::listener::{
    ClientRequest, ClientResponse, ConnectionInfo, ListenSpec, ProxyBody, ProxyServer, ServeLimits,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::harness::{PATIENCE, poll};

/// A server whose handler waits, reads or answers as the path says.
struct Server {
    server: ProxyServer,
    /// How many requests its handler was given.
    entered: Arc<AtomicUsize>,
}

/// More than any buffer between two ends takes, in bytes.
const LARGE: usize = 64 << 20;

impl Server {
    fn start(limits: ServeLimits) -> Self {
        let spec = ListenSpec {
            addr: ([127, 0, 0, 1], 0).into(),
            tls: None,
            http2: true,
            proxy_protocol: false,
            ipv6only: true,
            keepalive: None,
            backlog: 64,
        };
        let entered = Arc::new(AtomicUsize::new(0));
        let counter = entered.clone();
        let make = move |_| {
            let counter = counter.clone();
            move |request: ClientRequest, _: Rc<ConnectionInfo>| {
                counter.fetch_add(1, Ordering::SeqCst);
                answer(request)
            }
        };
        Self { server: ProxyServer::start(1, vec![spec], limits, make).unwrap(), entered }
    }

    fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    fn entered(&self) -> usize {
        self.entered.load(Ordering::SeqCst)
    }

    async fn until_entered(&self, count: usize) {
        let entered = poll(async || (self.entered() >= count).then_some(())).await;
        assert!(entered.is_some(), "{} of {count} requests got in", self.entered());
    }
}

async fn answer(request: ClientRequest) -> ClientResponse {
    match request.head.uri.path() {
        "/wait" => std::future::pending().await,
        "/large" => {
            ClientResponse::new(StatusCode::OK, ProxyBody::Full(Bytes::from(vec![b'x'; LARGE])))
        }
        _ => {
            let mut response = ClientResponse::new(StatusCode::OK, ProxyBody::Empty);
            if request.body.collect().await.is_err() {
                response.status = StatusCode::REQUEST_TIMEOUT;
            }
            response
        }
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const FLOW_CONTROL_ERROR: u32 = 3;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// `GET http://h/wait` in HPACK.
const GET_WAIT: &[u8] = b"\x82\x86\x41\x01h\x04\x05/wait";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// What came, as frames.
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// Returns the code of a frame that ends a stream or a connection.
    fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection of HTTP/2 on which anything may be written.
struct Raw(TcpStream);

impl Raw {
    async fn connect(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Whoever does not read has soon read enough.
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let begin = [&preface[..], &frame(SETTINGS, 0, 0, &[])].concat();
        stream.write_all(&begin).await.unwrap();
        Self(stream)
    }

    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Reads frames until one is wanted; nothing when the connection ends before.
    async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        let reading = async {
            loop {
                let mut head = [0; 9];
                self.0.read_exact(&mut head).await.ok()?;
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
                let mut payload = vec![0; length];
                self.0.read_exact(&mut payload).await.ok()?;
                let frame = Frame { kind: head[3], stream, payload };
                if wanted(&frame) {
                    return Some(frame);
                }
            }
        };
        timeout(PATIENCE, reading).await.expect("nothing comes, and the connection stays")
    }

    /// Sends the same again and again, reading nothing, and returns how much could be sent before
    /// the connection was closed.
    async fn flood(&mut self, bytes: &[u8]) -> usize {
        let many = bytes.repeat(64 * 1024 / bytes.len());
        let mut sent = 0;
        while sent < LARGE {
            match timeout(PATIENCE, self.0.write(&many)).await.expect("the connection stays") {
                Ok(length) if length > 0 => sent += length,
                _ => break,
            }
        }
        sent
    }
}

#[tokio::test]
async fn limits_are_told_and_kept() {
    let server = Server::start(ServeLimits::default());
    let mut client = Raw::connect(server.address()).await;
    let told = client.until(|frame| frame.kind == SETTINGS).await.unwrap();
    let told: Vec<(u8, u32)> = told.payload.chunks(6).map(setting).collect();
    for wanted in [(3, 128), (4, 256 << 10), (5, 16 << 10), (6, 16 << 10)] {
        assert!(told.contains(&wanted), "{wanted:?} is not in {told:?}");
    }
    // One stream more than allowed.
    for number in 0..129 {
        let flags = END_HEADERS | END_STREAM;
        client.send(&frame(HEADERS, flags, 2 * number + 1, GET_WAIT)).await.unwrap();
    }
    let refused = client.until(|frame| frame.kind == RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, refused.code()), (257, REFUSED_STREAM));
    server.until_entered(128).await;

    // More of a body than anybody has read.
    let mut client = Raw::connect(server.address()).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, GET_WAIT)).await.unwrap();
    let piece = frame(DATA, 0, 1, &[0; 16 << 10]);
    for _ in 0..17 {
        let _sent = client.send(&piece).await;
    }
    let is_end = |frame: &Frame| [RST_STREAM, GOAWAY].contains(&frame.kind);
    assert_eq!(client.until(is_end).await.unwrap().code(), FLOW_CONTROL_ERROR);
}

fn setting(bytes: &[u8]) -> (u8, u32) {
    (bytes[1], u32::from_be_bytes(bytes[2..6].try_into().unwrap()))
}

#[tokio::test]
async fn requests_that_are_given_up_at_once_end_the_connection() {
    let server = Server::start(ServeLimits::default());
    let mut client = Raw::connect(server.address()).await;
    let pairs = (0..2000).flat_map(|number| {
        let stream = 2 * number + 1;
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, GET_WAIT), reset(stream)].concat()
    });
    let pairs: Vec<u8> = pairs.collect();
    let _sent = client.send(&pairs).await;
    let end = client.until(|frame| frame.kind == GOAWAY).await;
    assert!(end.is_none_or(|end| end.code() == ENHANCE_YOUR_CALM));
    assert!(server.entered() <= 400, "{} requests got in", server.entered());
}

#[tokio::test]
async fn requests_that_are_given_up_when_they_have_begun_end_the_connection() {
    let server = Server::start(ServeLimits::default());
    let mut client = Raw::connect(server.address()).await;
    client.until(|frame| frame.kind == SETTINGS).await.expect("the server begins");
    let mut sent = 0;
    while sent < 1000 {
        let stream = 2 * sent + 1;
        let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, GET_WAIT);
        if client.send(&request).await.is_err() {
            break;
        }
        sent += 1;
        let is_over = || server.server.counts().active == 0;
        let begun = async || (server.entered() >= sent as usize || is_over()).then_some(());
        assert!(poll(begun).await.is_some(), "request {sent} is neither begun nor refused");
        if is_over() || client.send(&reset(stream)).await.is_err() {
            break;
        }
    }
    assert!((200..=300).contains(&sent), "{sent} requests were begun and given up");
}

#[tokio::test]
async fn headers_without_end_and_headers_that_unfold_are_refused() {
    let server = Server::start(ServeLimits::default());
    let mut client = Raw::connect(server.address()).await;
    let begin = frame(HEADERS, END_STREAM, 1, GET_WAIT);
    client.send(&begin).await.unwrap();
    let sent = client.flood(&frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b")).await;
    assert!(sent < LARGE, "CONTINUATION for ever");

    // A field of 4000 bytes enters the table, and is named a thousand times.
    let mut client = Raw::connect(server.address()).await;
    let long = [&b"\x40\x01a\x7f\xa1\x1e"[..], &[b'v'; 4000]].concat();
    let bomb = [GET_WAIT, &long, &[0xbe; 1000]].concat();
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
    client.send(&request).await.unwrap();
    let answers = |frame: &Frame| [HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind);
    let answer = client.until(answers).await.expect("the bomb is answered");
    // 431 is no status of the static table: three digits follow.
    let too_large = answer.payload.windows(3).any(|it| it == b"431")
        || answer.payload.starts_with(b"\x48\x82\x68\x0b");
    assert!(answer.kind != HEADERS || too_large, "{}", answer.payload.escape_ascii());
    assert_eq!(server.entered(), 0, "one of them reached the handler");
}

#[tokio::test]
async fn frames_that_ask_for_answers_end_when_nobody_reads_them() {
    let limits = ServeLimits { send_timeout: Duration::from_millis(200), ..ServeLimits::default() };
    let server = Server::start(limits);
    for flood in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut client = Raw::connect(server.address()).await;
        let sent = client.flood(&flood).await;
        assert!(sent < LARGE, "{sent} bytes of {flood:?} were taken");
    }
}

#[tokio::test]
async fn requests_of_http2_are_held_to_the_rules_of_http1() {
    let server = Server::start(ServeLimits::default());
    for (method, uri, host, status) in [
        ("GET", "http://h/", None, 200),
        ("GET", "http://h:80/", Some("h:80"), 200),
        ("GET", "http://h/", Some("H"), 200),
        ("GET", "http://h/", Some("i"), 400),
        ("GET", "http://h/", Some("h, i"), 400),
        ("get", "http://h/", None, 400),
        ("G'T", "http://h/", None, 400),
        ("TRACE", "http://h/", None, 405),
    ] {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = timeout(PATIENCE, sender.send_request(request)).await.unwrap();
        let got = answer.map(|answer| answer.status().as_u16());
        assert_eq!(got.ok(), Some(status), "{method} {uri} {host:?}");
    }
}

#[tokio::test]
async fn bodies_that_stop_coming_are_given_up() {
    let limits = ServeLimits { body_timeout: Duration::from_millis(100), ..ServeLimits::default() };
    let server = Server::start(limits);
    for body in ["Content-Length: 9\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"] {
        let mut client = TcpStream::connect(server.address()).await.unwrap();
        let request = format!("POST / HTTP/1.1\r\nHost: h\r\n{body}");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, client.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    let mut client = Raw::connect(server.address()).await;
    // POST http://h/
    client.send(&frame(HEADERS, END_HEADERS, 1, b"\x83\x86\x41\x01h\x84")).await.unwrap();
    client.send(&frame(DATA, 0, 1, b"half")).await.unwrap();
    let answer = client.until(|frame| frame.kind == HEADERS).await.unwrap();
    assert_eq!(answer.stream, 1);
}

#[tokio::test]
async fn whoever_does_not_read_is_left() {
    let limits = ServeLimits { send_timeout: Duration::from_millis(100), ..ServeLimits::default() };
    let server = Server::start(limits);
    let mut plain = TcpStream::connect(server.address()).await.unwrap();
    plain.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let mut framed = Raw::connect(server.address()).await;
    // GET http://h/large, with a window for all of it.
    let window = frame(SETTINGS, 0, 0, b"\x00\x04\x7f\xff\xff\xff");
    let wider = frame(8, 0, 0, &(1_u32 << 30).to_be_bytes());
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x86\x41\x01h\x04\x06/large");
    framed.send(&[window, wider, request].concat()).await.unwrap();
    server.until_entered(2).await;
    let left = poll(async || (server.server.counts().active == 0).then_some(())).await;
    assert!(left.is_some(), "{:?}", server.server.counts());
}

#[tokio::test]
async fn silent_clients_of_http2_are_left_or_asked_whether_they_are_there() {
    let limits =
        ServeLimits { header_timeout: Duration::from_millis(100), ..ServeLimits::default() };
    let server = Server::start(limits);
    let mut idle = Raw::connect(server.address()).await;
    let end = idle.until(|frame| frame.kind == GOAWAY).await.unwrap();
    assert_eq!(end.code(), 0);
    assert!(idle.until(|_| false).await.is_none(), "an idle connection is closed");

    // Whoever answers stays, and whoever does not is gone: so is one that a busy machine keeps from it.
    let stays = poll(async || {
        let mut waiting = Raw::connect(server.address()).await;
        waiting.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET_WAIT)).await.ok()?;
        for _ in 0..3 {
            let ping = waiting.until(|frame| frame.kind == PING).await?;
            waiting.send(&frame(PING, 1, 0, &ping.payload)).await.ok()?;
        }
        waiting.until(|frame| frame.kind == PING).await?;
        Some(waiting)
    });
    let mut waiting = stays.await.expect("who answers stays");
    assert!(waiting.until(|_| false).await.is_none(), "a client that is gone is left");
}

#[tokio::test]
async fn answers_that_a_window_holds_up_are_given_up() {
    let limits = ServeLimits { send_timeout: Duration::from_millis(100), ..ServeLimits::default() };
    let server = Server::start(limits);
    let mut client = Raw::connect(server.address()).await;
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x86\x41\x01h\x04\x06/large");
    client.send(&request).await.unwrap();
    let end = client.until(|frame| frame.kind == RST_STREAM).await.unwrap();
    assert_eq!((end.stream, end.code()), (1, CANCEL));
    // The connection is as good as before.
    client
        .send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\x82\x86\x41\x01h\x84"))
        .await
        .unwrap();
    assert_eq!(client.until(|frame| frame.kind == HEADERS).await.unwrap().stream, 3);
}
