//! Whether data planes with revoked certificates are kept out (`cluster_ocsp`), with the responder
//! of `openssl`.
//!
//! Quotations are of Kong's manual of hybrid mode.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hybridctl::clock::Clock;
use hybridctl::pki::ocsp::{Revocation, Rule};
use hybridctl::pki::pair::CertifiedPair;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::cluster_tls::{CLIENT, SERVER, ask, borrowed, fails_with, named, pki, rows};
use crate::harness::{Cluster, Directory, poll};
use crate::openssl::{self, Authority, Key};

/// Far longer than what answers at all takes.
const AMPLE: Duration = Duration::from_secs(60);

/// A responder that goes with this value.
struct Responder {
    process: Child,
    url: String,
}

impl Responder {
    /// Starts a responder of the authority `name` in a directory: serial 1 is good, 2 is revoked,
    /// all others are unknown.
    fn start(directory: &Path, name: &str) -> Self {
        let index = "V\t401231000000Z\t\t01\tunknown\t/CN=good\n\
                     R\t401231000000Z\t260101000000Z\t02\tunknown\t/CN=revoked\n";
        std::fs::write(directory.join("index"), index).unwrap();
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        let mut process = Command::new("openssl")
            .args(["ocsp", "-port", "0", "-index", "index", "-ndays", "1", "-CA", &certificate])
            .args(["-rsigner", &certificate, "-rkey", &key])
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect(openssl::MISSING);
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // `ACCEPT [::]:4711 PID=7`
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let address = line.strip_prefix("ACCEPT ")?.split(' ').next()?.to_owned();
            Some(address.rsplit_once(':')?.1.to_owned())
        });
        let url = format!("http://127.0.0.1:{}", port.expect("it tells where it listens"));
        Self { process, url }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

type Pair = (String, String);

fn extensions(url: &str) -> String {
    format!("{CLIENT}authorityInfoAccess=OCSP;URI:{url}\n")
}

/// Returns a certificate and that of its issuer.
fn chain(own: &Pair, issuer: &Authority) -> [CertifiedPair; 2] {
    let read = |certificate: &str, key: &str| {
        let text = |file: &str| std::fs::read_to_string(file).unwrap();
        CertifiedPair::from_pem(&text(certificate), &text(key)).unwrap()
    };
    let issuer = issuer.file();
    [read(&own.0, &own.1), read(&issuer, &issuer.replace(".crt", ".key"))]
}

/// Returns what a check lets pass with, or refuses for.
async fn checked(revocation: &Revocation, own: &Pair, issuer: &Authority) -> String {
    let chain = chain(own, issuer).map(|pair| pair.leaf().clone());
    match revocation.check(&chain).await {
        Ok(None) => "good".to_owned(),
        Ok(Some(reason)) => format!("let in: {reason}"),
        Err(error) => error.to_string(),
    }
}

fn cluster_port(cluster: &Cluster) -> SocketAddr {
    cluster.control.as_ref().unwrap().cluster[0]
}

fn with_ocsp(mut env: Vec<(String, String)>, mode: &str) -> Vec<(String, String)> {
    env.push(("KONG_CLUSTER_OCSP".to_owned(), mode.to_owned()));
    env
}

/// "on: OCSP revocation check is enabled and the Data Plane must pass the revocation check to
/// establish connection with the Control Plane. This implies that certificates without the OCSP
/// extension or unreachable OCSP responder also prevents a connection from being established. off:
/// OCSP revocation check is disabled (default). optional: OCSP revocation check will be attempted,
/// however, if the OCSP responder URI is not found inside the Data Plane-provided certificate or
/// communication with the OCSP responder failed, then Data Plane is still allowed through."
#[tokio::test]
async fn who_gets_in_is_as_the_manual_has_it() {
    let directory = Directory::new();
    let root = Authority::root(directory.path(), "root", Key::Ec);
    let responder = Responder::start(directory.path(), "root");
    let control = root.issue("cp", "cp.kong.test", Key::Ec, SERVER, 30);
    let asking = extensions(&responder.url);
    // Nothing listens on port 1; and there is no answer to be had over TLS.
    let nobody = extensions("http://127.0.0.1:1/");
    let tls = extensions("https://127.0.0.1:1/");
    let issue =
        |file: &str, serial, text: &str| root.issue_numbered(file, file, serial, Key::Ec, text, 30);
    let pairs = [
        // certificate, admitted where it is on, optional, off
        (issue("good", 1, &asking), [true, true, true]),
        (issue("revoked", 2, &asking), [false, false, true]),
        (issue("unknown", 3, &asking), [false, false, true]),
        (issue("unreachable", 4, &nobody), [false, true, true]),
        (issue("tls", 5, &tls), [false, true, true]),
        (issue("no-responder", 6, CLIENT), [false, true, true]),
    ];
    for (at, mode) in ["on", "optional", "off"].into_iter().enumerate() {
        let env = with_ocsp(pki(&control, &root.file()), mode);
        let cluster = Cluster::without_data_with(env).await;
        for (own, admitted) in &pairs {
            let answer = ask(cluster_port(&cluster), Some(own)).await;
            // Whoever is admitted is told that there is no such path; the others are told nothing.
            match admitted[at] {
                true => assert!(answer.starts_with("HTTP/1.1 404 "), "{mode} {}: {answer}", own.0),
                false => assert_eq!(answer, "", "{mode} {}", own.0),
            }
        }
        assert_eq!(rows(&cluster).await, [Value::Null; 0]);
    }
}

/// The data plane's own link, with an intermediate whose responder answers for it.
#[tokio::test]
async fn a_good_data_plane_joins_and_a_revoked_one_has_no_row() {
    let directory = Directory::new();
    let root = Authority::root(directory.path(), "root", Key::Rsa);
    let issuer = root.intermediate("issuer", Key::Rsa);
    let responder = Responder::start(directory.path(), "issuer");
    let control = issuer.issue("cp", "cp.kong.test", Key::Ec, SERVER, 30);
    let text = extensions(&responder.url);
    let good = issuer.issue_numbered("good", "good", 1, Key::Ec, &text, 30);
    let revoked = issuer.issue_numbered("revoked", "revoked", 2, Key::Ec, &text, 30);

    let env = with_ocsp(pki(&control, &root.file()), "on");
    let mut cluster = Cluster::without_data_with(env).await;
    let env = named(pki(&revoked, &root.file()), "cp.kong.test");
    cluster.start_data_in("revoked", &borrowed(&env)).await;
    fails_with(&cluster, "failed to receive response header: closed").await;
    cluster.stop_data().await;
    assert_eq!(rows(&cluster).await, [Value::Null; 0]);

    let env = named(pki(&good, &root.file()), "cp.kong.test");
    cluster.start_data_in("good", &borrowed(&env)).await;
    let connected = poll(async || {
        rows(&cluster).await.iter().any(|row| row["connected"] == true).then_some(())
    });
    assert!(connected.await.is_some());
    cluster.converge().await;
}

/// A listener that accepts and never answers, which tells of each connection.
async fn hanging() -> (String, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
            let _ = asked.send(());
        }
    });
    (url, told)
}

#[tokio::test]
async fn a_responder_that_hangs_holds_up_nobody_else() {
    let directory = Directory::new();
    let root = Authority::root(directory.path(), "root", Key::Ec);
    let responder = Responder::start(directory.path(), "root");
    let (url, mut asked) = hanging().await;
    let control = root.issue("cp", "cp.kong.test", Key::Ec, SERVER, 30);
    let good = root.issue_numbered("good", "dp", 1, Key::Ec, &extensions(&responder.url), 30);
    let hung = root.issue_numbered("hung", "dp", 3, Key::Ec, &extensions(&url), 30);
    let env = with_ocsp(pki(&control, &root.file()), "on");
    let mut cluster = Cluster::without_data_with(env).await;
    let port = cluster_port(&cluster);
    let waiting = tokio::spawn(async move { ask(port, Some(&hung)).await });
    asked.recv().await.unwrap();
    assert!(ask(port, Some(&good)).await.starts_with("HTTP/1.1 404 "));
    // Nor does it hold up the end.
    cluster.stop_control().await;
    assert_eq!(waiting.await.unwrap(), "");
}

#[tokio::test]
async fn a_check_ends_with_its_deadline() {
    let directory = Directory::new();
    let root = Authority::root(directory.path(), "root", Key::Ec);
    let (url, mut asked) = hanging().await;
    let own = root.issue_numbered("hung", "dp", 1, Key::Ec, &extensions(&url), 30);
    let reason = "failed to send request to OCSP responder: timeout";
    for (rule, text) in [
        (
            Rule::Required,
            format!("data plane client certificate revocation check failed: {reason}"),
        ),
        (Rule::Optional, format!("let in: {reason}")),
    ] {
        let revocation = Revocation::new(rule, Duration::from_millis(20), Clock::System);
        assert_eq!(checked(&revocation, &own, &root).await, text);
        asked.recv().await.unwrap();
    }
}

/// Until the time that the answer itself names; failures are not remembered.
#[tokio::test]
async fn an_answer_is_remembered_while_it_holds() {
    let directory = Directory::new();
    let root = Authority::root(directory.path(), "root", Key::Ec);
    let responder = Responder::start(directory.path(), "root");
    let text = extensions(&responder.url);
    let issue = |file: &str, serial| root.issue_numbered(file, file, serial, Key::Ec, &text, 30);
    let (good, revoked, unknown) = (issue("good", 1), issue("revoked", 2), issue("unknown", 3));
    let revocation = Revocation::new(Rule::Required, AMPLE, Clock::System);
    assert_eq!(checked(&revocation, &good, &root).await, "good");
    let not_good = |status: &str| {
        format!(
            "data plane client certificate was revoked: failed to validate OCSP response: \
             certificate status \"{status}\" in the OCSP response"
        )
    };
    assert_eq!(checked(&revocation, &revoked, &root).await, not_good("revoked"));

    drop(responder);
    assert_eq!(checked(&revocation, &good, &root).await, "good");
    assert_eq!(checked(&revocation, &revoked, &root).await, not_good("revoked"));
    let failed = "data plane client certificate revocation check failed: failed to send request to \
                  OCSP responder: ";
    let told = checked(&revocation, &unknown, &root).await;
    assert!(told.starts_with(failed), "{told}");
}

/// What a responder that is none may send.
#[tokio::test]
async fn an_answer_that_is_none_lets_nobody_in_who_must_be_checked() {
    let directory = Directory::new();
    let root = Authority::root(directory.path(), "root", Key::Ec);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = extensions(&format!("http://{}/path", listener.local_addr().unwrap()));
    let own = root.issue_numbered("dp", "dp", 1, Key::Ec, &text, 30);
    let huge = [&b"HTTP/1.0 200 OK\r\n\r\n"[..], &[b'x'; 70_000]].concat();
    for (answer, reason) in [
        (&b"HTTP/1.1 500 No\r\n\r\n"[..], "OCSP responder returns bad HTTP status code: 500"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
            "OCSP responder returns bad HTTP status code: 302",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\n", "unexpected response from OCSP responder: empty body"),
        (
            b"HTTP/1.0 200 OK\r\n\r\nHello",
            "failed to validate OCSP response: failed to parse OCSP response",
        ),
        (
            b"HTTP/1.0 200 OK\r\n\r\n\x30\x03\x0a\x01\x06",
            "failed to validate OCSP response: OCSP response not successful (6: unauthorized)",
        ),
        (b"", "failed to send request to OCSP responder: closed"),
        (&huge, "failed to send request to OCSP responder: answer of more than 65536 bytes"),
    ] {
        let revocation = Revocation::new(Rule::Optional, AMPLE, Clock::System);
        let served = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, b"POST /path HTTP/");
            // It may hang up before it has all.
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut request).await;
        };
        let (told, ()) = tokio::join!(checked(&revocation, &own, &root), served);
        assert_eq!(told, format!("let in: {reason}"));
    }
}
