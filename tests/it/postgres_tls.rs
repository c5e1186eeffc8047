//! Connections to Postgres that are guarded: a server that takes no others, and certificates.

use hybridctl::planes::database;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::harness::Directory;
use crate::postgres::{self, Schema};

/// Who may come how: to one database only with a certificate.
const HBA: &str = "
local all all trust
hostssl template1 all 127.0.0.1/32 trust clientcert=verify-ca
hostssl all all 127.0.0.1/32 trust
";

/// An authority with one certificate for `name`.
struct Authority {
    certificate: String,
    server: (String, String),
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new([name.to_owned()]).unwrap();
        let server = (server.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem());
        Self { certificate, server }
    }
}

#[tokio::test]
async fn a_guarded_server_is_reached_and_known_by_its_certificate() {
    let (ours, other) = (Authority::new("127.0.0.1"), Authority::new("127.0.0.1"));
    let server = postgres::start(
        &[
            ("ssl", "on"),
            ("ssl_cert_file", "../server.crt"),
            ("ssl_key_file", "../server.key"),
            ("ssl_ca_file", "../ca.crt"),
            ("hba_file", "hba"),
        ],
        &[
            ("server.crt", &ours.server.0),
            ("server.key", &ours.server.1),
            ("ca.crt", &ours.certificate),
            ("hba", HBA),
        ],
    );
    let schema = Schema::on(&server);
    let directory = Directory::new();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let pair = (file("client.crt", &ours.server.0), file("client.key", &ours.server.1));
    let (ours, other) =
        (file("ours.crt", &ours.certificate), file("other.crt", &other.certificate));
    let on = ("KONG_PG_SSL", "on");
    let verify = ("KONG_PG_SSL_VERIFY", "on");
    let strict = ("KONG_PG_DATABASE", "template1");
    let (cert, key) = (("KONG_PG_SSL_CERT", &*pair.0), ("KONG_PG_SSL_CERT_KEY", &*pair.1));
    let trusted = "KONG_LUA_SSL_TRUSTED_CERTIFICATE";
    for (more, reached) in [
        (&[][..], false),
        (&[on], true),
        (&[on, verify], false),
        (&[on, verify, (trusted, &other)], false),
        (&[on, verify, (trusted, &ours)], true),
        (&[on, strict], false),
        (&[on, strict, cert, key], true),
        // It is not called so in its certificate.
        (&[on, verify, (trusted, &ours), ("KONG_PG_HOST", "localhost")], false),
    ] {
        let tables = database::migrations(&schema.settings(more)).unwrap().unwrap();
        let migrated = tables.migrate().await;
        assert_eq!(migrated.is_ok(), reached, "{more:?}: {migrated:?}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_that_is_allowed() {
    let schema = Schema::new();
    for (required, reached) in [("on", false), ("off", true)] {
        let more = [("KONG_PG_SSL", "on"), ("KONG_PG_SSL_REQUIRED", required)];
        let tables = database::migrations(&schema.settings(&more)).unwrap().unwrap();
        assert_eq!(tables.migrate().await.is_ok(), reached, "{required}");
    }
}
