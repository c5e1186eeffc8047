//! Handshakes between our two sides of the cluster link, and keys and certificates of every shape.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;

use super::cluster::*;
use super::ed25519::{SigningKey, VerifyKey};
use super::generate::{cluster_pair, listener_pair};
use super::listener::{ListenerOptions, ListenerTls};
use super::pair::{CertifiedPair, PairError};
use super::upstream::{TrustStore, UpstreamOptions, upstream_client_config};
use crate::clock::Clock;

mod listener;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pki/", $name))
    };
}

const V1: (&str, &str) = (fixture!("v1-ec.crt"), fixture!("v1-ec.key"));
const CA_TRUE: (&str, &str) = (fixture!("ca-true-ec.crt"), fixture!("ca-true-ec.key"));
const CA_TRUE_SEC1: (&str, &str) = (fixture!("ca-true-ec.crt"), fixture!("ca-true-sec1.key"));
const RSA: (&str, &str) = (fixture!("rsa.crt"), fixture!("rsa.key"));
const RSA_PKCS1: (&str, &str) = (fixture!("rsa.crt"), fixture!("rsa-pkcs1.key"));
const SERVER_ONLY: (&str, &str) = (fixture!("server-only.crt"), fixture!("server-only.key"));
const CLIENT_ONLY: (&str, &str) = (fixture!("client-only.crt"), fixture!("client-only.key"));
const OTHER_NAME: (&str, &str) = (fixture!("other-name.crt"), fixture!("other-name.key"));

fn day(text: &str) -> DateTime<Utc> {
    format!("{text}T00:00:00Z").parse().unwrap()
}

/// A clock that stands within the validity of every fixture.
fn clock() -> Clock {
    Clock::seeded(day("2030-01-01"), 1)
}

fn identity((certificate, key): (&str, &str)) -> ClusterIdentity {
    ClusterIdentity::shared(certificate, key).unwrap()
}

fn live(identity: &ClusterIdentity) -> LiveIdentity {
    LiveIdentity::new(identity.clone())
}

/// Returns why a data plane did not trust its control plane.
#[track_caller]
fn wrong_server(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            other.0.to_string()
        }
        error => panic!("{error:?}"),
    }
}

fn pair((certificate, key): (&str, &str)) -> CertifiedPair {
    CertifiedPair::from_pem(certificate, key).unwrap()
}

/// Both ends of a connection whose handshake has ended well.
struct Link {
    client: ClientConnection,
    server: ServerConnection,
}

impl Link {
    /// Sends a byte each way, which also delivers session tickets.
    fn exchange(mut self) -> Self {
        self.client.writer().write_all(b"?").unwrap();
        self.server.writer().write_all(b"!").unwrap();
        pump(&mut self.client, &mut self.server).unwrap();
        let mut byte = [0];
        self.server.reader().read_exact(&mut byte).unwrap();
        self.client.reader().read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"!");
        self
    }
}

fn pump(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets()?;
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

fn handshake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: ServerName<'static>,
) -> Result<Link, rustls::Error> {
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server)?;
    pump(&mut client, &mut server)?;
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Link { client, server })
}

/// Connects a data plane to a control plane and returns what the latter says of the former.
fn join(
    plane: &ClusterIdentity,
    control: &ClusterIdentity,
    plane_clock: &Clock,
    control_clock: &Clock,
) -> Result<Result<PeerCertificate, PeerError>, rustls::Error> {
    let link = handshake(
        cluster_client_config(&live(plane), plane_clock).unwrap(),
        cluster_server_config(&live(control), control_clock).unwrap(),
        plane.server_name("127.0.0.1").unwrap(),
    )?
    .exchange();
    assert_eq!(link.server.server_name(), Some("kong_clustering"));
    Ok(check_peer(control, link.server.peer_certificates(), control_clock))
}

fn insecure_client(pair: Option<CertifiedPair>, clock: &Clock) -> Arc<ClientConfig> {
    let options = UpstreamOptions { client: pair, ..UpstreamOptions::default() };
    upstream_client_config(&options, clock).unwrap()
}

fn cluster_name() -> ServerName<'static> {
    ServerName::try_from("kong_clustering").unwrap()
}

#[test]
fn shared_pairs_of_every_shape_join() {
    let own = cluster_pair(1095, &clock()).unwrap();
    let ours = (own.certificate.as_str(), own.key.as_str());
    for files in [ours, V1, CA_TRUE, CA_TRUE_SEC1, RSA, RSA_PKCS1] {
        let identity = identity(files);
        let peer = join(&identity, &identity, &clock(), &clock()).unwrap().unwrap();
        assert_eq!(peer.not_after(), identity.not_after());
        assert_eq!(peer.digest(), identity.digest());
    }
}

#[test]
fn shared_pairs_join_over_tls_1_2_as_well() {
    for files in [V1, CA_TRUE, RSA] {
        let identity = identity(files);
        let client = cluster_client_config(&live(&identity), &clock()).unwrap();
        let server = server_config(&live(&identity), &clock(), &[&rustls::version::TLS12]).unwrap();
        let link = handshake(client, server, cluster_name()).unwrap().exchange();
        assert_eq!(link.server.protocol_version(), Some(ProtocolVersion::TLSv1_2));
        check_peer(&identity, link.server.peer_certificates(), &clock()).unwrap();
    }
}

#[test]
fn a_plane_refuses_a_control_plane_with_another_certificate() {
    let error = join(&identity(CA_TRUE), &identity(V1), &clock(), &clock()).unwrap_err();
    assert_eq!(
        wrong_server(&error),
        "18: self-signed certificate (it is neither cluster_cert nor in cluster_trusted_cert)"
    );
}

#[test]
fn another_client_certificate_passes_the_handshake_and_fails_the_check() {
    let control = identity(V1);
    let server = cluster_server_config(&live(&control), &clock()).unwrap();
    let client = insecure_client(Some(pair(CA_TRUE)), &clock());
    let link = handshake(client, server, cluster_name()).unwrap();
    let error = check_peer(&control, link.server.peer_certificates(), &clock()).unwrap_err();
    assert_eq!(error, PeerError::Incorrect);
    assert!(error.closes_silently());
    assert_eq!(
        error.to_string(),
        "data plane presented incorrect client certificate during handshake \
         (digest does not match the control plane certificate)"
    );
}

#[test]
fn the_pinned_certificate_without_its_key_fails_the_handshake() {
    let control = identity(V1);
    let stolen = {
        let shown = pair(V1).certified().cert.clone();
        let key = pair(CA_TRUE).certified().key.clone();
        Arc::new(rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(shown, key)))
    };
    let mut client = (*insecure_client(None, &clock())).clone();
    client.client_auth_cert_resolver = stolen;
    let server = cluster_server_config(&live(&control), &clock()).unwrap();
    assert!(handshake(Arc::new(client), server, cluster_name()).is_err());
}

#[test]
fn a_client_without_certificate_is_found_out_after_the_handshake() {
    let control = identity(V1);
    let server = cluster_server_config(&live(&control), &clock()).unwrap();
    let link = handshake(insecure_client(None, &clock()), server, cluster_name()).unwrap();
    let error = check_peer(&control, link.server.peer_certificates(), &clock()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "data plane failed to present client certificate during handshake"
    );
}

#[test]
fn an_unreadable_certificate_is_named_so() {
    let garbage = [rustls_pki_types::CertificateDer::from(vec![1, 2, 3])];
    let error = check_peer(&identity(V1), Some(&garbage), &clock()).unwrap_err();
    assert!(matches!(error, PeerError::Unreadable(_)));
    assert!(check_peer(&identity(V1), Some(&[]), &clock()) == Err(PeerError::Missing));
}

#[test]
fn expired_and_future_certificates_are_refused_on_both_sides() {
    let start = clock();
    let made = cluster_pair(1, &start).unwrap();
    let identity = identity((&made.certificate, &made.key));
    let late = Clock::seeded(start.now() + TimeDelta::days(2), 1);
    let early = Clock::seeded(start.now() - TimeDelta::days(2), 1);

    let by_plane =
        |clock: &Clock| wrong_server(&join(&identity, &identity, clock, &start).unwrap_err());
    assert_eq!(by_plane(&late), "10: certificate has expired");
    assert_eq!(by_plane(&early), "9: certificate is not yet valid");

    for (clock, reason) in
        [(&late, "(10:certificate has expired)"), (&early, "(9:certificate is not yet valid)")]
    {
        let error = join(&identity, &identity, &start, clock).unwrap().unwrap_err();
        assert_eq!(error.to_string(), format!("client SSL certificate verify error: {reason}"));
        assert!(!error.closes_silently());
    }
}

#[test]
fn a_running_configuration_notices_the_expiry() {
    let clock = clock();
    let made = cluster_pair(1, &clock).unwrap();
    let identity = identity((&made.certificate, &made.key));
    let client = cluster_client_config(&live(&identity), &clock).unwrap();
    let server = cluster_server_config(&live(&identity), &clock).unwrap();
    handshake(client.clone(), server.clone(), cluster_name()).unwrap();
    clock.advance(2 * 86_400_000);
    assert!(handshake(client, server, cluster_name()).is_err());
}

#[test]
fn one_sided_purposes_are_refused_by_the_other_side() {
    let server_only = identity(SERVER_ONLY);
    let checked = join(&server_only, &server_only, &clock(), &clock()).unwrap();
    let purpose = "client SSL certificate verify error: (26:unsuitable certificate purpose)";
    assert_eq!(checked.unwrap_err().to_string(), purpose);
    let client_only = identity(CLIENT_ONLY);
    let error = join(&client_only, &client_only, &clock(), &clock()).unwrap_err();
    assert_eq!(wrong_server(&error), "26: unsuitable certificate purpose");
}

#[test]
fn a_plane_wants_the_name_of_the_cluster() {
    let identity = identity(OTHER_NAME);
    let error = join(&identity, &identity, &clock(), &clock()).unwrap_err();
    assert_eq!(wrong_server(&error), "certificate host mismatch");
}

#[test]
fn the_cluster_link_never_resumes_a_session() {
    let control = identity(V1);
    let server = cluster_server_config(&live(&control), &clock()).unwrap();
    // This client would resume if it were given a ticket.
    let client = insecure_client(Some(pair(V1)), &clock());
    for _ in 0..2 {
        let link = handshake(client.clone(), server.clone(), cluster_name()).unwrap().exchange();
        assert_eq!(link.server.handshake_kind(), Some(rustls::HandshakeKind::Full));
        check_peer(&control, link.server.peer_certificates(), &clock()).unwrap();
    }
}

#[test]
fn pairs_are_refused_with_the_reason() {
    let refused = |certificate: &str, key: &str| {
        CertifiedPair::from_pem(certificate, key).map(drop).unwrap_err().to_string()
    };
    assert!(refused("", V1.1).starts_with("certificate: expected PEM"));
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(refused(damaged, V1.1).starts_with("certificate: cannot be read"));
    assert!(refused(V1.0, V1.0).starts_with("key: expected PEM"));
    assert!(refused(V1.0, CA_TRUE.1).starts_with("key: does not belong"));
    assert!(refused(RSA.0, V1.1).starts_with("key: does not belong"));
    assert!(refused(RSA.0, fixture!("encrypted.key")).starts_with("key: is encrypted"));
    let short = (fixture!("rsa-1024.crt"), fixture!("rsa-1024.key"));
    assert!(refused(short.0, short.1).starts_with("key: cannot be used"));
}

#[test]
fn debug_shows_no_key() {
    let made = cluster_pair(1, &clock()).unwrap();
    let body = made.key.lines().nth(1).unwrap();
    let shown = format!("{made:?} {:?}", identity((&made.certificate, &made.key)));
    assert!(!shown.contains(body) && !shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn the_generated_certificate_is_version_3_with_names_and_purposes() {
    use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};
    let made = cluster_pair(1095, &clock()).unwrap();
    let pair = pair((&made.certificate, &made.key));
    let (_, certificate) = X509Certificate::from_der(pair.leaf()).unwrap();
    assert_eq!(certificate.version(), X509Version::V3);
    assert_eq!(certificate.subject().to_string(), "CN=kong_clustering");
    assert!(!certificate.basic_constraints().unwrap().unwrap().value.ca);
    assert_eq!(pair.not_after() - clock().now(), TimeDelta::days(1095));
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth);
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 1);
}

#[test]
fn an_upstream_is_verified_only_when_asked() {
    let made = listener_pair(&clock()).unwrap();
    let tls = ListenerTls::new(
        &[pair((&made.certificate, &made.key))],
        ListenerOptions::default(),
        &clock(),
    )
    .unwrap();
    let connect = |trusted: Option<&str>, name: &'static str| {
        let verify = trusted.map(|pem| TrustStore::from_pems([pem]).unwrap());
        let options = UpstreamOptions { verify, ..UpstreamOptions::default() };
        let client = upstream_client_config(&options, &clock()).unwrap();
        handshake(client, tls.config(), ServerName::try_from(name).unwrap()).is_ok()
    };
    assert!(connect(None, "anything.example"));
    assert!(connect(Some(&made.certificate), "localhost"));
    assert!(!connect(Some(&made.certificate), "anything.example"));
    assert!(!connect(Some(CA_TRUE.0), "localhost"));
    assert!(TrustStore::from_pems(["nothing"]).is_err());
}

#[test]
fn signing_keys_come_back_from_storage_and_show_nothing() {
    let key = SigningKey::generate().unwrap();
    let stored = key.to_pkcs8().unwrap();
    let again = SigningKey::from_bytes(stored.as_ref()).unwrap();
    let signature = again.sign(b"head").unwrap();
    key.verify_key().verify(b"head", &signature).unwrap();
    assert!(key.verify_key().verify(b"tail", &signature).is_err());
    assert!(SigningKey::generate().unwrap().verify_key().verify(b"head", &signature).is_err());
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey {{ verify_key: VerifyKey({}), .. }}", key.verify_key())
    );
    assert!(SigningKey::from_bytes(b"short").is_err());
}

#[test]
fn the_first_test_vector_of_rfc_8032_comes_out() {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let seed = *VerifyKey::parse(seed).unwrap().as_bytes();
    let key = SigningKey::from_bytes(&seed).unwrap();
    assert_eq!(key.verify_key().to_string(), public);
    assert!(super::hex(&key.sign(b"").unwrap()).starts_with("e5564300c360ac729086e2cc806e828a"));
}

proptest! {
    /// A public key reads back from either of its written forms.
    #[test]
    fn verify_keys_read_back(bytes: [u8; 32]) {
        let key = VerifyKey::from_bytes(bytes);
        prop_assert_eq!(VerifyKey::parse(&key.to_string()), Ok(key));
        prop_assert_eq!(VerifyKey::parse(&key.to_base64()), Ok(key));
    }

    /// Whatever stands in the files, reading them ends in a value or an error.
    #[test]
    fn reading_pairs_never_panics(certificate in ".*", key in ".*", cut in 0..600usize) {
        let _ = CertifiedPair::from_pem(&certificate, &key);
        let _: Result<_, PairError> = CertifiedPair::from_pem(V1.0.get(..cut).unwrap_or(""), V1.1);
        let _ = super::x509::Facts::parse(pair(RSA).leaf().get(..cut).unwrap_or(&[]));
        let _ = VerifyKey::parse(&certificate);
    }
}
