//! mTLS of the cluster link, in both modes: who gets in, who does not, and what they are told.
//!
//! Quotations are of Kong's manual of hybrid mode.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hybridctl::clock::Clock;
use hybridctl::pki::pair::CertifiedPair;
use hybridctl::pki::upstream::{UpstreamOptions, upstream_client_config};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{Cluster, Directory, poll};
use crate::http::{self, Upstream};
use crate::openssl::{self, Authority, Key};

pub(crate) const SERVER: &str = "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:cp.kong.test\n";
pub(crate) const CLIENT: &str = "extendedKeyUsage=clientAuth\n";

fn pair(env: &mut Vec<(String, String)>, (certificate, key): &(String, String)) {
    env.push(("KONG_CLUSTER_CERT".to_owned(), certificate.clone()));
    env.push(("KONG_CLUSTER_CERT_KEY".to_owned(), key.clone()));
}

pub(crate) fn borrowed(env: &[(String, String)]) -> Vec<(&str, &str)> {
    env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// The settings of a node in pki mode.
pub(crate) fn pki(own: &(String, String), ca: &str) -> Vec<(String, String)> {
    let mut env = vec![
        ("KONG_CLUSTER_MTLS".to_owned(), "pki".to_owned()),
        ("KONG_CLUSTER_CA_CERT".to_owned(), ca.to_owned()),
    ];
    pair(&mut env, own);
    env
}

pub(crate) fn named(mut env: Vec<(String, String)>, name: &str) -> Vec<(String, String)> {
    env.push(("KONG_CLUSTER_SERVER_NAME".to_owned(), name.to_owned()));
    env
}

/// Returns the rows of the data planes.
pub(crate) async fn rows(cluster: &Cluster) -> Vec<Value> {
    let page = cluster.call("GET", "/clustering/data-planes", &Value::Null).await.json();
    page["data"].as_array().cloned().unwrap_or_default()
}

pub(crate) fn not_after(file: &str) -> i64 {
    let certificate = std::fs::read_to_string(file).unwrap();
    let key = std::fs::read_to_string(file.replace(".crt", ".key")).unwrap();
    CertifiedPair::from_pem(&certificate, &key).unwrap().not_after().timestamp()
}

/// Waits until the data plane says that its link fails for this reason.
pub(crate) async fn fails_with(cluster: &Cluster, reason: &str) {
    let mut last = None;
    let found = poll(async || {
        last = cluster.data.as_ref().unwrap().last_link_error();
        last.as_deref().is_some_and(|last| last.contains(reason)).then_some(())
    });
    assert!(found.await.is_some(), "wanted {reason:?}, the last was {last:?}");
}

/// "Unique certificate for each node, generated from the CA specified by cluster_ca_cert": the
/// certificates are what `openssl` makes, with an intermediate on both sides.
#[tokio::test]
async fn nodes_of_one_authority_form_a_cluster() {
    let directory = Directory::new();
    let root = Authority::root(directory.path(), "root", Key::Rsa);
    let issuer = root.intermediate("issuer", Key::Ec);
    let control = issuer.issue("cp", "control plane", Key::Ec, SERVER, 30);
    // "Kong doesn't validate the CommonName (CN) in the DP certificate; it can take an arbitrary
    // value."
    let plane = issuer.issue("dp", "an arbitrary value", Key::Rsa, CLIENT, 20);

    let mut cluster = Cluster::without_data_with(pki(&control, &root.file())).await;
    let env = named(pki(&plane, &root.file()), "cp.kong.test");
    cluster.start_data_in("dp", &borrowed(&env)).await;
    let upstream = Upstream::start("one").await;
    cluster.route("one", "/one", &upstream).await;
    cluster.until("/one", |answer| answer.status == 200).await;
    let rows = rows(&cluster).await;
    assert_eq!(rows[0]["cert_details"]["expiry_timestamp"], not_after(&plane.0));
    assert_eq!(rows[0]["connected"], true);
}

/// "The data plane nodes will also verify that the Common Name (CN) or Subject Alternative Name
/// (SAN) inside certificate presented by CP matches the cluster_server_name value."
#[tokio::test]
async fn a_data_plane_in_pki_mode_checks_name_and_issuer_of_its_control_plane() {
    let directory = Directory::new();
    let root = Authority::root(directory.path(), "root", Key::Ec);
    let stranger = Authority::root(directory.path(), "stranger", Key::Ec);
    // Without extensions: X.509 version 1, the name in the CN alone.
    let control = root.issue("cp", "cp.kong.test", Key::Ec, "", 30);
    let plane = root.issue("dp", "dp", Key::Ec, "", 30);

    let mut cluster = Cluster::without_data_with(pki(&control, &root.file())).await;
    let env = named(pki(&plane, &root.file()), "other.kong.test");
    cluster.start_data_in("wrong-name", &borrowed(&env)).await;
    fails_with(&cluster, "ssl handshake failed: certificate host mismatch").await;
    cluster.stop_data().await;

    // Without cluster_server_name the host counts, which is 127.0.0.1 here.
    cluster.start_data_in("no-name", &borrowed(&pki(&plane, &root.file()))).await;
    fails_with(&cluster, "ssl handshake failed: certificate host mismatch").await;
    cluster.stop_data().await;

    let env = named(pki(&plane, &stranger.file()), "cp.kong.test");
    cluster.start_data_in("stranger", &borrowed(&env)).await;
    fails_with(&cluster, "ssl handshake failed: 20: unable to get local issuer certificate").await;
    cluster.stop_data().await;

    let env = named(pki(&plane, &root.file()), "cp.kong.test");
    cluster.start_data_in("dp", &borrowed(&env)).await;
    cluster.converge().await;
    let connected = poll(async || {
        rows(&cluster).await.iter().any(|row| row["connected"] == true).then_some(())
    });
    assert!(connected.await.is_some());
}

/// A data plane whose certificate is refused hears of it as a Kong data plane does.
#[tokio::test]
async fn a_refused_data_plane_is_told_as_kong_tells_it() {
    let directory = Directory::new();
    let root = Authority::root(directory.path(), "root", Key::Ec);
    let stranger = Authority::root(directory.path(), "stranger", Key::Ec);
    let control = root.issue("cp", "cp.kong.test", Key::Ec, SERVER, 30);
    let mut cluster = Cluster::without_data_with(pki(&control, &root.file())).await;
    for (name, plane) in [
        ("stranger", stranger.issue("dp-1", "dp", Key::Ec, CLIENT, 30)),
        ("server", root.issue("dp-2", "dp", Key::Ec, SERVER, 30)),
    ] {
        let env = named(pki(&plane, &root.file()), "cp.kong.test");
        cluster.start_data_in(name, &borrowed(&env)).await;
        fails_with(&cluster, "unexpected HTTP response code: 400").await;
        cluster.stop_data().await;
    }
    assert_eq!(rows(&cluster).await, [Value::Null; 0], "a refused data plane has no row");
}

#[tokio::test]
async fn shared_pairs_of_openssl_join_and_others_are_cut_off() {
    for key in [Key::Ec, Key::Rsa] {
        let directory = Directory::new();
        let own = openssl::shared(directory.path(), "own", key);
        let other = openssl::shared(directory.path(), "other", key);
        let mut env = Vec::new();
        pair(&mut env, &own);
        let mut cluster = Cluster::without_data_with(env.clone()).await;
        // It trusts the control plane, which does not trust it.
        let mut wrong = vec![("KONG_CLUSTER_TRUSTED_CERT".to_owned(), own.0.clone())];
        pair(&mut wrong, &other);
        cluster.start_data_in("wrong", &borrowed(&wrong)).await;
        fails_with(&cluster, "failed to receive response header: closed").await;
        cluster.stop_data().await;
        let mut stranger = Vec::new();
        pair(&mut stranger, &other);
        cluster.start_data_in("stranger", &borrowed(&stranger)).await;
        fails_with(&cluster, "ssl handshake failed: 18: self-signed certificate").await;
        cluster.stop_data().await;

        cluster.start_data_in("dp", &borrowed(&env)).await;
        let row =
            poll(async || rows(&cluster).await.into_iter().find(|row| row["connected"] == true));
        let row = row.await.expect("it connects");
        assert_eq!(row["cert_details"]["expiry_timestamp"], not_after(&own.0));
    }
}

/// Connects to the cluster port with a certificate or none, asks, and returns what came.
pub(crate) async fn ask(address: SocketAddr, own: Option<&(String, String)>) -> String {
    let client = own.map(|(certificate, key)| {
        let text = |file: &String| std::fs::read_to_string(Path::new(file)).unwrap();
        CertifiedPair::from_pem(&text(certificate), &text(key)).unwrap()
    });
    let options = UpstreamOptions { client, ..UpstreamOptions::default() };
    let config = upstream_client_config(&options, &Clock::System).unwrap();
    let connector = TlsConnector::from(Arc::clone(&config));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = "kong_clustering".try_into().unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let _ = stream
        .write_all(b"GET /v1/nowhere HTTP/1.1\r\nHost: cp\r\nConnection: close\r\n\r\n")
        .await;
    let mut bytes = Vec::new();
    // A silent close may come as a reset.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

/// Handshakes are made a few at a time, so that a fleet that comes back at once leaves room for
/// everybody else; who begins one and says nothing must not keep others from theirs.
#[tokio::test]
async fn silent_peers_keep_nobody_from_a_handshake() {
    let cluster = Cluster::without_data().await;
    let port = cluster.control.as_ref().unwrap().cluster[0];
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(port).await.unwrap());
    }
    assert_eq!(
        ask(port, None).await,
        "",
        "a handshake, and what follows for want of a certificate"
    );
    for peer in &silent {
        let read = peer.try_read(&mut [0; 8]);
        let waits = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(waits, "a silent peer was given up before: {read:?}");
    }
}

#[tokio::test]
async fn without_a_certificate_there_is_silence_in_shared_mode_and_a_400_in_pki_mode() {
    let shared = Cluster::without_data().await;
    let cluster_port = |cluster: &Cluster| cluster.control.as_ref().unwrap().cluster[0];
    assert_eq!(ask(cluster_port(&shared), None).await, "");

    let directory = Directory::new();
    let root = Authority::root(directory.path(), "root", Key::Ec);
    let control = root.issue("cp", "cp.kong.test", Key::Ec, SERVER, 30);
    let pki = Cluster::without_data_with(pki(&control, &root.file())).await;
    let stranger = openssl::shared(directory.path(), "stranger", Key::Ec);
    for own in [None, Some(&stranger)] {
        let answer = ask(cluster_port(&pki), own).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer:?}");
    }
}

/// The certificates of the other listeners follow their files, too.
#[tokio::test]
async fn listeners_show_a_new_certificate_when_its_file_changes() {
    let directory = Directory::new();
    let first = openssl::shared(directory.path(), "first", Key::Ec);
    let second = openssl::shared(directory.path(), "second", Key::Ec);
    let files = ["own.crt", "own.key"].map(|name| directory.path().join(name));
    let put = |pair: &(String, String)| {
        std::fs::copy(&pair.0, &files[0]).unwrap();
        std::fs::copy(&pair.1, &files[1]).unwrap();
    };
    put(&first);
    let env = [
        ("KONG_ADMIN_LISTEN".to_owned(), "127.0.0.1:0, 127.0.0.1:0 ssl".to_owned()),
        ("KONG_ADMIN_SSL_CERT".to_owned(), files[0].display().to_string()),
        ("KONG_ADMIN_SSL_CERT_KEY".to_owned(), files[1].display().to_string()),
    ];
    let cluster = Cluster::without_data_with(env.to_vec()).await;
    let address = cluster.control.as_ref().unwrap().admin[1];
    let shown = async || {
        let config = upstream_client_config(&UpstreamOptions::default(), &Clock::System).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let answer = http::send_over(stream, address, "GET", "/", &[], "").await.unwrap();
        assert_eq!(answer.status, 200);
        shown
    };
    let leaf = |pair: &(String, String)| {
        let text = |file: &String| std::fs::read_to_string(file).unwrap();
        CertifiedPair::from_pem(&text(&pair.0), &text(&pair.1)).unwrap().leaf().clone()
    };
    assert_eq!(shown().await, leaf(&first));
    put(&second);
    let wanted = leaf(&second);
    assert!(poll(async || (shown().await == wanted).then_some(())).await.is_some());
}
