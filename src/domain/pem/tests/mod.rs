//! What PEM texts and JWKs say.

pub(crate) mod samples;

use serde_json::{Value, json};

use super::*;

#[test]
fn a_key_is_the_key_of_its_certificate_alone() {
    for pair in [samples::ec(), samples::rsa(), samples::ed25519()] {
        let key = private_key(&pair.key).unwrap();
        assert_eq!(certificate(&pair.cert).unwrap().key, key);
        assert_eq!(public_key(&pair.public).unwrap(), key);
        assert_ne!(certificate(&samples::other_ec().cert).unwrap().key, key);
    }
    let (ec, rsa) = (certificate(&samples::ec().cert).unwrap(), samples::rsa());
    assert!(!ec.key.same_type(&certificate(&rsa.cert).unwrap().key));
    assert!(ec.key.same_type(&private_key(&samples::other_ec().key).unwrap()));
}

#[test]
fn a_certificate_tells_whether_it_is_a_ca_and_until_when() {
    let ca = certificate(&samples::ca().cert).unwrap();
    assert!(ca.is_ca && ca.digest.len() == 64);
    assert!(!certificate(&samples::ec().cert).unwrap().is_ca);
    assert_eq!(certificate(&samples::expired_ca().cert).unwrap().not_after, 1_009_843_200);
    let both = format!("{}\n{}", samples::ca().cert, samples::ec().cert);
    assert_eq!(certificates(&both), 2);
    assert_eq!(certificate(&both).unwrap().digest, ca.digest, "the first one counts");
}

#[test]
fn what_cannot_be_read_is_refused_without_a_quote() {
    let cut = &samples::ec().cert[..200];
    for bad in ["", "x", cut, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(certificate(bad).is_err(), "{bad}");
        assert!(private_key(bad).is_err(), "{bad}");
        assert!(public_key(bad).is_err(), "{bad}");
    }
    assert!(private_key(&samples::ec().cert).is_err());
    assert!(public_key(&samples::ec().key).is_err());
}

#[test]
fn jwks_are_keys_whose_numbers_can_be_read() {
    let ec: Value = serde_json::from_str(&samples::jwk("k")).unwrap();
    let with = |changes: Value| {
        let mut jwk = ec.as_object().unwrap().clone();
        jwk.extend(changes.as_object().unwrap().clone());
        jwk::is_valid(&jwk)
    };
    assert!(with(json!({})) && with(json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"})));
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    assert!(with(json!({"kty": "OKP", "crv": "Ed25519", "x": x})));
    for bad in [
        json!({"kty": "oct", "k": "AQAB"}),
        json!({"kty": null}),
        json!({"crv": "P-999"}),
        json!({"x": "AQAB"}),
        json!({"y": "not base64!"}),
        json!({"d": ""}),
        json!({"kty": "RSA", "n": "AQAB"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AQAB"}),
    ] {
        assert!(!with(bad.clone()), "{bad}");
    }
}
