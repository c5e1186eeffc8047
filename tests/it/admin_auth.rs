//! Admin authentication end to end: real listeners, the command line beside them, client certificates.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use hybridctl::clock::Clock;
use hybridctl::pki::pair::CertifiedPair;
use hybridctl::pki::upstream::{UpstreamOptions, upstream_client_config};
use hybridctl::planes::control::Control;
use hybridctl::settings::{Settings, SettingsError, Sources};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{Directory, PATIENCE, poll};
use crate::http;

/// Loads settings of a traditional node in this directory, whose Admin API asks who calls.
fn settings(directory: &Path, more: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let mut env = vec![
        ("KONG_ROLE", "traditional"),
        ("KONG_ADMIN_AUTH", "on"),
        ("KONG_ADMIN_LISTEN", "127.0.0.1:0"),
    ];
    env.extend_from_slice(more);
    let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let prefix = Some(directory.display().to_string());
    let mut settings = Settings::load(&Sources { conf: None, env, prefix })?;
    settings.prepare().unwrap();
    Ok(settings)
}

async fn start(directory: &Path, more: &[(&str, &str)]) -> Control {
    Control::start(&settings(directory, more).unwrap(), Clock::System).await.unwrap()
}

/// Runs the command line in this directory.
fn run(directory: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
    command.env_clear().env("KONG_PREFIX", directory).env("USER", "ann");
    command.args(line.split_whitespace()).output().unwrap()
}

/// Runs a command that must do its work, and returns what it prints.
#[track_caller]
fn prints(directory: &Path, line: &str) -> String {
    let output = run(directory, line);
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn status(address: SocketAddr, method: &str, path: &str, token: &str) -> u16 {
    let headers = [("Kong-Admin-Token", token), ("Content-Type", "application/json")];
    let body = if method == "POST" { "{\"host\": \"a\"}" } else { "" };
    http::send(address, method, path, &headers, body).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_is_made_before_the_first_start_and_revoked_beside_the_node() {
    let directory = Directory::new();
    let at = directory.path().join("new");
    let admin = prints(&at, "token create --role admin --name root").trim().to_owned();
    let made = prints(&at, "token create --role editor --name ci --expires 90d --json");
    let made: Value = serde_json::from_str(&made).unwrap();
    let editor = made["token"].as_str().unwrap();

    let one = start(&at, &[]).await;
    // Another control plane on the same database hears of what this one does.
    let other = start(&at, &[]).await;
    let (address, elsewhere) = (one.admin[0], other.admin[0]);
    assert_eq!(http::get(address, "/services").await.unwrap().status, 401);
    assert_eq!(status(address, "POST", "/services", editor).await, 201);
    assert_eq!(status(address, "GET", "/admin-tokens", editor).await, 403);
    assert_eq!(status(address, "GET", "/admin-tokens", &admin).await, 200);
    assert_eq!(status(elsewhere, "GET", "/services", editor).await, 200);

    // A token works as soon as it is printed, and stops working once it is revoked.
    let late = prints(&at, "token create --role viewer --name late").trim().to_owned();
    for address in [address, elsewhere] {
        assert_eq!(status(address, "GET", "/services", &late).await, 200);
    }
    assert_eq!(status(address, "DELETE", "/admin-tokens/late", &admin).await, 204);
    assert_eq!(status(address, "GET", "/services", &late).await, 401, "here at once");
    let gone = async || (status(elsewhere, "GET", "/services", &late).await == 401).then_some(());
    assert!(poll(gone).await.is_some(), "elsewhere soon");
    prints(&at, &format!("token revoke {}", made["id"].as_str().unwrap()));
    let gone = async || (status(address, "GET", "/services", editor).await == 401).then_some(());
    assert!(poll(gone).await.is_some(), "revoked by the command line");

    let log = prints(&at, "log show --json");
    assert!(log.contains("\"actor\":\"token:ci\""), "{log}");
    let listed = prints(&at, "token list --json");
    let listed: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = listed
        .iter()
        .map(|it| {
            ["name", "created_by", "revoked_by"].map(|field| it[field].as_str().unwrap_or(""))
        })
        .collect();
    assert_eq!(told, [["root", "ann", ""], ["ci", "ann", "ann"], ["late", "ann", "token:root"]]);
    one.stop().await;
    other.stop().await;
    for file in std::fs::read_dir(&at).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        for secret in [&admin, editor, &late] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds a token", path.display());
        }
    }
}

/// Adds what a stream brings to `seen`, until that is enough.
async fn read_until(stream: &mut TcpStream, seen: &mut String, enough: impl Fn(&str) -> bool) {
    // One deadline for all of it: a stream that has nothing to tell says so now and then.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !enough(seen) {
        let mut piece = [0; 4096];
        let read = tokio::time::timeout_at(deadline, stream.read(&mut piece));
        let length = read.await.expect(seen).unwrap();
        assert!(length > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_token_is_revoked_sees_no_more() {
    let directory = Directory::new();
    let at = directory.path();
    let admin = prints(at, "token create --role admin --name root").trim().to_owned();
    let viewer = prints(at, "token create --role viewer --name follower").trim().to_owned();
    let node = start(at, &[]).await;
    let address = node.admin[0];
    let stranger = http::get(address, "/events").await.unwrap();
    assert_eq!((stranger.status, stranger.header("etag")), (401, None), "no hash for strangers");

    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET /events?follow HTTP/1.1\r\nHost: a\r\nKong-Admin-Token: {viewer}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    // It follows from where the log is when it is answered.
    read_until(&mut stream, &mut seen, |seen| seen.contains("\r\n\r\n")).await;
    assert_eq!(status(address, "POST", "/services", &admin).await, 201);
    read_until(&mut stream, &mut seen, |seen| seen.contains("id: 1\n")).await;
    assert_eq!(status(address, "DELETE", "/admin-tokens/follower", &admin).await, 204);
    assert_eq!(status(address, "POST", "/services", &admin).await, 201);
    // The stream's last chunk; the connection itself stays.
    read_until(&mut stream, &mut seen, |seen| seen.ends_with("0\r\n\r\n")).await;
    assert!(!seen.contains("id: 2\n"), "{seen}");
    node.stop().await;
}

#[test]
fn wrong_uses_of_the_token_command_say_what_is_wrong() {
    let directory = Directory::new();
    let at = directory.path();
    prints(at, "token create --role admin --name root");
    for (line, code, said) in [
        ("token create --role boss --name a", 2, "expected one of: viewer, editor, admin"),
        ("token create --role admin --name a:b", 2, "expected 1 to 64 letters"),
        ("token create --role admin", 2, "--name"),
        ("token create --role admin --name a --expires 0d", 1, "--expires must be in the future"),
        ("token create --role admin --name root", 1, "a token of this name is there already"),
        ("token revoke nobody", 1, "there is no token nobody"),
        ("token list -p /nonexistent-prefix", 1, "cannot open the log"),
    ] {
        let output = run(at, line);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {err}");
        assert!(err.contains(said), "{line}: {err}");
    }
}

#[test]
fn a_node_that_others_reach_without_authentication_does_not_start() {
    let directory = Directory::new();
    let at = directory.path();
    let open = |more: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command.env_clear().env("KONG_PREFIX", at).env("KONG_ADMIN_LISTEN", "0.0.0.0:0");
        for name in ["PROXY", "STATUS"] {
            command.env(format!("KONG_{name}_LISTEN"), "127.0.0.1:0");
        }
        let output = command.arg("start").envs(more.iter().copied()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (started, said) = open(&[]);
    assert!(!started, "{said}");
    for part in ["admin_listen 0.0.0.0:0", "KONG_ADMIN_AUTH=on", "KONG_ADMIN_INSECURE=on"] {
        assert!(said.contains(part), "{said}");
    }
    for (way, warning) in [
        ("KONG_ADMIN_INSECURE", "admin_insecure is on"),
        ("KONG_ADMIN_AUTH", "tokens can be read on their way"),
    ] {
        let (started, said) = open(&[(way, "on")]);
        prints(at, "stop");
        assert!(started && said.contains(warning), "{way}: {said}");
    }
}

/// An authority that vouches for clients.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = named("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn client(&self, name: &str) -> CertifiedPair {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        CertifiedPair::from_pem(&certificate, &key.serialize_pem()).unwrap()
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Makes a service over TLS; returns the status, or nothing if the listener lets nobody in.
async fn post_over_tls(
    address: SocketAddr,
    client: Option<&CertifiedPair>,
    token: &str,
) -> Option<u16> {
    let options = UpstreamOptions { client: client.cloned(), ..UpstreamOptions::default() };
    let config = upstream_client_config(&options, &Clock::System).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(config).connect(name, stream).await.ok()?;
    let mut headers = vec![("Content-Type", "application/json")];
    if !token.is_empty() {
        headers.push(("Kong-Admin-Token", token));
    }
    let body = "{\"host\": \"a\"}";
    let answer = http::send_over(stream, address, "POST", "/services", &headers, body).await;
    answer.ok().map(|answer| answer.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_of_the_authority_gives_the_role_of_its_name() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let (ops, guest) = (authority.client("ops"), authority.client("guest"));
    let stranger = foreign.client("ops");
    for (verify, without) in [("optional", [Some(401), Some(201)]), ("on", [None, None])] {
        let directory = Directory::new();
        let at = directory.path();
        let token = prints(at, "token create --role editor --name ci").trim().to_owned();
        let clients = [
            ("KONG_ADMIN_LISTEN", "127.0.0.1:0 ssl"),
            ("KONG_ADMIN_SSL_VERIFY_CLIENT", verify),
            ("KONG_ADMIN_SSL_CLIENT_CERTIFICATE", &authority.certificate),
            ("KONG_ADMIN_SSL_CLIENT_ROLES", "boss:admin, ops:editor, watch:viewer"),
        ];
        let control = start(at, &clients).await;
        let address = control.admin[0];
        for (client, token, status) in [
            (Some(&ops), "", Some(201)),
            (Some(&ops), "wrong", Some(401)),
            (Some(&guest), "", Some(401)),
            (Some(&guest), token.as_str(), Some(201)),
            (Some(&stranger), token.as_str(), None),
            (None, "", without[0]),
            (None, token.as_str(), without[1]),
        ] {
            let subject = client.map(CertifiedPair::subject);
            let answered = post_over_tls(address, client, token).await;
            assert_eq!(answered, status, "{verify} {subject:?} {token:?}");
        }
        control.stop().await;
        let log = prints(at, "log show --json");
        assert!(log.lines().next().unwrap().contains("\"actor\":\"cert:ops\""), "{log}");
    }
}
