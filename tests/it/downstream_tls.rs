//! Certificates and names of the configuration, shown to clients of a data plane.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hybridctl::clock::Clock;
use hybridctl::pki::generate::listener_pair;
use hybridctl::pki::upstream::{UpstreamOptions, upstream_client_config};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::edge::Edge;
use crate::harness::{Cluster, poll};
use crate::http::{self, Upstream};

fn client(http2: bool) -> Arc<rustls::ClientConfig> {
    let options = UpstreamOptions { http2, ..UpstreamOptions::default() };
    upstream_client_config(&options, &Clock::System).unwrap()
}

async fn connect(address: SocketAddr, name: &str) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(client(false)).connect(name, stream).await.unwrap()
}

/// Returns the certificate that is shown for a name.
async fn shown(address: SocketAddr, name: &str) -> CertificateDer<'static> {
    let stream = connect(address, name).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// A certificate as PEM text, its key, and as DER.
fn made() -> (String, String, CertificateDer<'static>) {
    let pair = listener_pair(&Clock::System).unwrap();
    let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    (pair.certificate, pair.key, der)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_shows_its_certificate_from_the_next_handshake_on() {
    let mut cluster = Cluster::without_data().await;
    let listen = [("KONG_PROXY_LISTEN", "127.0.0.1:0 ssl")];
    cluster.start_data_in("dp", &listen).await;
    let upstream = Upstream::start("up").await;
    cluster.route("r", "/r", &upstream).await;
    let (first, second) = (made(), made());
    let path = "/certificates/c1a3b6f0-0000-4000-8000-000000000001";
    let body = json!({"cert": first.0, "key": first.1, "snis": ["a.test", "*.wild.test"]});
    cluster.put(path, body).await;
    cluster.converge().await;
    let address = cluster.proxy();
    for name in ["a.test", "A.TEST", "x.wild.test"] {
        assert_eq!(shown(address, name).await, first.2, "{name}");
    }
    assert_ne!(shown(address, "b.test").await, first.2);
    let mut kept = connect(address, "a.test").await;

    let body = json!({"cert": second.0, "key": second.1, "snis": ["a.test"]});
    cluster.put(path, body).await;
    let renewed = poll(async || (shown(address, "a.test").await == second.2).then_some(()));
    assert!(renewed.await.is_some());
    assert_ne!(shown(address, "x.wild.test").await, first.2);
    // A connection that is there stays.
    kept.write_all(b"GET /r HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"x-forwarded-proto\":\"https\""), "{answer}");

    assert_eq!(cluster.call("DELETE", path, &json!(null)).await.status, 204);
    let gone = poll(async || (shown(address, "a.test").await != second.2).then_some(()));
    assert!(gone.await.is_some());
}

#[tokio::test]
async fn cookies_of_http_2_arrive_as_one_field() {
    let edge = Edge::start(&[("KONG_PROXY_LISTEN", "127.0.0.1:0 http2")], json!({})).await;
    let stream = TokioIo::new(TcpStream::connect(edge.address(0)).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get("http://h.test/r")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["via"], "1.1 kong/3.9.1");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let headers = &serde_json::from_slice::<Value>(&body).unwrap()["headers"];
    assert_eq!(headers["cookie"], "a=1; b=2");
    assert_eq!(headers["via"], "2 kong/3.9.1");
    assert_eq!(headers["x-forwarded-host"], "h.test");
}

#[tokio::test]
async fn listeners_differ_by_their_flags() {
    let listen =
        "127.0.0.1:0 ssl proxy_protocol so_keepalive=30m::10, [::1]:0 ssl http2, 127.0.0.1:0";
    let (cert, key, der) = made();
    let config = json!({
        "certificates": [{"cert": cert, "key": key, "snis": [{"name": "first.*"}]}],
    });
    let settings = [
        ("KONG_PROXY_LISTEN", listen),
        ("KONG_TRUSTED_IPS", "127.0.0.1"),
        ("KONG_REAL_IP_HEADER", "proxy_protocol"),
        ("KONG_SSL_CIPHER_SUITE", "modern"),
    ];
    let edge = Edge::start(&settings, config).await;
    let mut stream = TcpStream::connect(edge.address(0)).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.9 4000 443\r\n").await.unwrap();
    let name = ServerName::try_from("first.example").unwrap();
    let stream = TlsConnector::from(client(false)).connect(name.clone(), stream).await.unwrap();
    let session = stream.get_ref().1;
    assert_eq!(session.peer_certificates().unwrap()[0], der);
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let answer = http::send_over(stream, edge.address(0), "GET", "/r", &[], "").await.unwrap();
    assert_eq!(answer.json()["headers"]["x-real-ip"], "192.0.2.7");

    let stream = TcpStream::connect(edge.address(1)).await.unwrap();
    let stream = TlsConnector::from(client(true)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    assert_eq!(http::get(edge.address(2), "/r").await.unwrap().status, 200);
}
