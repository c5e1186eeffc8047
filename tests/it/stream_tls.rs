//! TLS of streams: ended by the certificate of its name, passed through by it, and spoken upstream.

use std::net::SocketAddr;
use std::sync::Arc;

use hybridctl::clock::Clock;
use hybridctl::pki::generate::listener_pair;
use hybridctl::pki::upstream::{UpstreamOptions, upstream_client_config};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::stream::{at, cluster, echo, hear, lines, repeat, route, say, service};
use crate::upstream_tls::{Authority, Pair, server_config};

/// An upstream that does as `echo` over TLS.
async fn tls_echo(name: &'static str, pair: &Pair) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(pair, None)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { repeat(name, acceptor.accept(stream).await?).await });
        }
    });
    address
}

pub(crate) async fn connect(
    address: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = upstream_client_config(&UpstreamOptions::default(), &Clock::System).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(config).connect(name, stream).await
}

/// Returns the certificate that is shown.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Returns the leaf of a chain.
fn leaf(chain: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(chain.as_bytes()).unwrap().to_vec()
}

fn by_name(protocol: &str, names: &[&str]) -> Value {
    json!({"protocols": [protocol], "snis": names})
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_ends_here_or_passes_through_by_its_name() {
    let root = Authority::root("root");
    let (first, second) = (root.issue("first"), root.issue("second"));
    let plain = echo("plain").await;
    let own = listener_pair(&Clock::System).unwrap();
    let mut cluster = cluster("127.0.0.1:0 ssl", &[]).await;
    let address = at(&cluster, 0);
    service(&cluster, "plain", plain, json!({})).await;
    service(&cluster, "first", tls_echo("first", &first).await, json!({})).await;
    service(&cluster, "second", tls_echo("second", &second).await, json!({})).await;
    route(&cluster, "plain", "plain", by_name("tls", &["plain.test"])).await;
    route(&cluster, "first", "first", by_name("tls_passthrough", &["first.test"])).await;
    route(&cluster, "second", "second", by_name("tls_passthrough", &["*.second.test"])).await;
    let path = "/certificates/c1a3b6f0-0000-4000-8000-000000000001";
    let body = json!({"cert": own.certificate, "key": own.key, "snis": ["plain.test"]});
    cluster.put(path, body).await;
    cluster.converge().await;

    for (name, certificate, expected) in [
        ("plain.test", &own.certificate, "plain:pingbye"),
        ("first.test", &first.0, "first:pingbye"),
        ("x.second.test", &second.0, "second:pingbye"),
    ] {
        let stream = connect(address, name).await.unwrap();
        assert_eq!(shown(&stream), leaf(certificate), "{name}");
        assert_eq!(say(stream, "ping").await.unwrap(), expected, "{name}");
    }
    assert!(connect(address, "third.test").await.is_err(), "no route, no handshake");
    let no_tls = TcpStream::connect(address).await.unwrap();
    assert_eq!(say(no_tls, "no TLS").await.unwrap_or_default(), "");

    // A hello that comes in pieces, and a half that ends without saying so.
    let mut kept = connect(address, "plain.test").await.unwrap();
    hear(&mut kept, "plain:").await;
    kept.get_mut().0.shutdown().await.unwrap();
    hear(&mut kept, "bye").await;
    drop(kept);

    let lines = lines(&mut cluster).await;
    let told: Vec<_> =
        lines.iter().map(|line| (&line["sni"], &line["tls"], &line["status"])).collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(
        told,
        [
            (&json!("plain.test"), &yes, &json!(200)),
            (&json!("first.test"), &no, &json!(200)),
            (&json!("x.second.test"), &no, &json!(200)),
            (&json!("third.test"), &no, &json!(500)),
            (&Value::Null, &no, &json!(400)),
            (&json!("plain.test"), &yes, &json!(200)),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_speaks_tls_to_its_upstream_and_verifies_it() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let upstream = tls_echo("up", &root.issue("up")).await;
    let mut cluster = cluster("127.0.0.1:0, 127.0.0.1:0 ssl", &[]).await;
    for (n, authority) in [(1, &root), (2, &other)] {
        let path = format!("/ca_certificates/00000000-0000-4000-8000-00000000000{n}");
        cluster.put(&path, json!({"cert": authority.pem})).await;
    }
    let verified = |n: u32| {
        let authority = format!("00000000-0000-4000-8000-00000000000{n}");
        json!({"protocol": "tls", "tls_verify": true, "ca_certificates": [authority], "retries": 0})
    };
    service(&cluster, "s", upstream, verified(1)).await;
    let ports: Vec<_> = (0..2).map(|n| json!({"port": at(&cluster, n).port()})).collect();
    let matches = json!({"protocols": ["tcp", "tls"], "destinations": ports});
    route(&cluster, "r", "s", matches).await;
    cluster.converge().await;
    let plain = TcpStream::connect(at(&cluster, 0)).await.unwrap();
    assert_eq!(say(plain, "ping").await.unwrap(), "up:pingbye");
    let encrypted = connect(at(&cluster, 1), "any.test").await.unwrap();
    assert_eq!(say(encrypted, "ping").await.unwrap(), "up:pingbye");

    service(&cluster, "s", upstream, verified(2)).await;
    cluster.converge().await;
    let refused = TcpStream::connect(at(&cluster, 0)).await.unwrap();
    assert_eq!(say(refused, "ping").await.unwrap_or_default(), "");
    let lines = lines(&mut cluster).await;
    let statuses: Vec<_> = lines.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 200, 502]);
}
