//! Certificates and keys that tests write.

use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PKCS_RSA_SHA256, SignatureAlgorithm, date_time_ymd,
};

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
    /// The public key, in PEM.
    pub(crate) public: String,
}

fn make(algorithm: &'static SignatureAlgorithm, ca: bool, year: i32) -> Pair {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    let cert = params.self_signed(&key).unwrap().pem();
    Pair { cert, key: key.serialize_pem(), public: key.public_key_pem() }
}

macro_rules! samples {
    ($($(#[$doc:meta])* $name:ident = $algorithm:expr, $ca:expr, $year:expr;)*) => {
        $($(#[$doc])* pub(crate) fn $name() -> &'static Pair {
            static PAIR: OnceLock<Pair> = OnceLock::new();
            PAIR.get_or_init(|| make($algorithm, $ca, $year))
        })*
    };
}

samples! {
    /// An EC leaf.
    ec = &PKCS_ECDSA_P256_SHA256, false, 2099;
    /// Another EC leaf.
    other_ec = &PKCS_ECDSA_P256_SHA256, false, 2099;
    /// An RSA leaf.
    rsa = &PKCS_RSA_SHA256, false, 2099;
    /// An Ed25519 leaf.
    ed25519 = &PKCS_ED25519, false, 2099;
    /// A CA.
    ca = &PKCS_ECDSA_P256_SHA256, true, 2099;
    /// Another CA.
    other_ca = &PKCS_ECDSA_P256_SHA256, true, 2099;
    /// A CA of the past.
    expired_ca = &PKCS_ECDSA_P256_SHA256, true, 2002;
}

/// An EC public key as a JWK.
pub(crate) fn jwk(kid: &str) -> String {
    // The example key of RFC 7517, appendix A.1.
    serde_json::json!({
        "kty": "EC", "crv": "P-256", "kid": kid,
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
    .to_string()
}
