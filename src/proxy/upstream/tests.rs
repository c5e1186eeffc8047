//! Against raw TCP upstreams: reuse, framing, failures, limits.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Reads until the end of a request head; returns it with what came behind.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = BytesMut::new();
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut read).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8(read.to_vec()).unwrap()
}

/// Starts an upstream that runs `serve` for its n-th connection.
async fn upstream<S, F>(serve: S) -> PeerAddress
where
    S: Fn(usize, TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for index in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(index, stream));
        }
    });
    PeerAddress { addr, tls: None, http2: false }
}

/// Answers every request on a connection with the same bytes, cut where `|` stands.
async fn answering(answer: &'static str) -> PeerAddress {
    upstream(move |_, mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            for piece in answer.split('|') {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    })
    .await
}

/// Sends the bytes to the first request, then closes.
async fn closing(answer: &'static str) -> PeerAddress {
    upstream(move |_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

fn limits() -> Timeouts {
    Timeouts { connect_ms: 5_000, write_ms: 5_000, read_ms: 5_000 }
}

fn pool() -> Pool {
    Pool::new(PoolLimits::default())
}

async fn send(
    pool: &Pool,
    peer: &PeerAddress,
    method: Method,
    mut body: RequestBody,
) -> Result<UpstreamResponse, UpstreamError> {
    let mut head = UpstreamHead::new(&method, "/x?y=1");
    head.append(b"Host", b"example.com");
    pool.send(peer, &mut head, &mut body, limits(), &TimerSlot::default()).await
}

async fn fetch(pool: &Pool, peer: &PeerAddress) -> (UpstreamResponse, String) {
    let mut response = send(pool, peer, Method::GET, RequestBody::None).await.unwrap();
    let body = std::mem::take(&mut response.body).collect().await.unwrap().to_bytes();
    (response, String::from_utf8(body.to_vec()).unwrap())
}

async fn failure(peer: &PeerAddress) -> UpstreamErrorKind {
    match send(&pool(), peer, Method::GET, RequestBody::None).await {
        Err(error) => error.kind,
        Ok(response) => response.body.collect().await.expect_err("the upstream is broken").kind,
    }
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_whole_response() {
    let peer = answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel|lo").await;
    let pool = pool();
    let (first, body) = fetch(&pool, &peer).await;
    assert_eq!((first.reused, body.as_str()), (false, "hello"));
    assert_eq!(pool.idle_count(), 1);
    assert!(fetch(&pool, &peer).await.0.reused);
}

#[tokio::test]
async fn chunks_trailers_and_interim_responses_arrive_whole() {
    let peer = answering(
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r|\nHTTP/1.1 200 OK\r\n\
         transfer-encoding: chunked\r\n\r\n3|\r\nab|c\r|\n2\r\nde\r\n0\r\nx-s|um: 7\r\n\r\n",
    )
    .await;
    let pool = pool();
    for reused in [false, true] {
        let response = send(&pool, &peer, Method::GET, RequestBody::None).await.unwrap();
        assert_eq!((response.head.status, response.reused), (StatusCode::OK, reused));
        assert!(!response.head.headers.contains_key("transfer-encoding"));
        let body = response.body.collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "7");
        assert_eq!(body.to_bytes(), "abcde");
    }
}

#[tokio::test]
async fn bodies_end_where_their_framing_says() {
    let pool = pool();
    let peer = closing("HTTP/1.1 200 OK\r\n\r\nto the end").await;
    assert_eq!(fetch(&pool, &peer).await.1, "to the end");
    let peer = closing("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(fetch(&pool, &peer).await.1, "ok");
    let peer = closing("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more").await;
    assert_eq!(fetch(&pool, &peer).await.1, "ok");
    assert_eq!(pool.idle_count(), 0, "none of these may be used again");

    let peer = answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").await;
    let response = send(&pool, &peer, Method::HEAD, RequestBody::None).await.unwrap();
    assert_eq!(response.head.raw.unwrap().layout().content_length, Some(9));
    assert_eq!(response.body.as_complete(), Some(&Bytes::new()));
    assert_eq!(pool.idle_count(), 1);
}

#[tokio::test]
async fn broken_upstreams_are_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = PeerAddress { addr: closed, tls: None, http2: false };
    assert_eq!(failure(&refused).await, UpstreamErrorKind::Connect);
    for (answer, kind) in [
        ("", UpstreamErrorKind::Closed),
        ("HTTP/1.1 200 OK\r\nx:", UpstreamErrorKind::Closed),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", UpstreamErrorKind::Closed),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab", UpstreamErrorKind::Closed),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            UpstreamErrorKind::BadResponse,
        ),
        ("SSH-2.0-x\r\n", UpstreamErrorKind::BadResponse),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", UpstreamErrorKind::BadResponse),
    ] {
        assert_eq!(failure(&closing(answer).await).await, kind, "{answer:?}");
    }
}

#[tokio::test]
async fn a_silent_upstream_times_out_before_and_within_the_body() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsh"] {
        let peer = answering(answer).await;
        let mut head = UpstreamHead::new(&Method::GET, "/");
        let (short, timer) = (Timeouts { read_ms: 30, ..limits() }, TimerSlot::default());
        let kind = match pool().send(&peer, &mut head, &mut RequestBody::None, short, &timer).await
        {
            Err(error) => error.kind,
            Ok(response) => response.body.collect().await.unwrap_err().kind,
        };
        assert_eq!(kind, UpstreamErrorKind::Timeout(Step::Read));
    }
}

/// Upstream whose first connection answers once and dies at the second request.
async fn dying() -> PeerAddress {
    upstream(|index, mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1").await.unwrap();
            if index == 0 {
                read_head(&mut stream).await;
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_stale_connection_is_replaced_once_if_the_request_may_be_repeated() {
    let (pool, peer) = (pool(), dying().await);
    fetch(&pool, &peer).await;
    assert!(!fetch(&pool, &peer).await.0.reused, "a fresh connection took over");

    let peer = dying().await;
    fetch(&pool, &peer).await;
    let body = RequestBody::Bytes(Bytes::from_static(b"once"));
    let error = send(&pool, &peer, Method::POST, body).await.unwrap_err();
    assert_eq!((error.kind, error.request_sent), (UpstreamErrorKind::Closed, true));
}

#[tokio::test]
async fn an_idle_connection_that_its_upstream_closed_is_not_used() {
    let (told, closed) = tokio::sync::oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    let told = Arc::new(told);
    let peer = upstream(move |_, mut stream| {
        let told = told.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            drop(stream);
            if let Some(told) = told.lock().unwrap().take() {
                told.send(()).unwrap();
            }
        }
    })
    .await;
    let pool = pool();
    fetch(&pool, &peer).await;
    closed.await.unwrap();
    tokio::task::yield_now().await;
    // POST is never repeated once sent, so this passes only if the dead socket was left alone.
    let body = RequestBody::Bytes(Bytes::from_static(b"x"));
    assert!(!send(&pool, &peer, Method::POST, body).await.unwrap().reused);
}

#[tokio::test]
async fn pool_limits_hold() {
    let peer = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let none = Pool::new(PoolLimits { idle_max: 0, ..PoolLimits::default() });
    fetch(&none, &peer).await;
    assert_eq!(none.idle_count(), 0);

    let twice = Pool::new(PoolLimits { requests_max: 2, ..PoolLimits::default() });
    let mut reused = Vec::new();
    for _ in 0..4 {
        reused.push(fetch(&twice, &peer).await.0.reused);
    }
    assert_eq!(reused, [false, true, false, true]);

    // However large a number in `kong.conf` is.
    let endless = Pool::new(PoolLimits { idle_timeout: Duration::MAX, ..PoolLimits::default() });
    assert!(!fetch(&endless, &peer).await.0.reused);
    assert!(fetch(&endless, &peer).await.0.reused);

    let brief = Pool::new(PoolLimits { idle_timeout: Duration::ZERO, ..PoolLimits::default() });
    fetch(&brief, &peer).await;
    assert!(!fetch(&brief, &peer).await.0.reused);
    brief.sweep();
    assert_eq!(brief.idle_count(), 0);
}

/// A body of 1 MiB in odd frames, and the bytes it has.
fn long_body() -> (RequestBody, Bytes) {
    let bytes: Bytes = (0..1_048_576_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    let frames: Vec<_> =
        bytes.chunks(7_919).map(|frame| Ok(Frame::data(bytes.slice_ref(frame)))).collect();
    let stream = StreamBody::new(futures_util::stream::iter(frames));
    (RequestBody::Boxed(Box::pin(stream)), bytes)
}

/// Echoes a chunked request: its body bytes, still chunked, are the response's.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n0\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
    }
    let start = read.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    stream.write_all(&read[start..]).await.unwrap();
    stream.flush().await.unwrap();
    // The client closes first, so that nothing of the answer is reset.
    while stream.read_buf(&mut read).await.is_ok_and(|length| length > 0) {}
}

#[tokio::test]
async fn a_long_body_goes_both_ways_unharmed() {
    let peer = upstream(|_, stream| echo(stream)).await;
    let (body, bytes) = long_body();
    let pool = pool();
    let response = send(&pool, &peer, Method::POST, body).await.unwrap();
    assert!(response.body.collect().await.unwrap().to_bytes() == bytes);
    assert_eq!(pool.idle_count(), 1);
}

#[tokio::test]
async fn an_early_answer_ends_the_upload_and_the_connection() {
    let peer = upstream(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 413 Nope\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        let mut rest = Vec::new();
        // Keeps the socket until the client is gone.
        let _ended = stream.read_to_end(&mut rest).await;
    })
    .await;
    let endless = StreamBody::new(futures_util::stream::pending());
    let pool = pool();
    let body = RequestBody::Boxed(Box::pin(endless));
    let response = send(&pool, &peer, Method::PUT, body).await.unwrap();
    assert_eq!(response.head.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(response.body.collect().await.unwrap().to_bytes(), "no");
    assert_eq!(pool.idle_count(), 0);
}

#[tokio::test]
async fn a_protocol_switch_hands_over_the_stream_with_its_first_bytes() {
    let peer = upstream(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\n\r\nfirst")
            .await
            .unwrap();
        let mut got = [0; 4];
        stream.read_exact(&mut got).await.unwrap();
        stream.write_all(&got).await.unwrap();
    })
    .await;
    let mut head = UpstreamHead::new(&Method::GET, "/");
    head.append(b"Upgrade", b"echo");
    let timer = TimerSlot::default();
    let mut response =
        pool().send(&peer, &mut head, &mut RequestBody::None, limits(), &timer).await.unwrap();
    let mut stream = response.take_upgraded().unwrap();
    stream.write_all(b"more").await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "firstmore");
}

#[tokio::test]
async fn tls_upstreams_are_verified_and_pooled_by_key() {
    let key = rcgen::generate_simple_self_signed(vec!["up.test".to_owned()]).unwrap();
    let private =
        rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let mut peer = upstream(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                echo(stream).await;
            }
        }
    })
    .await;
    let client = |roots: rustls::RootCertStore| {
        Arc::new(
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth(),
        )
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let tls = |config| PeerTls { config, server_name: "up.test".try_into().unwrap() };

    peer.tls = Some(tls(client(roots)));
    let (body, bytes) = long_body();
    let pool = pool();
    let response = send(&pool, &peer, Method::POST, body).await.unwrap();
    assert!(response.body.collect().await.unwrap().to_bytes() == bytes);
    assert_eq!(pool.idle_count(), 1);

    let mut stranger = rustls::RootCertStore::empty();
    let other = rcgen::generate_simple_self_signed(vec!["up.test".to_owned()]).unwrap();
    stranger.add(other.cert.der().clone()).unwrap();
    peer.tls = Some(tls(client(stranger)));
    let error = send(&pool, &peer, Method::GET, RequestBody::None).await.unwrap_err();
    assert_eq!(error.kind, UpstreamErrorKind::Tls);
}

#[test]
fn a_spent_body_is_not_sent_again() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let addr: SocketAddr = ([127, 0, 0, 1], 9).into();
    let error = runtime.block_on(async {
        send(
            &pool(),
            &PeerAddress { addr, tls: None, http2: false },
            Method::PUT,
            RequestBody::Spent,
        )
        .await
    });
    assert_eq!(error.unwrap_err().kind, UpstreamErrorKind::RequestBody);
}
