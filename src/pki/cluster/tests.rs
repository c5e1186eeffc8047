//! Whom nodes in pki mode trust, and what stands in shared mode beside the own certificate.

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Use,
    IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::super::generate::cluster_pair;
use super::client::TrustedServer;
use super::*;
use crate::clock::Clock;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pki/", $name))
    };
}

fn clock() -> Clock {
    Clock::seeded("2030-01-01T00:00:00Z".parse().unwrap(), 1)
}

/// The years in which a certificate is valid.
type Years = (i32, i32);

const LONG: Years = (2020, 2090);

fn params(name: &str, years: Years) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

/// An authority, or an intermediate with the certificates above it.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    above: String,
}

impl Ca {
    fn root(name: &str, years: Years) -> Self {
        let mut params = params(name, years);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem, above: String::new() }
    }

    fn intermediate(&self, name: &str, years: Years) -> Self {
        let mut params = params(name, years);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let above = format!("{pem}{}", self.above);
        Self { issuer: Issuer::new(params, key), pem, above }
    }

    /// Issues a pair; the chain goes along.
    fn issue(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().pem();
        (format!("{leaf}{}", self.above), key.serialize_pem())
    }

    fn leaf(&self, name: &str) -> (String, String) {
        self.issue(&params(name, LONG))
    }
}

fn node((certificate, key): &(String, String), authorities: &[&Ca]) -> ClusterIdentity {
    let trust = PkiTrust {
        authorities: authorities.iter().map(|ca| ca.pem.clone()).collect(),
        more: Vec::new(),
        server_name: None,
        intermediates_max: 3,
    };
    ClusterIdentity::pki(certificate, key, trust).unwrap()
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

/// Returns what a control plane that trusts `root` says of a data plane's chain.
fn joins(root: &Ca, presented: &str) -> Result<usize, String> {
    let control = node(&root.leaf("cp.test"), &[root]);
    let checked = check_peer(&control, Some(&chain(presented)), &clock());
    checked.map(|peer| peer.chain().len()).map_err(|error| {
        assert!(!error.closes_silently());
        error.to_string()
    })
}

fn refused(reason: &str) -> Result<usize, String> {
    Err(format!("client SSL certificate verify error: ({reason})"))
}

/// Returns what a data plane says of a control plane at `host` that shows `presented`.
fn trusts(identity: ClusterIdentity, presented: &str, host: &str) -> Result<(), String> {
    let name = identity.server_name(host).unwrap();
    let live = LiveIdentity::new(identity);
    let server = TrustedServer::new(&live);
    let presented = chain(presented);
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        clock().now().timestamp().unsigned_abs(),
    ));
    server.check(&presented[0], &presented[1..], &name, now).map_err(|wrong| wrong.to_string())
}

#[test]
fn at_most_three_intermediates_stand_between_the_root_and_a_data_plane() {
    let root = Ca::root("root", LONG);
    let mut issuer = root.intermediate("1", LONG);
    assert_eq!(joins(&root, &root.leaf("any name").0), Ok(2));
    for count in 1..=3 {
        assert_eq!(joins(&root, &issuer.leaf("any name").0), Ok(2 + count));
        issuer = issuer.intermediate("next", LONG);
    }
    let (presented, _) = issuer.leaf("any name");
    assert_eq!(
        joins(&root, &presented),
        refused(
            "22:certificate chain too long (4 intermediate certificates, at most 3 are accepted)"
        )
    );
}

#[test]
fn purposes_are_checked_where_a_certificate_lists_them() {
    let root = Ca::root("root", LONG);
    for (purposes, client, server) in [
        (&[][..], true, true),
        (&[Use::ClientAuth], true, false),
        (&[Use::ServerAuth], false, true),
        (&[Use::ServerAuth, Use::ClientAuth], true, true),
        (&[Use::CodeSigning], false, false),
    ] {
        let mut params = params("cp.test", LONG);
        params.extended_key_usages = purposes.to_vec();
        let (presented, _) = root.issue(&params);
        let wrong = "26:unsuitable certificate purpose";
        let expected = if client { Ok(2) } else { refused(wrong) };
        assert_eq!(joins(&root, &presented), expected, "{purposes:?}");
        let plane = node(&root.leaf("dp"), &[&root]);
        let expected = if server { Ok(()) } else { Err(wrong.replace(':', ": ")) };
        assert_eq!(trusts(plane, &presented, "cp.test"), expected, "{purposes:?}");
    }
}

#[test]
fn nobody_out_of_date_is_trusted_wherever_in_the_chain() {
    let root = Ca::root("root", LONG);
    let (past, future) = ((2020, 2025), (2040, 2050));
    for (years, reason) in
        [(past, "10:certificate has expired"), (future, "9:certificate is not yet valid")]
    {
        let (leaf, _) = root.issue(&params("dp", years));
        assert_eq!(joins(&root, &leaf), refused(reason));
        let (below, _) = root.intermediate("1", years).leaf("dp");
        assert_eq!(joins(&root, &below), refused(reason));
        let late = Ca::root("root", years);
        assert_eq!(joins(&late, &late.leaf("dp").0), refused(reason));
    }
}

#[test]
fn strangers_are_named_as_openssl_names_them() {
    let root = Ca::root("root", LONG);
    let stranger = Ca::root("stranger", LONG);
    let unknown = "20:unable to get local issuer certificate";
    assert_eq!(joins(&root, &stranger.leaf("dp").0), refused(unknown));
    let (leaf, _) = stranger.leaf("dp");
    let with_root = format!("{leaf}{}", stranger.pem);
    let in_chain = "19:self-signed certificate in certificate chain";
    assert_eq!(joins(&root, &with_root), refused(in_chain));
    let own = cluster_pair(30, &clock()).unwrap();
    assert_eq!(joins(&root, &own.certificate), refused("18:self-signed certificate"));
    assert!(joins(&root, &Ca::root("root", LONG).leaf("dp").0).is_err(), "the name is not enough");
    // An end entity is no authority.
    let (above, key) = root.leaf("no authority");
    let key = KeyPair::from_pem(&key).unwrap();
    let issuer = Issuer::new(params("no authority", LONG), key);
    let below = params("dp", LONG).signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    let found = joins(&root, &format!("{}{above}", below.pem()));
    assert_eq!(found, refused("24:invalid CA certificate"));
}

#[test]
fn a_client_without_certificate_gets_an_answer_in_pki_mode() {
    let root = Ca::root("root", LONG);
    let control = node(&root.leaf("cp"), &[&root]);
    for presented in [None, Some(&[][..])] {
        let error = check_peer(&control, presented, &clock()).unwrap_err();
        assert_eq!(error.to_string(), "client sent no required SSL certificate");
        assert!(!error.closes_silently());
    }
}

#[test]
fn leaves_that_openssl_takes_are_taken_where_a_root_issued_them() {
    let roots = [fixture!("pki-rsa-root.crt"), fixture!("pki-root.crt")];
    let own = Ca::root("root", LONG).leaf("cp");
    for (leaf, root) in [
        (fixture!("pki-v1.crt"), fixture!("pki-root.crt")),
        (fixture!("pki-ca-true.crt"), fixture!("pki-rsa-root.crt")),
    ] {
        let check = |authorities: &[&str]| {
            let trust = PkiTrust {
                authorities: authorities.iter().map(|&pem| pem.to_owned()).collect(),
                more: Vec::new(),
                server_name: None,
                intermediates_max: 3,
            };
            let control = ClusterIdentity::pki(&own.0, &own.1, trust).unwrap();
            check_peer(&control, Some(&chain(leaf)), &clock())
        };
        let peer = check(&roots).unwrap();
        assert_eq!(peer.chain(), [chain(leaf), chain(root)].concat());
        let wrong: Vec<_> = roots.into_iter().filter(|it| *it != root).collect();
        let error = check(&wrong).unwrap_err().to_string();
        assert!(error.ends_with("(20:unable to get local issuer certificate)"), "{error}");
    }
    let plane = |leaf: &str| {
        let trust = PkiTrust {
            authorities: roots.map(str::to_owned).to_vec(),
            more: Vec::new(),
            server_name: None,
            intermediates_max: 1,
        };
        trusts(ClusterIdentity::pki(&own.0, &own.1, trust).unwrap(), leaf, "cp.test")
    };
    assert_eq!(plane(fixture!("pki-ca-true.crt")), Ok(()));
    assert_eq!(plane(fixture!("pki-v1.crt")), Err("certificate host mismatch".to_owned()));
}

#[test]
fn several_authorities_vouch_at_once() {
    let (old, new) = (Ca::root("old", LONG), Ca::root("new", LONG));
    let bundle = PkiTrust {
        authorities: vec![format!("{}{}", old.pem, new.pem)],
        more: Vec::new(),
        server_name: None,
        intermediates_max: 3,
    };
    let (certificate, key) = old.leaf("cp");
    let control = ClusterIdentity::pki(&certificate, &key, bundle).unwrap();
    for ca in [&old, &new] {
        let presented = chain(&ca.leaf("dp").0);
        let peer = check_peer(&control, Some(&presented), &clock()).unwrap();
        assert_eq!(peer.chain()[1], chain(&ca.pem)[0]);
    }
}

#[test]
fn a_data_plane_counts_intermediates_by_its_own_depth() {
    let root = Ca::root("root", LONG);
    let first = root.intermediate("1", LONG);
    let second = first.intermediate("2", LONG);
    let plane = |intermediates_max| {
        let (certificate, key) = root.leaf("dp");
        let trust = PkiTrust {
            authorities: vec![root.pem.clone()],
            more: Vec::new(),
            server_name: Some("cp.test".to_owned()),
            intermediates_max,
        };
        ClusterIdentity::pki(&certificate, &key, trust).unwrap()
    };
    assert_eq!(trusts(plane(1), &first.leaf("cp.test").0, "ignored"), Ok(()));
    let deep = second.leaf("cp.test").0;
    assert!(trusts(plane(1), &deep, "ignored").unwrap_err().starts_with("22: certificate chain"));
    assert_eq!(trusts(plane(2), &deep, "ignored"), Ok(()));
}

#[test]
fn the_control_planes_name_is_looked_for_in_cn_and_san() {
    let root = Ca::root("root", LONG);
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let address = |text: &str| SanType::IpAddress(text.parse().unwrap());
    for (common, alternative, host, matches) in [
        ("cp.test", vec![], "cp.test", true),
        ("CP.test", vec![], "cp.TEST", true),
        ("else", vec![dns("cp.test")], "cp.test", true),
        // As OpenSSL does, the common name counts only without a DNS name.
        ("cp.test", vec![dns("else")], "cp.test", false),
        ("else", vec![dns("*.cp.test")], "a.cp.test", true),
        ("else", vec![dns("*.test")], "cp.test", false),
        ("127.0.0.1", vec![], "127.0.0.1", true),
        ("else", vec![dns("127.0.0.1")], "127.0.0.1", true),
        ("else", vec![address("127.0.0.1")], "127.0.0.1", true),
        ("else", vec![address("::1")], "::1", true),
        ("else", vec![address("127.0.0.2")], "127.0.0.1", false),
    ] {
        let mut params = params(common, LONG);
        params.subject_alt_names = alternative.clone();
        let plane = node(&root.leaf("dp"), &[&root]);
        let found = trusts(plane, &root.issue(&params).0, host);
        let expected = if matches { Ok(()) } else { Err("certificate host mismatch".to_owned()) };
        assert_eq!(found, expected, "{common} {alternative:?} {host}");
    }
}

#[test]
fn without_cluster_server_name_the_host_is_asked_for_in_pki_mode() {
    let root = Ca::root("root", LONG);
    let plane = node(&root.leaf("dp"), &[&root]);
    assert_eq!(plane.server_name("cp.test").unwrap().to_str(), "cp.test");
    assert!(plane.server_name("no host").is_none());
    let shared = cluster_pair(30, &clock()).unwrap();
    let shared = ClusterIdentity::shared(&shared.certificate, &shared.key).unwrap();
    assert_eq!(shared.server_name("cp.test").unwrap().to_str(), "kong_clustering");
}

#[test]
fn identities_are_refused_with_the_reason() {
    let root = Ca::root("root", LONG);
    let (certificate, key) = root.leaf("dp");
    let with = |authorities: &[&str], server_name: Option<&str>| {
        let trust = PkiTrust {
            authorities: authorities.iter().map(|&it| it.to_owned()).collect(),
            more: Vec::new(),
            server_name: server_name.map(str::to_owned),
            intermediates_max: 3,
        };
        ClusterIdentity::pki(&certificate, &key, trust).map(drop).map_err(|it| it.to_string())
    };
    assert_eq!(with(&[&root.pem], Some("cp.test")), Ok(()));
    assert!(with(&[], None).unwrap_err().contains("nobody is trusted"));
    let more = vec![
        root.pem.clone(),
        "-----BEGIN CERTIFICATE-----\nMAMBAQA=\n-----END \
                                       CERTIFICATE-----\n"
            .to_owned(),
    ];
    let trust = PkiTrust { authorities: vec![], more, server_name: None, intermediates_max: 3 };
    assert!(ClusterIdentity::pki(&certificate, &key, trust).is_ok());
    assert!(with(&["no certificate"], None).unwrap_err().contains("CERTIFICATE blocks"));
    assert!(with(&[&root.pem], Some("a b")).unwrap_err().contains("is no host name"));
}

#[test]
fn in_shared_mode_more_certificates_can_be_pinned() {
    let make = || cluster_pair(30, &clock()).unwrap();
    let (old, new, other) = (make(), make(), make());
    let control = ClusterIdentity::shared(&new.certificate, &new.key).unwrap();
    let pinned = vec![format!("{}{}", old.certificate, new.certificate)];
    let control = control.trusting(&pinned).unwrap();
    for (peer, accepted) in [(&old, true), (&new, true), (&other, false)] {
        let found = check_peer(&control, Some(&chain(&peer.certificate)), &clock());
        assert_eq!(found.is_ok(), accepted);
        let plane = ClusterIdentity::shared(&new.certificate, &new.key).unwrap();
        let plane = plane.trusting(&pinned).unwrap();
        assert_eq!(trusts(plane, &peer.certificate, "cp").is_ok(), accepted);
    }
    assert!(control.clone().trusting(&["garbage".to_owned()]).is_err());
    assert!(control.is_same(&control.clone().trusting(&pinned).unwrap()));
    let fewer = ClusterIdentity::shared(&new.certificate, &new.key).unwrap();
    assert!(!control.is_same(&fewer));
}

#[test]
fn the_end_of_a_peers_certificate_is_known() {
    let root = Ca::root("root", LONG);
    let control = node(&root.leaf("cp"), &[&root]);
    let peer = check_peer(&control, Some(&chain(&root.leaf("dp").0)), &clock()).unwrap();
    let end: DateTime<Utc> = "2090-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(peer.not_after() - end, TimeDelta::zero());
}
