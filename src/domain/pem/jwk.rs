//! JSON Web Keys, as far as writes check them: RSA, EC and OKP keys whose numbers can be read
//! (RFC 7517, 7518, 8037).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Returns whether a JWK holds a key.
pub fn is_valid(jwk: &Map<String, Value>) -> bool {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    match text("kty") {
        Some("RSA") => number(jwk, "n").is_some() && number(jwk, "e").is_some() && secret(jwk),
        Some("EC") => {
            let curve: Option<(&EcdsaVerificationAlgorithm, usize)> = match text("crv") {
                Some("P-256") => Some((&ECDSA_P256_SHA256_FIXED, 32)),
                Some("P-384") => Some((&ECDSA_P384_SHA384_FIXED, 48)),
                Some("P-521") => Some((&ECDSA_P521_SHA512_FIXED, 66)),
                _ => None,
            };
            curve.is_some_and(|(curve, length)| is_point(jwk, curve, length)) && secret(jwk)
        }
        Some("OKP") => {
            let length = match text("crv") {
                Some("Ed25519" | "X25519") => 32,
                Some("Ed448") => 57,
                Some("X448") => 56,
                _ => return false,
            };
            number(jwk, "x").is_some_and(|x| x.len() == length) && secret(jwk)
        }
        _ => false,
    }
}

/// Returns whether the private part can be read, if there is one.
fn secret(jwk: &Map<String, Value>) -> bool {
    !jwk.contains_key("d") || number(jwk, "d").is_some()
}

fn number(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let text = jwk.get(name)?.as_str()?.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| !bytes.is_empty())
}

fn is_point(
    jwk: &Map<String, Value>,
    curve: &'static EcdsaVerificationAlgorithm,
    length: usize,
) -> bool {
    let (Some(x), Some(y)) = (number(jwk, "x"), number(jwk, "y")) else { return false };
    if x.len() > length || y.len() > length {
        return false;
    }
    let mut point = vec![4];
    for number in [x, y] {
        point.extend(std::iter::repeat_n(0, length - number.len()));
        point.extend(number);
    }
    ParsedPublicKey::new(curve, point).is_ok()
}
