//! Active probes that speak more than plain HTTP: the health service of gRPC, with and without TLS;
//! HTTPS with the client certificate of the upstream; connections alone, for streams.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::harness::{Cluster, own_address};
use crate::health::{check, get, probes, until_health};
use crate::http;
use crate::stream;
use crate::upstream_tls::{Authority, server_config};

const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

/// A server that has the health service of gRPC alone, and says there what it is told to.
struct Grpc {
    address: SocketAddr,
    status: watch::Sender<u8>,
}

impl Grpc {
    async fn start(tls: Option<rustls::ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (status, told) = watch::channel(SERVING);
        let acceptor = tls.map(|mut config| {
            config.alpn_protocols = vec![b"h2".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, told) = (acceptor.clone(), told.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, told).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            serve(stream, told).await;
                        }
                    }
                });
            }
        });
        Self { address, status }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send, told: watch::Receiver<u8>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let is_asked = request.uri().path() == "/grpc.health.v1.Health/Check";
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", if is_asked { "0" } else { "12" }.parse().unwrap());
        let message = [0, 0, 0, 0, 2, 8, *told.borrow()];
        let message = is_asked.then(|| Frame::data(Bytes::copy_from_slice(&message)));
        let frames = message.into_iter().chain([Frame::trailers(trailers)]);
        let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, hyper::Error>)));
        let response = Response::builder().header("content-type", "application/grpc");
        std::future::ready(Ok::<_, hyper::Error>(response.body(body).unwrap()))
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ended = builder.serve_connection(TokioIo::new(stream), answer).await;
}

/// Starts both planes; the data plane trusts this authority.
async fn trusting(authority: &Authority) -> Cluster {
    let mut cluster = Cluster::without_data().await;
    let trusted = cluster.directory.path().join("trusted.pem");
    std::fs::write(&trusted, &authority.pem).unwrap();
    let trusted = trusted.display().to_string();
    cluster.start_data_in("dp", &[("KONG_LUA_SSL_TRUSTED_CERTIFICATE", &trusted)]).await;
    cluster
}

fn checks(kind: &str) -> Value {
    let mut checks = probes(kind);
    // A handshake of a busy machine takes its time.
    checks["timeout"] = json!(5);
    json!({"active": checks})
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_and_grpcs_probes_ask_whether_the_server_serves() {
    let root = Authority::root("root");
    let cluster = trusting(&root).await;
    let plain = Grpc::start(None).await;
    let secure = Grpc::start(Some(server_config(&root.issue("up"), None))).await;
    let fields = json!({"healthchecks": checks("grpc")});
    check(&cluster, fields, &[plain.address, secure.address]).await;
    for (kind, right, wrong) in [("grpc", &plain, &secure), ("grpcs", &secure, &plain)] {
        cluster.put("/upstreams/u.test", json!({"healthchecks": checks(kind)})).await;
        until_health(&cluster, wrong.address, "UNHEALTHY").await;
        until_health(&cluster, right.address, "HEALTHY").await;
        right.status.send_replace(NOT_SERVING);
        until_health(&cluster, right.address, "UNHEALTHY").await;
        right.status.send_replace(SERVING);
        until_health(&cluster, right.address, "HEALTHY").await;
    }
}

/// Starts an upstream that serves those alone who show a certificate.
async fn upstream_for_known_clients(root: &Authority) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(&root.issue("up"), Some(root))));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = async |acceptor: TlsAcceptor, stream: TcpStream| {
        let mut stream = acceptor.accept(stream).await?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await? > 0 {}
        let status = if stream.get_ref().1.peer_certificates().is_some() { 200 } else { 500 };
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.shutdown().await
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // One after the other: a probe and a request are all there is. Who leaves has left.
            let _left = answer(acceptor.clone(), stream).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn https_probes_and_requests_show_the_client_certificate_of_the_upstream() {
    let root = Authority::root("root");
    let cluster = trusting(&root).await;
    let address = upstream_for_known_clients(&root).await;
    check(&cluster, json!({"healthchecks": checks("https")}), &[address]).await;
    until_health(&cluster, address, "UNHEALTHY").await;
    let (cert, key) = root.issue("client");
    let id = "00000000-0000-4000-8000-000000000001";
    cluster.put(&format!("/certificates/{id}"), json!({"cert": cert, "key": key})).await;
    let fields = json!({"healthchecks": checks("https"), "client_certificate": {"id": id}});
    cluster.put("/upstreams/u.test", fields).await;
    until_health(&cluster, address, "HEALTHY").await;
    cluster.put("/services/s", json!({"url": "https://u.test:1/"})).await;
    cluster.converge().await;
    assert_eq!(get(&cluster).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_as_probes_take_a_dead_target_of_a_stream_out() {
    let cluster = stream::cluster("127.0.0.1:0", &[]).await;
    let listener = stream::at(&cluster, 0);
    let live = stream::echo("live").await;
    let dead = own_address();
    cluster.put("/upstreams/u.test", json!({"healthchecks": {"active": probes("tcp")}})).await;
    for target in [live, dead] {
        let body = json!({"target": target.to_string()});
        assert_eq!(cluster.call("POST", "/upstreams/u.test/targets", &body).await.status, 201);
    }
    // Nobody is tried twice: only what probes have seen keeps connections from the dead one.
    let fields = json!({"protocol": "tcp", "host": "u.test", "port": 1, "retries": 0});
    cluster.put("/services/s", fields).await;
    let matches = json!({"destinations": [{"port": listener.port()}]});
    stream::route(&cluster, "r", "s", matches).await;
    cluster.converge().await;
    until_health(&cluster, dead, "UNHEALTHY").await;
    until_health(&cluster, live, "HEALTHY").await;
    for _ in 0..6 {
        let connection = TcpStream::connect(listener).await.unwrap();
        assert_eq!(stream::say(connection, "ping").await.unwrap(), "live:pingbye");
    }
    let health = http::get(cluster.status(), "/upstreams/u.test/health?balancer_health=1").await;
    assert_eq!(health.unwrap().json()["data"]["details"]["weight"]["available"], 100);
}
