//! Over real sockets: serving, limits, drain.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::*;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);

fn spec(http2: bool, tls: Option<Arc<rustls::ServerConfig>>) -> ListenSpec {
    ListenSpec {
        addr: ([127, 0, 0, 1], 0).into(),
        tls,
        http2,
        proxy_protocol: false,
        ipv6only: true,
        keepalive: None,
        backlog: 64,
    }
}

fn start(limits: ServeLimits, specs: Vec<ListenSpec>) -> ProxyServer {
    ProxyServer::start(2, specs, limits, |_| describe).unwrap()
}

/// Answers with what it knows: version, scheme, server name, body.
async fn describe(request: ClientRequest, info: Rc<ConnectionInfo>) -> ClientResponse {
    let version = request.head.version;
    let Ok(body) = request.body.collect().await else {
        return ClientResponse::new(StatusCode::OK, ProxyBody::Empty);
    };
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    let (https, sni) = (info.connection.tls, &info.connection.sni);
    let text = format!("{version:?} https={https} sni={sni:?} body={body}");
    ClientResponse::new(StatusCode::OK, ProxyBody::from(Bytes::from(text)))
}

/// Sends raw bytes and returns everything until the server closes.
async fn talk(server: &ProxyServer, bytes: &str) -> String {
    let mut stream = TcpStream::connect(server.addresses()[0]).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn requests_are_served_counted_and_kept_alive() {
    let server = start(ServeLimits::default(), vec![spec(false, None)]);
    let answer = talk(
        &server,
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi\
         GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.contains("Content-Length: "), "{answer}");
    assert!(answer.contains("HTTP/1.1 https=false sni=None body=hi"), "{answer}");
    let counts = server.counts();
    assert_eq!((counts.accepted, counts.handled, counts.requests), (1, 1, 2));
}

#[tokio::test]
async fn a_doubled_length_is_refused_and_the_connection_closed() {
    let server = start(ServeLimits::default(), vec![spec(false, None)]);
    let answer = talk(
        &server,
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[tokio::test]
async fn long_heads_and_slow_heads_are_cut() {
    let limits = ServeLimits {
        head_bytes_max: 8192,
        header_timeout: Duration::from_millis(50),
        ..ServeLimits::default()
    };
    let server = start(limits, vec![spec(false, None)]);
    let long = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}", "y".repeat(8192));
    assert!(talk(&server, &long).await.starts_with("HTTP/1.1 431"));
    let slow = talk(&server, "GET / HTTP/1.1\r\nhos").await;
    assert!(slow.is_empty() || slow.starts_with("HTTP/1.1 408"), "{slow}");
}

async fn fetch_h2<S>(stream: S) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://up.test/").body(String::from("two")).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body();
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn http2_is_spoken_by_prior_knowledge_beside_http1() {
    let server = start(ServeLimits::default(), vec![spec(true, None)]);
    let stream = TcpStream::connect(server.addresses()[0]).await.unwrap();
    assert_eq!(fetch_h2(stream).await, "HTTP/2.0 https=false sni=None body=two");
    let answer = talk(&server, "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn tls_clients_choose_http2_by_alpn() {
    let key = rcgen::generate_simple_self_signed(vec!["up.test".to_owned()]).unwrap();
    let private =
        rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let server = start(ServeLimits::default(), vec![spec(true, Some(Arc::new(config)))]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let mut client =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(server.addresses()[0]).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = connector.connect("up.test".try_into().unwrap(), stream).await.unwrap();
    assert_eq!(fetch_h2(stream).await, "HTTP/2.0 https=true sni=Some(\"up.test\") body=two");
}

#[tokio::test]
async fn an_address_in_use_is_told_before_anything_starts() {
    let server = start(ServeLimits::default(), vec![spec(false, None)]);
    let again = ListenSpec { addr: server.addresses()[0], ..spec(false, None) };
    let error = ProxyServer::start(1, vec![again], ServeLimits::default(), |_| describe);
    assert!(error.unwrap_err().to_string().starts_with("cannot listen on 127.0.0.1:"));
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gates = (entered.clone(), release.clone());
    let server =
        ProxyServer::start(1, vec![spec(false, None)], ServeLimits::default(), move |_| {
            let (entered, release) = gates.clone();
            move |_, _| {
                let (entered, release) = (entered.clone(), release.clone());
                async move {
                    entered.notify_one();
                    release.notified().await;
                    ClientResponse::new(
                        StatusCode::OK,
                        ProxyBody::from(Bytes::from_static(b"finished")),
                    )
                }
            }
        })
        .unwrap();
    let addr = server.addresses()[0];
    let mut idle = TcpStream::connect(addr).await.unwrap();
    let mut busy = TcpStream::connect(addr).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    entered.notified().await;

    let draining = tokio::spawn(server.drain(PATIENCE));
    // The idle connection ends first: by then the drain has begun.
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap_or(0), 0);
    release.notify_one();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("Connection: close") && answer.ends_with("finished"), "{answer}");
    tokio::time::timeout(PATIENCE, draining).await.unwrap().unwrap();
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens any more");
}

/// Patience for everything.
const PATIENT: Ending = Ending { idle: PATIENCE, within: PATIENCE };

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";

/// Returns what comes until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_patient_end_answers_one_more_request_of_each_connection() {
    let mut server = start(ServeLimits::default(), vec![spec(false, None)]);
    // Most of them wait in the kernel to be accepted.
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(TcpStream::connect(server.addresses()[0]).await.unwrap());
    }
    server.retire(PATIENT);
    for client in &mut clients {
        client.write_all(ASK).await.unwrap();
        let answer = rest(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Connection: close"));
    }
    tokio::time::timeout(PATIENCE, server.ended()).await.unwrap();
    assert!(server.has_ended());
}

#[tokio::test]
async fn a_later_order_to_end_takes_the_place_of_a_patient_one() {
    let mut server = start(ServeLimits::default(), vec![spec(false, None)]);
    let mut idle = TcpStream::connect(server.addresses()[0]).await.unwrap();
    server.retire(Ending { idle: Duration::MAX, within: Duration::MAX });
    assert!(!server.has_ended());
    server.retire(Ending::NOW);
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap_or(0), 0);
    tokio::time::timeout(PATIENCE, server.ended()).await.unwrap();
}

/// With more cores than sockets, and with fewer.
#[tokio::test]
async fn another_server_takes_over_the_sockets_and_no_connection_is_lost() {
    let mut server = start(ServeLimits::default(), vec![spec(false, None)]);
    let addr = server.addresses()[0];
    for cores in [3, 1] {
        let sockets = server.take_sockets();
        let asked = spec(false, None).addr;
        assert!(sockets.iter().all(|(of, _)| *of == asked), "{sockets:?}");
        let open = sockets.into_iter().map(|(_, socket)| socket).collect();
        let listeners = vec![(spec(false, None), open)];
        let next = ProxyServer::start_on(
            cores,
            listeners,
            ServeLimits::default(),
            Refusals::default(),
            |_| describe,
        );
        let mut before = std::mem::replace(&mut server, next.unwrap());
        assert_eq!(server.addresses(), [addr]);
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(TcpStream::connect(addr).await.unwrap());
        }
        before.retire(PATIENT);
        for client in &mut clients {
            let close = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
            client.write_all(close).await.unwrap();
            assert!(rest(client).await.starts_with("HTTP/1.1 200 "));
        }
        tokio::time::timeout(PATIENCE, before.ended()).await.unwrap();
    }
}

#[tokio::test]
async fn http2_clients_are_told_to_go_and_streams_under_way_finish() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gates = (entered.clone(), release.clone());
    let make = move |_| {
        let (entered, release) = gates.clone();
        move |_, _| {
            let (entered, release) = (entered.clone(), release.clone());
            async move {
                entered.notify_one();
                release.notified().await;
                ClientResponse::new(
                    StatusCode::OK,
                    ProxyBody::from(Bytes::from_static(b"finished")),
                )
            }
        }
    };
    let specs = vec![spec(true, None)];
    let mut server = ProxyServer::start(1, specs, ServeLimits::default(), make).unwrap();
    let stream = TcpStream::connect(server.addresses()[0]).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://up.test/").body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    entered.notified().await;

    server.retire(PATIENT);
    while std::future::poll_fn(|cx| sender.poll_ready(cx)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.has_ended());
    release.notify_one();
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "finished");
    drop((sender, body));
    connection.await.unwrap().unwrap();
    tokio::time::timeout(PATIENCE, server.ended()).await.unwrap();
}

#[tokio::test]
async fn a_drain_cuts_off_what_does_not_finish() {
    let server = start(ServeLimits::default(), vec![spec(false, None)]);
    let mut stuck = TcpStream::connect(server.addresses()[0]).await.unwrap();
    stuck.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n").await.unwrap();
    while server.counts().writing == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(PATIENCE, server.drain(Duration::from_millis(30))).await.unwrap();
}

#[tokio::test]
async fn a_head_that_comes_too_late_is_told_of_with_its_first_line_if_that_is_whole() {
    let limits =
        ServeLimits { header_timeout: Duration::from_millis(50), ..ServeLimits::default() };
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    let refusals = Refusals::new(move |refused| {
        let line = String::from_utf8_lossy(refused.line).into_owned();
        sender.send((line, refused.status.as_u16(), refused.peer)).unwrap();
    });
    let listeners = vec![(spec(false, None), Vec::new())];
    let server = ProxyServer::start_on(1, listeners, limits, refusals, |_| describe).unwrap();
    for (bytes, line) in [("GET / HTTP/1.1\r\nHost", "GET / HTTP/1.1"), ("GET / HT", "")] {
        let mut stream = TcpStream::connect(server.addresses()[0]).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let refused = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        assert_eq!(refused, (line.to_owned(), 408, stream.local_addr().unwrap()));
    }
}

#[tokio::test]
async fn a_refused_request_of_http2_is_told_of_as_one_of_http1_would_be() {
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    let refusals = Refusals::new(move |refused| {
        let line = String::from_utf8_lossy(refused.line).into_owned();
        sender.send((line, refused.status.as_u16(), refused.bytes_sent)).unwrap();
    });
    let listeners = vec![(spec(true, None), Vec::new())];
    let limits = ServeLimits::default();
    let server = ProxyServer::start_on(1, listeners, limits, refusals, |_| describe).unwrap();
    let stream = TcpStream::connect(server.addresses()[0]).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::trace("http://h/a?b").body(String::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 405);
    let refused = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!(refused, ("TRACE /a?b HTTP/2.0".to_owned(), 405, 19));
}
