//! What each fuzz target does with an input. Nothing of it may panic, hang or take more memory than
//! its limits say, and what is read must be what was written.
//!
//! Built for the fuzzing engine by this package, and into the ordinary tests, which give it every
//! file of `corpus/` (`tests/it/corpora.rs`). To add a target: a function and a line in
//! [`TARGETS`], a file in `fuzz_targets/` with its `[[bin]]`, and a folder in `corpus/`.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, TimeDelta, Utc};
use http::header::HOST;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::config::Config;
use hybridctl::domain::decide::{self, Fresh};
use hybridctl::domain::hash::{ConfigHash, NodeHash};
use hybridctl::headers::RequestHead;
use hybridctl::pki::ocsp::{self, Statement, Status, body_of};
use hybridctl::plugins;
use hybridctl::promotion::view::Offer;
use hybridctl::proxy::listener::{
    ClientRequest, ClientResponse, ConnectionInfo, Dialogue, ProxyBody, ServeLimits, WholeRequest,
    read_whole,
};
use hybridctl::settings::{Settings, Sources};
use hybridctl::snapshot::assembly::Assembly;
use hybridctl::snapshot::gzip::{Packer, unpack};
use hybridctl::snapshot::mirror::MirrorHead;
use hybridctl::snapshot::{Snapshot, file, pack};
use hybridctl::wire::frame::{FromControl, FromData, Hello, PROTOCOL};
use hybridctl::wire::kong::introduction::{Arguments, Introduction};
use hybridctl::wire::kong::session::Timing as KongTiming;
use hybridctl::wire::kong::session::inlet::{self, Inlet};
use hybridctl::wire::kong::session::outlet::{self, Outlet};
use hybridctl::wire::kong::table::ZERO_HASH;
use hybridctl::wire::kong::table::import::{Message, read};
use hybridctl::wire::kong::websocket::{Frame, Side};
use hybridctl::wire::session::follower::{self, Follower, Memory};
use hybridctl::wire::session::publisher::{self, Publisher, Timing};
use hybridctl::writer::Head;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use uuid::Uuid;

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("entities", entities),
    ("gzip", gzip),
    ("http1_requests", http1_requests),
    ("http2_connection", http2_connection),
    ("kong_conf", kong_conf),
    ("kong_frames", kong_frames),
    ("kong_message", kong_message),
    ("native_frames", native_frames),
    ("ocsp_answer", ocsp_answer),
    ("snapshot_file", snapshot_file),
    ("snapshot_nodes", snapshot_nodes),
];

/// How many bytes an input may become when it is unpacked.
const UNPACKED_BYTES_MAX: u64 = 64 << 10;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| plugins::catalog(|_| true));

/// Runs work with a fixed time and ids in order.
fn with_fresh<T>(work: impl FnOnce(&mut Fresh<'_>) -> T) -> T {
    let mut drawn = 0;
    let mut id = || {
        drawn += 1;
        Uuid::from_u128(drawn)
    };
    work(&mut Fresh { at: DateTime::UNIX_EPOCH, id: &mut id })
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut packer = Packer::new();
    packer.write(text);
    packer.finish()
}

/// A snapshot that was believed survives both forms in which it travels on.
fn survives(snapshot: &Snapshot) {
    let again = pack::decode(&CATALOG, snapshot.hash(), &pack::encode(snapshot));
    assert!(again.is_ok_and(|again| again == *snapshot), "a pack gives back another snapshot");
    let bytes = file::encode(&CATALOG, snapshot, None);
    let again = with_fresh(|fresh| file::decode(&CATALOG, &bytes, fresh));
    let is_same = again.is_ok_and(|loaded| loaded.snapshot == *snapshot);
    assert!(is_same, "a file gives back another snapshot");
}

/// Gzip as a peer or a disk has it: a message of Kong's dialect, a pack, a cache.
pub fn gzip(input: &[u8]) {
    if let Ok(bytes) = unpack(input, UNPACKED_BYTES_MAX) {
        assert!(bytes.len() as u64 <= UNPACKED_BYTES_MAX, "more than was allowed");
    }
    let _ = read(input, UNPACKED_BYTES_MAX);
    let _ = pack::decode(&CATALOG, ConfigHash([0; 32]), input);
    let _ = with_fresh(|fresh| file::decode(&CATALOG, input, fresh));
}

/// What clients send on a connection of HTTP/2 behind its preface, at once and cut in two. What is
/// said is frames, and of a stream nothing is said behind its end.
pub fn http2_connection(input: &[u8]) {
    let (one, two) = input.split_at(input.len() / 2);
    for pieces in [&[input][..], &[one, two]] {
        let mut dialogue = Dialogue::new(ServeLimits::default(), echo).expect("a runtime is made");
        let mut said = dialogue.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        for piece in pieces {
            said.extend(dialogue.say(piece));
        }
        are_frames(&said);
    }
}

/// Answers with what was asked, once that has come whole.
async fn echo(request: ClientRequest, _: Rc<ConnectionInfo>) -> ClientResponse {
    let body = request.body.collect().await;
    let status = if body.is_ok() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let mut response = ClientResponse::new(status, ProxyBody::from(body));
    response.headers = request.head.headers;
    response
}

fn are_frames(mut said: &[u8]) {
    const END_STREAM: u8 = 1;
    let mut ended = Vec::new();
    while !said.is_empty() {
        let (head, rest) = said.split_first_chunk::<9>().expect("a frame has a head");
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        assert!(length <= 16 << 10, "a frame of {length} bytes");
        let stream = u32::from_be_bytes(stream);
        assert!(stream % 2 == 1 || stream == 0, "a frame of stream {stream}");
        let is_of_answer = matches!(kind, 0 | 1 | 9);
        assert!(!is_of_answer || !ended.contains(&stream), "more of stream {stream}");
        if matches!(kind, 0 | 1) && flags & END_STREAM != 0 || kind == 3 {
            ended.push(stream);
        }
        // A head in several frames ends with the last of them.
        if kind == 1 && flags & 4 == 0 {
            ended.pop();
        }
        said = rest.get(length..).expect("a frame is whole");
    }
}

/// What clients send on a connection of HTTP/1. Whatever is accepted here, hyper reads in the same
/// way: as many requests with the same lines, fields and bodies.
pub fn http1_requests(input: &[u8]) {
    let ours = read_whole(input, HEAD_BYTES_MAX);
    if ours.is_empty() {
        return;
    }
    let theirs = hyper_reads(input);
    for (at, ours) in ours.iter().enumerate() {
        let theirs = theirs.get(at).unwrap_or_else(|| panic!("request {at} is none to hyper"));
        let (head, other) = (&ours.head, &theirs.head);
        assert_eq!((&head.method, head.version), (&other.method, other.version), "request {at}");
        // A target that names a host has become a path and a Host.
        let named = other.uri.authority();
        assert_eq!(head.uri.path(), other.uri.path(), "request {at}");
        assert_eq!(head.uri.query(), other.uri.query(), "request {at}");
        // The order among fields of different names says nothing, and hyper does not keep it.
        let fields = |head: &RequestHead| {
            let mut fields = HeaderMap::from(head.headers.clone());
            if named.is_some() {
                fields.remove(HOST);
            }
            fields
        };
        assert_eq!(fields(head), fields(other), "request {at}");
        assert_eq!(ours.body, theirs.body, "request {at}");
    }
}

/// The longest head of a request, as listeners have it.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// How often hyper is asked to go on before it is held to hang.
const TURNS_MAX: usize = 100_000;

/// Reads requests as a server of hyper does, which answers each with nothing.
fn hyper_reads(input: &[u8]) -> Vec<WholeRequest> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let shared = seen.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = shared.clone();
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                seen.borrow_mut()
                    .push(WholeRequest { head: head.into(), body: body.to_bytes().to_vec() });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut server = http1::Builder::new();
    server.half_close(true).max_headers(128).max_buf_size(1 << 20);
    let mut connection = server.serve_connection(Sent(Bytes::copy_from_slice(input)), service);
    let mut context = Context::from_waker(Waker::noop());
    // Everything is there: whoever waits has only given others a turn.
    let ended = (0..TURNS_MAX).any(|_| Pin::new(&mut connection).poll(&mut context).is_ready());
    assert!(ended, "hyper waits for more than there is");
    drop(connection);
    seen.take()
}

/// A connection on which everything was sent already; what is answered is thrown away.
struct Sent(Bytes);

impl hyper::rt::Read for Sent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut room: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let length = self.0.len().min(room.remaining());
        room.put_slice(&self.0.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Sent {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The text of a `reconfigure` message of a control plane of Kong.
pub fn kong_message(input: &[u8]) {
    let Ok(Message::Reconfigure(message)) = read(&packed(input), UNPACKED_BYTES_MAX) else {
        return;
    };
    if let Ok(snapshot) = with_fresh(|fresh| message.verify(&CATALOG, fresh)) {
        survives(&snapshot);
    }
}

/// The text of a cached or declared configuration: as a file with and without our header, and as
/// YAML.
pub fn snapshot_file(input: &[u8]) {
    if let Ok(loaded) = with_fresh(|fresh| file::decode(&CATALOG, &packed(input), fresh)) {
        survives(&loaded.snapshot);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(tree) = file::parse_text("config.yml", text)
        && let Ok(snapshot) = with_fresh(|fresh| file::declared(&CATALOG, &tree, fresh))
    {
        survives(&snapshot);
    }
}

/// Nodes of a hash tree, parted by zero bytes. Where the first is empty, the others are the leaves
/// of a root that is made for them; else it is the root.
pub fn snapshot_nodes(input: &[u8]) {
    let mut nodes: Vec<Bytes> =
        input.split(|byte| *byte == 0).map(Bytes::copy_from_slice).collect();
    let hash = |bytes: &Bytes| NodeHash(*blake3::hash(bytes).as_bytes());
    if nodes[0].is_empty() {
        let hashes = nodes[1..].iter().map(|leaf| format!("{}\n", hash(leaf)));
        let root = format!("hybridctl-node 1 1\n{}", hashes.collect::<String>());
        nodes[0] = root.into();
    }
    let root = ConfigHash(hash(&nodes[0]).0);
    for base in [None, Some(Snapshot::of(Config::default()))] {
        let mut assembly = Assembly::new(root, base.as_ref());
        for node in &nodes {
            let _ = assembly.feed(hash(node), node.clone());
        }
        if let Ok(snapshot) = assembly.finish(&CATALOG) {
            assert_eq!(snapshot.hash(), root, "not the snapshot that was asked for");
            survives(&snapshot);
        }
    }
    let joined = Bytes::copy_from_slice(input);
    if let Ok(parts) = pack::split(&joined) {
        assert_eq!(pack::join(&parts), joined, "nodes in a row come together as another row");
    }
}

/// Frames of the native dialect, one a line, each given to a session of either side.
pub fn native_frames(input: &[u8]) {
    let _ = MirrorHead::decode(input);
    let mut now = Instant::now();
    let mut publisher = Publisher::new(Timing::default(), now);
    let hello = Hello {
        protocol: PROTOCOL,
        node_id: Uuid::nil(),
        hostname: String::new(),
        version: String::new(),
        program_version: String::new(),
        labels: Default::default(),
        plugins: Default::default(),
        applied: None,
        rejected: Vec::new(),
    };
    let (mut follower, _) = Follower::new(Timing::default(), Memory::default(), hello, now);
    publisher.offer(offer(), now);
    for line in input.split(|byte| *byte == b'\n') {
        now += Duration::from_secs(1);
        if let Ok(frame) = serde_json::from_slice::<FromData>(line) {
            let again = serde_json::to_vec(&frame).expect("a frame is plain data");
            let again: FromData = serde_json::from_slice(&again).expect("it was just written");
            assert_eq!(again, frame, "a frame is read as another than was written");
            let actions = publisher.frame(frame, now);
            if actions.iter().any(|action| matches!(action, publisher::Action::Close(_))) {
                publisher = Publisher::new(Timing::default(), now);
                publisher.offer(offer(), now);
            }
        }
        if let Ok(frame) = serde_json::from_slice::<FromControl>(line) {
            for action in follower.frame(frame, now) {
                if let follower::Action::Obtain { head, delta } = action {
                    if let Some(delta) = delta {
                        let _ = hybridctl::domain::event::decode_changes(&CATALOG, &delta.changes);
                    }
                    follower.applied(head, now);
                }
            }
        }
        publisher.tick(now);
        follower.tick(now);
    }
}

fn offer() -> Offer {
    Offer { revision: 0, head: Head::empty().into(), hold: None }
}

/// Bytes on a WebSocket of Kong's dialect, as either side reads them, and a query for one.
pub fn kong_frames(input: &[u8]) {
    if let Ok(query) = std::str::from_utf8(input) {
        let _ = Arguments::parse(query).missing();
    }
    let _ = Introduction::parse(input);
    let now = Instant::now();
    let mut outlet = Outlet::new(KongTiming::default(), now);
    outlet.offer(offer(), now);
    let mut buffer = BytesMut::from(input);
    while let Ok(Some(frame)) = Frame::decode(&mut buffer, Side::Server, input.len()) {
        let mut actions = outlet.frame(frame, now);
        while let Some(action) = actions.pop() {
            match action {
                outlet::Action::Judge(_) => actions.extend(outlet.accepted(now)),
                outlet::Action::Push(_) | outlet::Action::Pong => actions.extend(outlet.sent(now)),
                outlet::Action::Close(_) => return,
                _ => {}
            }
        }
    }
    let (mut inlet, _) = Inlet::new(KongTiming::default(), Bytes::new(), ZERO_HASH.to_owned(), now);
    let mut buffer = BytesMut::from(input);
    while let Ok(Some(frame)) = Frame::decode(&mut buffer, Side::Client, input.len()) {
        let mut actions = inlet.frame(frame, now);
        while let Some(action) = actions.pop() {
            if let inlet::Action::Apply(message) = action {
                let _ = read(&message, UNPACKED_BYTES_MAX);
                actions.extend(inlet.kept());
            }
        }
    }
}

/// The text of a kong.conf.
pub fn kong_conf(input: &[u8]) {
    // Files that it names would be read, and some of a machine's never end.
    if input.windows(4).any(|window| window == b"/dev") || input.windows(5).any(|it| it == b"/proc")
    {
        return;
    }
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        std::env::temp_dir().join(format!("hybridctl-fuzz-{}.conf", std::process::id()))
    });
    if std::fs::write(&*FILE, input).is_err() {
        return;
    }
    let sources = Sources { conf: Some(FILE.clone()), prefix: None, ..Sources::default() };
    match Settings::load(&sources) {
        Ok(settings) => {
            let _ = (settings.to_json(), settings.dump());
        }
        Err(error) => {
            let _ = (error.messages(), error.to_string());
        }
    }
    let _ = std::fs::remove_file(&*FILE);
}

/// The body of a write: the name of a kind, a line's end, a JSON document.
pub fn entities(input: &[u8]) {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let kind = std::str::from_utf8(&input[..end]).ok().and_then(|name| CATALOG.kind(name));
    let body = serde_json::from_slice::<Value>(&input[end..]);
    let (Some(kind), Ok(Value::Object(body))) = (kind, body) else { return };
    match with_fresh(|fresh| decide::make(&CATALOG, kind, body, fresh)) {
        Ok(entity) => {
            let again = hybridctl::domain::entity::Entity::parse(kind, entity.bytes());
            assert!(again.is_ok_and(|again| again == entity), "canonical bytes are read otherwise");
        }
        Err(rejection) => {
            let _ = (rejection.fields(), rejection.message());
        }
    }
}

/// What a responder sends over HTTP, as it comes piece by piece, and the answer in it.
///
/// Nobody can make an answer up: what is believed is what a signed answer of the fixtures says.
pub fn ocsp_answer(input: &[u8]) {
    let whole = body_of(input, true);
    if let Ok(Some(body)) = body_of(input, false) {
        assert!(matches!(whole, Ok(Some(same)) if same == body), "a body grows when it has ended");
    }
    let answer = whole.ok().flatten().unwrap_or(input);
    let (target, made) = &*QUESTION;
    if let Ok(statement) = Statement::verify(answer, target, *made) {
        let has_end = statement.until == Some(*made + TimeDelta::days(7));
        let is_known = match statement.status {
            Status::Good => has_end || statement.until.is_none(),
            Status::Revoked | Status::Unknown => has_end,
        };
        assert!(is_known, "believed: {statement:?}");
    }
}

/// A certificate, and when the answers of the fixtures about it were made.
static QUESTION: LazyLock<(ocsp::Target, DateTime<Utc>)> = LazyLock::new(|| {
    let certificate = |pem: &[u8]| CertificateDer::from_pem_slice(pem).expect("a fixture");
    let leaf = certificate(include_bytes!("../../tests/fixtures/ocsp/leaf.crt"));
    let root = certificate(include_bytes!("../../tests/fixtures/ocsp/root.crt"));
    let made = include_str!("../../tests/fixtures/ocsp/made").trim();
    let target = ocsp::Target::read(&leaf, &root).expect("fixtures can be read");
    (target, made.parse().expect("a time"))
});
