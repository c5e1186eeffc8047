//! How hashed client secrets are kept: PBKDF2 in the PHC form, as Kong writes it.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA512, derive, verify};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use uuid::Uuid;

const PREFIX: &str = "$pbkdf2-sha512$";
const ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).expect("it is not zero");
const HASH_BYTES: usize = 32;

/// Returns what is kept of a secret.
pub fn hash(secret: &str, salt: Uuid) -> String {
    let mut hash = [0; HASH_BYTES];
    derive(PBKDF2_HMAC_SHA512, ITERATIONS, salt.as_bytes(), secret.as_bytes(), &mut hash);
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt.as_bytes()), STANDARD_NO_PAD.encode(hash));
    format!("{PREFIX}i={ITERATIONS},l={HASH_BYTES}${salt}${hash}")
}

/// Returns whether a text is what [`hash`] returns.
pub fn is_hash(text: &str) -> bool {
    parts(text).is_some()
}

/// Returns whether a secret is the one that was hashed.
pub fn matches(secret: &str, kept: &str) -> bool {
    let Some((iterations, salt, hash)) = parts(kept) else { return false };
    verify(PBKDF2_HMAC_SHA512, iterations, &salt, secret.as_bytes(), &hash).is_ok()
}

/// The most rounds that are run for a hash that came with the configuration.
const ITERATIONS_MAX: u32 = 1_000_000;

fn parts(text: &str) -> Option<(NonZeroU32, Vec<u8>, Vec<u8>)> {
    let mut parts = text.strip_prefix(PREFIX)?.split('$');
    let (parameters, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    let (rounds, length) = parameters.strip_prefix("i=")?.split_once(",l=")?;
    let rounds: u32 = rounds.parse().ok().filter(|rounds| *rounds <= ITERATIONS_MAX)?;
    let hash = STANDARD_NO_PAD.decode(hash).ok()?;
    let fits = parts.next().is_none() && length.parse() == Ok(hash.len()) && !hash.is_empty();
    let salt = STANDARD_NO_PAD.decode(salt).ok().filter(|_| fits)?;
    Some((NonZeroU32::new(rounds)?, salt, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_its_hash_alone() {
        let kept = hash("tofu", Uuid::from_u128(7));
        assert!(kept.starts_with("$pbkdf2-sha512$i=10000,l=32$") && is_hash(&kept));
        assert!(matches("tofu", &kept));
        assert!(!matches("to", &kept));
        // What Kong keeps of the same secret with a salt of its own.
        let kong = "$pbkdf2-sha512$i=10000,l=32$YSBsaXR0ZSBiaXQsIGp1c3QgYSBsaXR0bGUgYml0$\
                    z6ysNworexAhDELywIDi0ba0B0T7F/MBZ6Ige9lWRYI";
        assert!(matches("tofu", kong) && !matches("bun", kong));
        for bad in ["", "tofu", "$pbkdf2-sha512$i=0,l=32$AA$AA", "$pbkdf2-sha512$i=1,l=2$AA$AA"] {
            assert!(!matches("tofu", bad), "{bad}");
        }
    }
}
