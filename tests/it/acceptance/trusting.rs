//! Whom a data plane trusts beyond the cluster link.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cluster_tls::{CLIENT, SERVER, borrowed, named, pki};
use crate::harness::{Cluster, Directory};
use crate::openssl::{Authority, Key};

/// Starts a server over TLS that answers every request with 204.
async fn secured((certificate, key): &(String, String)) -> SocketAddr {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.ok()?);
                }
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok()
            });
        }
    });
    address
}

/// "The certificate from cluster_cert (in shared mode) or cluster_ca_cert (in pki mode) is
/// automatically added to the trusted chain in lua_ssl_trusted_certificate."
#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_automatically_added_to_the_trusted_chain() {
    let directory = Directory::new();
    let root = Authority::root(directory.path(), "root", Key::Ec);
    let stranger = Authority::root(directory.path(), "stranger", Key::Ec);
    let name = "extendedKeyUsage=serverAuth\nsubjectAltName=IP:127.0.0.1\n";
    let known = secured(&root.issue("known", "127.0.0.1", Key::Ec, name, 30)).await;
    let unknown = secured(&stranger.issue("unknown", "127.0.0.1", Key::Ec, name, 30)).await;

    let control = root.issue("cp", "cp.kong.test", Key::Ec, SERVER, 30);
    let plane = root.issue("dp", "dp", Key::Ec, CLIENT, 30);
    let mut cluster = Cluster::without_data_with(pki(&control, &root.file())).await;
    let env = named(pki(&plane, &root.file()), "cp.kong.test");
    cluster.start_data_in("dp", &borrowed(&env)).await;
    for (name, address) in [("known", known), ("unknown", unknown)] {
        let service = json!({"url": format!("https://{address}"), "tls_verify": true});
        cluster.put(&format!("/services/{name}"), service).await;
        let route = json!({"paths": [format!("/{name}")], "service": {"name": name}});
        cluster.put(&format!("/routes/{name}"), route).await;
    }
    cluster.converge().await;
    cluster.until("/known", |answer| answer.status == 204).await;
    cluster.until("/unknown", |answer| answer.status == 502).await;
}
