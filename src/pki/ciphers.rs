//! Lists of cipher suites as OpenSSL writes them, as far as the TLS library has the suites.

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite as suite;

/// The suites of TLS 1.2 that there are, in the order of preference, with the words by which
/// OpenSSL's lists choose them.
const KNOWN: [(SupportedCipherSuite, &str, &[&str]); 6] = [
    (
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        &["ECDSA", "aECDSA", "AES", "AESGCM", "AES128", "SHA256", "FIPS"],
    ),
    (
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
        &["aRSA", "AES", "AESGCM", "AES128", "SHA256", "FIPS"],
    ),
    (
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        &["ECDSA", "aECDSA", "AES", "AESGCM", "AES256", "SHA384", "FIPS"],
    ),
    (
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
        &["aRSA", "AES", "AESGCM", "AES256", "SHA384", "FIPS"],
    ),
    (
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        &["ECDSA", "aECDSA", "CHACHA20"],
    ),
    (
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
        &["aRSA", "CHACHA20"],
    ),
];

/// The words that stand for all of them.
const ALL: [&str; 9] =
    ["ALL", "DEFAULT", "HIGH", "TLSv1.2", "ECDHE", "EECDH", "kECDHE", "kEECDH", "ECDH"];

/// A choice of cipher suites of TLS 1.2, the preferred one first. Those of TLS 1.3 are always there.
#[derive(Clone, Debug, PartialEq)]
pub struct Ciphers(Vec<SupportedCipherSuite>);

impl Default for Ciphers {
    fn default() -> Self {
        Self(KNOWN.iter().map(|known| known.0).collect())
    }
}

impl Ciphers {
    /// Reads a list: names or words, joined by `+` where both must hold, separated by colons, commas
    /// or spaces; after `!` or `-` they are taken out. Returns what in it chose nothing, too.
    pub fn parse(text: &str) -> (Self, Vec<&str>) {
        let (mut chosen, mut without): (Vec<usize>, Vec<usize>) = Default::default();
        let mut unknown = Vec::new();
        let rules = text.split([':', ',', ' ']).filter(|rule| !rule.is_empty());
        for rule in rules.filter(|rule| !rule.starts_with('@')) {
            let named = |it: &&str| {
                let fits = (0..KNOWN.len()).filter(|at| it.split('+').all(|word| has(*at, word)));
                fits.collect::<Vec<_>>()
            };
            if let Some(rule) = rule.strip_prefix('!') {
                without.extend(named(&rule));
            } else if let Some(rule) = rule.strip_prefix('-') {
                let out = named(&rule);
                chosen.retain(|at| !out.contains(at));
            } else {
                // A leading `+` moves what is there already to the end.
                let fits = named(&rule.trim_start_matches('+'));
                if fits.is_empty() && !rule.starts_with("TLS_") {
                    unknown.push(rule);
                }
                let fresh: Vec<_> = fits.into_iter().filter(|at| !chosen.contains(at)).collect();
                chosen.extend(fresh);
            }
        }
        chosen.retain(|at| !without.contains(at));
        (Self(chosen.into_iter().filter_map(|at| Some(KNOWN.get(at)?.0)).collect()), unknown)
    }

    /// Returns whether TLS 1.2 can be spoken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the suites of TLS 1.2.
    pub(super) fn tls12(&self) -> &[SupportedCipherSuite] {
        &self.0
    }
}

/// The suites of TLS 1.3.
pub(super) const TLS13: [SupportedCipherSuite; 3] = [
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
];

fn has(at: usize, word: &str) -> bool {
    KNOWN.get(at).is_some_and(|(_, name, words)| *name == word || words.contains(&word))
        || ALL.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        let Ciphers(suites) = Ciphers::parse(text).0;
        let name = |suite: &SupportedCipherSuite| {
            KNOWN.iter().find(|known| known.0 == *suite).map(|known| known.1)
        };
        suites.iter().filter_map(name).collect()
    }

    #[test]
    fn lists_choose_as_in_openssl() {
        let rsa = ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"];
        assert_eq!(names("ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"), rsa);
        assert_eq!(names("HIGH:!aNULL:!MD5").len(), 6);
        assert_eq!(names("ECDHE+AESGCM:!ECDSA"), [rsa[1], rsa[0]]);
        assert_eq!(names("ALL:!CHACHA20:!AES128:!aRSA"), ["ECDHE-ECDSA-AES256-GCM-SHA384"]);
        assert_eq!(names("TLSv1.2+FIPS:kRSA+FIPS:!eNULL:!aNULL").len(), 4);
        assert_eq!(names("ALL:-ALL:ECDHE+CHACHA20+aRSA"), ["ECDHE-RSA-CHACHA20-POLY1305"]);
        assert!(names("AES128-SHA:@SECLEVEL=1").is_empty());
    }

    #[test]
    fn what_does_not_exist_here_is_told() {
        let (_, unknown) = Ciphers::parse("DHE-RSA-AES128-GCM-SHA256:HIGH:kRSA+FIPS:!RC4");
        assert_eq!(unknown, ["DHE-RSA-AES128-GCM-SHA256", "kRSA+FIPS"]);
    }
}
