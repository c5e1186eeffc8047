//! HTTP/2 with clients, against hyper's client: what is asked is what the handler sees, what it
//! answers is what arrives, whatever happens at the same time on the connection.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hybridctl::proxy::listener::{
    ClientRequest, ClientResponse, ConnectionInfo, ListenSpec, ProxyBody, ProxyServer, ServeLimits,
};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::PATIENCE;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Frames that are ready, each behind a moment in which nothing is.
struct Frames {
    frames: std::vec::IntoIter<Frame<Bytes>>,
    is_next: bool,
}

impl Frames {
    fn new(frames: Vec<Frame<Bytes>>) -> Self {
        Self { frames: frames.into_iter(), is_next: false }
    }
}

impl futures_util::Stream for Frames {
    type Item = Result<Frame<Bytes>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.is_next = !self.is_next;
        if self.is_next {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.frames.next().map(Ok))
    }
}

/// Answers with what was asked: line and headers as headers, the body as one of as many frames, the
/// trailers as trailers.
async fn mirror(request: ClientRequest, _: Rc<ConnectionInfo>) -> ClientResponse {
    let head = request.head;
    let mut body = request.body;
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return ClientResponse::new(StatusCode::BAD_REQUEST, ProxyBody::Empty);
        };
        frames.push(frame);
    }
    let body = ProxyBody::Filtered(Box::pin(StreamBody::new(Frames::new(frames))));
    let mut response = ClientResponse::new(StatusCode::OK, body);
    let line = format!("{} {}", head.method, head.uri);
    let line = HeaderValue::from_str(&line).unwrap();
    response.headers.append(HeaderName::from_static("x-line"), line);
    for (name, value) in head.headers {
        if name != "content-length" && name != "te" {
            response.headers.append(name, value);
        }
    }
    response
}

fn start() -> ProxyServer {
    let spec = ListenSpec {
        addr: ([127, 0, 0, 1], 0).into(),
        tls: None,
        http2: true,
        proxy_protocol: false,
        ipv6only: true,
        keepalive: None,
        backlog: 64,
    };
    ProxyServer::start(1, vec![spec], ServeLimits::default(), |_| mirror).unwrap()
}

type Body = StreamBody<Frames>;

async fn connect(address: SocketAddr, window: u32) -> SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(2 * window)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// What one request says.
struct Asked {
    path: String,
    headers: HeaderMap,
    pieces: Vec<Bytes>,
    trailers: Option<HeaderMap>,
}

fn text(random: &mut StdRng, length: usize) -> String {
    let signs = b"abcXYZ019-_.~";
    (0..length).map(|_| signs[random.random_range(0..signs.len())] as char).collect()
}

fn fields(random: &mut StdRng) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for _ in 0..random.random_range(0..6) {
        let name = match random.random_range(0..3) {
            0 => "user-agent".to_owned(),
            1 => format!("x-{}", random.random_range(0..4)),
            _ => format!("x-{}", text(random, 12).to_lowercase().replace(['~', '_', '.'], "-")),
        };
        let length = random.random_range(0..40);
        let mut value = HeaderValue::from_str(&text(random, length)).unwrap();
        value.set_sensitive(random.random_range(0..4) == 0);
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    headers
}

impl Asked {
    fn random(random: &mut StdRng) -> Self {
        let pieces = (0..random.random_range(0..5)).map(|_| {
            let length = [0, 1, 100, 5000, 70_000][random.random_range(0..5)];
            let mut piece = vec![0; length];
            random.fill(&mut piece[..]);
            Bytes::from(piece)
        });
        let pieces = pieces.collect();
        let length = random.random_range(0..30);
        let path = format!("/{}", text(random, length));
        let headers = fields(random);
        let trailers = (random.random_range(0..3) == 0).then(|| fields(random));
        Self { path, headers, pieces, trailers: trailers.filter(|it| !it.is_empty()) }
    }

    async fn send(self, sender: &mut SendRequest<Body>) {
        let pieces = self.pieces.iter().cloned().map(Frame::data);
        let trailers = self.trailers.clone().map(Frame::trailers);
        let body = StreamBody::new(Frames::new(pieces.chain(trailers).collect()));
        let uri = format!("http://mirror.test{}", self.path);
        let mut request = Request::post(uri).body(body).unwrap();
        *request.headers_mut() = self.headers.clone();
        let answer = sender.send_request(request).await.unwrap();

        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-line"], format!("POST {}", self.path));
        assert_eq!(answer.headers()["host"], "mirror.test");
        for name in self.headers.keys() {
            let sent: Vec<_> = self.headers.get_all(name).iter().collect();
            let got: Vec<_> = answer.headers().get_all(name).iter().collect();
            assert_eq!(got, sent, "{name}");
        }
        let whole: BytesMut = self.pieces.iter().flatten().copied().collect();
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers(), self.trailers.as_ref());
        assert!(body.to_bytes() == whole, "a body of {} bytes has changed", whole.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_what_is_seen_and_what_is_answered_arrives() {
    let server = start();
    let address = server.addresses()[0];
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);

        let window = [1 << 10, 65_535, 1 << 20][random.random_range(0..3)];
        let sender = connect(address, window).await;
        let requests: Vec<_> = (0..30).map(|_| Asked::random(&mut random)).collect();
        let exchanges = requests.into_iter().map(|asked| {
            let mut sender = sender.clone();
            async move { asked.send(&mut sender).await }
        });
        let all = futures_util::future::join_all(exchanges);
        timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("seed {seed} hangs"));
    }
    assert_eq!(server.counts().requests, 180);
}
