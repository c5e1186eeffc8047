//! "cluster_use_proxy": a data plane reaches its control plane through a forward proxy only.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hybridctl::clock::Clock;
use hybridctl::pki::generate::cluster_pair;
use serde_json::json;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::harness::{Cluster, poll};

/// `me` with the password `p#s:w%`, as it stands in a URL and on the wire.
const IN_URL: &str = "me:p%23s%3Aw%25";
const ON_WIRE: &str = "Basic bWU6cCNzOncl";
const PASSWORD: &str = "p#s:w%";

/// A forward proxy that keeps the heads that it was sent.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    async fn start(tls: Option<TlsAcceptor>, credentials: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        let serving = tokio::spawn(async move {
            // All end with the proxy.
            let mut tunnels = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, seen) = (tls.clone(), seen.clone());
                tunnels.spawn(async move {
                    match tls {
                        None => tunnel(stream, credentials, &seen).await,
                        Some(tls) => {
                            tunnel(tls.accept(stream).await.ok()?, credentials, &seen).await
                        }
                    }
                });
            }
        });
        Self { address, heads, serving }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn tunnel(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    credentials: Option<&str>,
    seen: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    seen.lock().unwrap().push(head.clone());
    let given = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    if given != credentials {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(refusal).await.ok()?;
        return stream.flush().await.ok();
    }
    let target = head.split_whitespace().nth(1)?;
    let mut upstream = TcpStream::connect(target).await.ok()?;
    stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await.ok()?;
    stream.flush().await.ok()?;
    copy_bidirectional(&mut stream, &mut upstream).await.ok().map(drop)
}

/// Returns TLS for a proxy on 127.0.0.1, and the file of the certificate that vouches for it.
fn secured(cluster: &Cluster) -> (TlsAcceptor, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let file = cluster.directory.path().join("proxy.crt");
    std::fs::write(&file, certificate.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), file.display().to_string())
}

/// Starts a data plane that goes through a proxy, with more settings.
async fn follow(cluster: &mut Cluster, name: &str, url: &str, more: &[(&str, &str)]) {
    let mut settings = vec![("KONG_CLUSTER_USE_PROXY", "on"), ("KONG_PROXY_SERVER", url)];
    settings.extend_from_slice(more);
    cluster.start_data_in(name, &settings).await;
}

/// Waits until the data plane says why it cannot reach the control plane.
async fn fails(cluster: &Cluster, wanted: &str) {
    let mut last = None;
    let said = poll(async || {
        last = cluster.data.as_ref().unwrap().last_link_error();
        last.as_ref().filter(|said| said.contains(wanted)).map(drop)
    });
    let said = said.await;
    assert!(said.is_some(), "{wanted}: {last:?}");
    let last = last.unwrap();
    assert!(![PASSWORD, IN_URL, ON_WIRE].iter().any(|secret| last.contains(secret)), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_content_go_through_the_proxy_and_the_connect_line_is_kongs() {
    let mut cluster = Cluster::without_data().await;
    cluster.put("/services/a", json!({"host": "a"})).await;
    let control = cluster.control.as_ref().unwrap().cluster[0].to_string();
    let (tls, trusted) = secured(&cluster);
    let verified = [("KONG_LUA_SSL_TRUSTED_CERTIFICATE", trusted.as_str())];
    let unverified = [("KONG_PROXY_SERVER_SSL_VERIFY", "off")];
    let kongs = [("KONG_CLUSTER_PROTOCOL", "kong")];
    for (name, tls, with_credentials, more) in [
        ("plain", None, false, &[][..]),
        ("credentials", None, true, &[]),
        ("tls", Some(tls.clone()), true, &verified),
        ("unverified", Some(tls), false, &unverified),
        ("kong", None, true, &kongs),
    ] {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let proxy = Proxy::start(tls, with_credentials.then_some(ON_WIRE)).await;
        let user = if with_credentials { format!("{IN_URL}@") } else { String::new() };
        let url = format!("{scheme}://{user}{}", proxy.address);
        follow(&mut cluster, name, &url, more).await;
        cluster.converge().await;
        cluster.stop_data().await;
        let heads = proxy.heads();
        // The WebSocket, and in our own dialect the content of the first head.
        assert!(heads.len() >= if name == "kong" { 1 } else { 2 }, "{name}: {heads:?}");
        let authorization = match with_credentials {
            true => format!("Proxy-Authorization: {ON_WIRE}\r\n"),
            false => String::new(),
        };
        let wanted = format!(
            "CONNECT {control} HTTP/1.1\r\nHost: {control}\r\n\
             Proxy-Connection: Keep-Alive\r\n{authorization}\r\n"
        );
        assert!(heads.iter().all(|head| *head == wanted), "{name}: {heads:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_unknown_or_goes_is_told_and_tried_again() {
    let mut cluster = Cluster::without_data().await;
    cluster.put("/services/a", json!({"host": "a"})).await;
    let proxy = Proxy::start(None, Some(ON_WIRE)).await;
    let url = format!("http://me:wrong@{}", proxy.address);
    follow(&mut cluster, "wrong", &url, &[]).await;
    fails(&cluster, "forward proxy refuses the credentials of proxy_server: HTTP status 407").await;
    cluster.stop_data().await;

    let (tls, _) = secured(&cluster);
    let secure = Proxy::start(Some(tls), None).await;
    // Somebody else vouches for whom the data plane trusts.
    let stranger = cluster_pair(1, &Clock::System).unwrap();
    let file = cluster.directory.path().join("stranger.crt");
    std::fs::write(&file, stranger.certificate).unwrap();
    let trusted = file.display().to_string();
    let url = format!("https://{}", secure.address);
    let more = [("KONG_LUA_SSL_TRUSTED_CERTIFICATE", trusted.as_str())];
    follow(&mut cluster, "unknown", &url, &more).await;
    fails(&cluster, "ssl handshake with the forward proxy failed: ").await;
    assert!(secure.heads().is_empty(), "credentials would have gone to a stranger");
    cluster.stop_data().await;

    let url = format!("http://{IN_URL}@{}", proxy.address);
    follow(&mut cluster, "gone", &url, &[]).await;
    cluster.converge().await;
    drop(proxy);
    fails(&cluster, "failed to connect to the forward proxy: ").await;
}
