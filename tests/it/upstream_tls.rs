//! TLS towards upstreams: whom a service trusts, what it shows, and which name it asks for
//! (reference gateway-3, section D.4).

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::harness::{Cluster, poll};
use crate::http;

/// An authority, and the certificates above it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    above: String,
}

/// A chain, leaf first, and the key of its leaf.
pub(crate) type Pair = (String, String);

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        let (params, key) = authority(name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem, above: String::new() }
    }

    fn intermediate(&self, name: &str) -> Self {
        let (params, key) = authority(name);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let above = format!("{pem}{}", self.above);
        Self { issuer: Issuer::new(params, key), pem, above }
    }

    pub(crate) fn issue(&self, name: &str) -> Pair {
        self.issue_until(name, 2090)
    }

    fn issue_until(&self, name: &str, year: i32) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "up.test".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(year, 1, 1);
        let leaf = params.signed_by(&key, &self.issuer).unwrap().pem();
        (format!("{leaf}{}", self.above), key.serialize_pem())
    }
}

fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params, KeyPair::generate().unwrap())
}

/// Returns what a server shows; it asks clients for certificates of an authority.
pub(crate) fn server_config(
    (chain, key): &Pair,
    clients: Option<&Authority>,
) -> rustls::ServerConfig {
    let builder = rustls::ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated();
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    builder.with_single_cert(chain.unwrap(), key).unwrap()
}

/// Starts an upstream that tells of each request with which name and certificate it came.
pub(crate) async fn upstream(pair: &Pair, clients: Option<&Authority>) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(pair, clients)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(acceptor.clone(), stream));
        }
    });
    address
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream) -> Option<()> {
    let mut stream = acceptor.accept(stream).await.ok()?;
    let session = stream.get_ref().1;
    let client = session.peer_certificates().and_then(|chain| chain.first()).map(common_name);
    let told = json!({"sni": session.server_name(), "client": client}).to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len());
    let mut read = Vec::new();
    loop {
        while !read.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut read).await.ok().filter(|length| *length > 0)?;
        }
        read.clear();
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

fn common_name(certificate: &CertificateDer<'_>) -> String {
    let (_, read) = X509Certificate::from_der(certificate).unwrap();
    let name = read.subject().iter_common_name().next().unwrap();
    name.as_str().unwrap().to_owned()
}

/// Makes a service for an address, with more fields, and a route to it.
async fn service(cluster: &Cluster, name: &str, address: SocketAddr, fields: Value) {
    let mut service = json!({"url": format!("https://{address}"), "retries": 0});
    service.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
    cluster.put(&format!("/services/{name}"), service).await;
    let route = json!({"paths": [format!("/{name}/")], "service": {"name": name}});
    cluster.put(&format!("/routes/{name}"), route).await;
}

async fn put_authority(cluster: &Cluster, n: u32, authority: &str) -> String {
    let id = format!("00000000-0000-4000-8000-00000000000{n}");
    cluster.put(&format!("/ca_certificates/{id}"), json!({"cert": authority})).await;
    id
}

async fn put_certificate(cluster: &Cluster, n: u32, (cert, key): &Pair) -> Value {
    let id = format!("00000000-0000-4000-8000-00000000001{n}");
    cluster.put(&format!("/certificates/{id}"), json!({"cert": cert, "key": key})).await;
    json!({"id": id})
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_are_verified_as_their_service_says() {
    let (root, other, node) =
        (Authority::root("root"), Authority::root("other"), Authority::root("node"));
    let one = root.intermediate("one");
    let two = one.intermediate("two");
    let direct = upstream(&root.issue("up"), None).await;
    let over_one = upstream(&one.issue("up"), None).await;
    let over_two = upstream(&two.issue("up"), None).await;
    let expired = upstream(&root.issue_until("up", 2020), None).await;
    let of_node = upstream(&node.issue("up"), None).await;
    // What `openssl req -x509` makes: its own authority.
    let mut own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own_key = KeyPair::generate().unwrap();
    let own = (own.self_signed(&own_key).unwrap().pem(), own_key.serialize_pem());
    let self_signed = upstream(&own, None).await;

    let mut cluster = Cluster::without_data().await;
    let trusted = cluster.directory.path().join("trusted.pem");
    std::fs::write(&trusted, &node.pem).unwrap();
    let trusted = trusted.display().to_string();
    cluster.start_data_in("dp", &[("KONG_LUA_SSL_TRUSTED_CERTIFICATE", &trusted)]).await;
    let root = put_authority(&cluster, 1, &root.pem).await;
    let other = put_authority(&cluster, 2, &other.pem).await;
    let own = put_authority(&cluster, 3, &own.0).await;

    let by = |authorities: &[&String]| json!({"tls_verify": true, "ca_certificates": authorities});
    let deep = |depth: u32| json!({"tls_verify": true, "ca_certificates": [root], "tls_verify_depth": depth});
    let gone = "00000000-0000-4000-8000-0000000000ff".to_owned();
    let rows = [
        ("unverified", direct, json!({}), 200),
        ("unverified-expired", expired, json!({"ca_certificates": [other]}), 200),
        ("root", direct, by(&[&other, &root]), 200),
        ("other", direct, by(&[&other]), 502),
        ("expired", expired, by(&[&root]), 502),
        ("one", over_one, by(&[&root]), 200),
        ("one-of-none", over_one, deep(0), 502),
        ("two", over_two, by(&[&root]), 502),
        ("two-of-two", over_two, deep(2), 200),
        ("node", of_node, json!({"tls_verify": true}), 200),
        ("not-node", direct, json!({"tls_verify": true}), 502),
        ("own", self_signed, by(&[&own]), 200),
        ("own-by-root", self_signed, by(&[&root]), 502),
        ("of-nobody", direct, by(&[&gone]), 502),
    ];
    for (name, address, fields, _) in &rows {
        service(&cluster, name, *address, fields.clone()).await;
    }
    cluster.converge().await;

    for (name, _, _, status) in &rows {
        let answer = http::get(cluster.proxy(), &format!("/{name}/")).await.unwrap();
        assert_eq!(answer.status, *status, "{name}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_is_that_of_the_host_which_goes_upstream() {
    let root = Authority::root("root");
    let address = upstream(&root.issue("up"), None).await;
    let cluster = Cluster::start().await;
    let root = put_authority(&cluster, 1, &root.pem).await;
    let verified = json!({"tls_verify": true, "ca_certificates": [root]});
    service(&cluster, "plain", address, verified.clone()).await;
    service(&cluster, "kept", address, verified.clone()).await;
    cluster
        .put(
            "/routes/kept",
            json!({"paths": ["/kept/"], "preserve_host": true, "service": {"name": "kept"}}),
        )
        .await;
    for (name, host_header) in [("named", "up.test"), ("misnamed", "down.test")] {
        service(&cluster, name, address, verified.clone()).await;
        cluster.call("PATCH", &format!("/services/{name}"), &json!({"host": name})).await;
        cluster.put(&format!("/upstreams/{name}"), json!({"host_header": host_header})).await;
        let target = json!({"target": address.to_string()});
        let added = cluster.call("POST", &format!("/upstreams/{name}/targets"), &target).await;
        assert_eq!(added.status, 201, "{}", added.body);
    }
    cluster.converge().await;

    for (path, host, wanted) in [
        // An address is no server name; the certificate has it all the same.
        ("/plain/", "a.test", Ok(Value::Null)),
        ("/kept/", "up.test:8000", Ok(json!("up.test"))),
        ("/kept/", "down.test", Err(502)),
        ("/named/", "a.test", Ok(json!("up.test"))),
        ("/misnamed/", "a.test", Err(502)),
    ] {
        let answer = http::send(cluster.proxy(), "GET", path, &[("Host", host)], "").await.unwrap();
        let seen = match answer.status {
            200 => Ok(answer.json()["sni"].clone()),
            status => Err(status),
        };
        assert_eq!(seen, wanted, "{path} {host}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_the_services_else_the_upstreams_else_the_nodes() {
    let root = Authority::root("root");
    let address = upstream(&root.issue("up"), Some(&root)).await;
    let mut cluster = Cluster::without_data().await;
    let (certificate, key) = root.issue("node");
    let file = |name: &str| cluster.directory.path().join(name).display().to_string();
    let (certificate_file, key_file) = (file("client.crt"), file("client.key"));
    std::fs::write(&certificate_file, certificate).unwrap();
    std::fs::write(&key_file, key).unwrap();
    let client_ssl = [
        ("KONG_CLIENT_SSL", "on"),
        ("KONG_CLIENT_SSL_CERT", certificate_file.as_str()),
        ("KONG_CLIENT_SSL_CERT_KEY", key_file.as_str()),
    ];
    cluster.start_data_in("dp", &client_ssl).await;
    let of_service = put_certificate(&cluster, 1, &root.issue("service")).await;
    let of_upstream = put_certificate(&cluster, 2, &root.issue("upstream")).await;
    cluster.put("/upstreams/u", json!({"client_certificate": of_upstream})).await;
    let target = json!({"target": address.to_string()});
    cluster.call("POST", "/upstreams/u/targets", &target).await;

    service(&cluster, "a", address, json!({})).await;
    service(&cluster, "b", address, json!({"client_certificate": of_service})).await;
    service(&cluster, "c", address, json!({})).await;
    service(&cluster, "d", address, json!({"client_certificate": of_service})).await;
    for name in ["c", "d"] {
        cluster.call("PATCH", &format!("/services/{name}"), &json!({"host": "u"})).await;
    }
    cluster.converge().await;

    // Connections are kept, and none is used for a service that shows something else.
    for _ in 0..2 {
        for (name, wanted) in [("a", "node"), ("b", "service"), ("c", "upstream"), ("d", "service")]
        {
            let answer = http::get(cluster.proxy(), &format!("/{name}/")).await.unwrap();
            assert_eq!((answer.status, &answer.json()["client"]), (200, &json!(wanted)), "{name}");
        }
    }

    // A certificate that is replaced is shown from the next request on.
    put_certificate(&cluster, 1, &root.issue("renewed")).await;
    cluster.converge().await;
    let answer = http::get(cluster.proxy(), "/b/").await.unwrap();
    assert_eq!(answer.json()["client"], "renewed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_shows_and_trusts_is_read_again_and_clients_do_not_notice() {
    let (old, new) = (Authority::root("old"), Authority::root("new"));
    let of_old = upstream(&old.issue("up"), Some(&old)).await;
    let of_new = upstream(&new.issue("up"), Some(&old)).await;
    let mut cluster = Cluster::without_data().await;
    let file = |name: &str| cluster.directory.path().join(name).display().to_string();
    let (certificate, key, trusted) = (file("client.crt"), file("client.key"), file("trusted.pem"));
    let write = |(pair, authority): (Pair, &str)| {
        std::fs::write(&certificate, pair.0).unwrap();
        std::fs::write(&key, pair.1).unwrap();
        std::fs::write(&trusted, authority).unwrap();
    };
    write((old.issue("first"), &old.pem));
    let control = cluster.control.as_ref().unwrap().cluster[0].to_string();
    let wanted = [
        ("KONG_ROLE", "data_plane"),
        ("KONG_DATABASE", "off"),
        ("KONG_CLUSTER_CONTROL_PLANE", control.as_str()),
        ("KONG_PROXY_LISTEN", "127.0.0.1:0"),
        ("KONG_STATUS_LISTEN", "off"),
        ("KONG_NGINX_WORKER_PROCESSES", "1"),
        ("KONG_PROXY_ACCESS_LOG", "off"),
        ("KONG_CLIENT_SSL", "on"),
        ("KONG_CLIENT_SSL_CERT", certificate.as_str()),
        ("KONG_CLIENT_SSL_CERT_KEY", key.as_str()),
        ("KONG_LUA_SSL_TRUSTED_CERTIFICATE", trusted.as_str()),
    ];
    cluster.start_data_in("dp", &wanted).await;
    service(&cluster, "old", of_old, json!({"tls_verify": true})).await;
    service(&cluster, "new", of_new, json!({"tls_verify": true})).await;
    service(&cluster, "any", of_old, json!({})).await;
    cluster.converge().await;
    let proxy = cluster.proxy();
    let seen = async |name: &str| {
        let answer = http::get(proxy, &format!("/{name}/")).await.unwrap();
        let client = (answer.status == 200).then(|| answer.json()["client"].clone());
        (answer.status, client.unwrap_or_default())
    };
    let first = [(200, json!("first")), (502, json!(null)), (200, json!("first"))];
    assert_eq!([seen("old").await, seen("new").await, seen("any").await], first);

    // What is no certificate is not taken over.
    let settings = cluster.settings("dp", &wanted);
    write((("none".to_owned(), "none".to_owned()), &new.pem));
    cluster.data.as_mut().unwrap().reload(&settings);
    assert_eq!([seen("old").await, seen("new").await, seen("any").await], first);

    write((old.issue("second"), &new.pem));
    cluster.data.as_mut().unwrap().reload(&settings);
    let second = [(502, json!(null)), (200, json!("second")), (200, json!("second"))];
    let all = async || {
        let all = [seen("old").await, seen("new").await, seen("any").await];
        (all == second).then_some(())
    };
    assert!(poll(all).await.is_some(), "{:?}", seen("new").await);
    // A config that comes later goes by them, too.
    service(&cluster, "later", of_new, json!({"tls_verify": true})).await;
    cluster.converge().await;
    assert_eq!(seen("later").await, (200, json!("second")));
}
