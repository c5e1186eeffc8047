//! Which certificates are shown to clients that ask for a server name
//! (reference gateway-3, section D.4, "Downstream TLS").

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;

use super::pair::CertifiedPair;

/// Certificates of the same names, with keys of different types; a client gets the first that it
/// can verify.
#[derive(Clone)]
pub struct Offer(Arc<[Arc<CertifiedKey>]>);

impl Offer {
    /// Joins pairs; keys that are not RSA go first, since signing with them costs a tenth.
    pub fn new(pairs: &[CertifiedPair]) -> Self {
        let mut keys: Vec<_> = pairs.iter().map(|pair| pair.certified().clone()).collect();
        keys.sort_by_key(|key| key.key.algorithm() == SignatureAlgorithm::RSA);
        Self(keys.into())
    }

    /// Returns what this client is shown: the first certificate, if it can verify none.
    pub(super) fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        choose(&self.0, hello)
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offer({} certificates)", self.0.len())
    }
}

/// Returns the first key that can sign what the client can verify.
pub(super) fn choose(
    keys: &[Arc<CertifiedKey>],
    hello: &ClientHello<'_>,
) -> Option<Arc<CertifiedKey>> {
    let usable = keys.iter().find(|it| it.key.choose_scheme(hello.signature_schemes()).is_some());
    usable.or_else(|| keys.first()).cloned()
}

/// Server names, exact and with wildcards, and what is shown for each.
#[derive(Clone, Debug, Default)]
pub struct Names {
    exact: HashMap<Box<str>, Offer>,
    /// Of `*.rest`, by `.rest`.
    tails: HashMap<Box<str>, Offer>,
    /// Of `first.*`, by `first.`.
    heads: HashMap<Box<str>, Offer>,
    any: Option<Offer>,
}

impl Names {
    /// Adds a name: `a.b.c`, `*.b.c`, `a.b.*` or `*`, in any case.
    pub fn add(&mut self, name: &str, offer: Offer) {
        let name = name.to_ascii_lowercase();
        let name = name.trim_end_matches('.');
        if name == "*" {
            self.any = Some(offer);
        } else if let Some(tail) = name.strip_prefix('*') {
            self.tails.insert(tail.into(), offer);
        } else if let Some(head) = name.strip_suffix('*') {
            self.heads.insert(head.into(), offer);
        } else {
            self.exact.insert(name.into(), offer);
        }
    }

    /// Returns what is shown for a name in lower case: that of the name itself, else of `*.rest`,
    /// where `*` stands for the first label, else of `first.*`, where it stands for the last one,
    /// else of `*`.
    pub fn find(&self, name: &str) -> Option<&Offer> {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.exact
            .get(name)
            .or_else(|| self.tails.get(name.get(name.find('.')?..)?))
            .or_else(|| self.heads.get(name.get(..=name.rfind('.')?)?))
            .or(self.any.as_ref())
    }
}

/// Finds what is shown for a name in lower case in the configuration that is in force.
#[derive(Clone)]
pub struct NameLookup(Arc<Find>);

type Find = dyn Fn(&str) -> Option<Offer> + Send + Sync;

impl NameLookup {
    /// Makes one of a function that takes no lock: it runs in each handshake, on every core.
    pub fn new(find: impl Fn(&str) -> Option<Offer> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    pub(super) fn find(&self, name: &str) -> Option<Offer> {
        (self.0)(name)
    }
}

impl fmt::Debug for NameLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameLookup")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An offer that can be told from others: of so many certificates.
    fn offer(count: usize) -> Offer {
        let pair = crate::pki::generate::listener_pair(&crate::clock::Clock::System).unwrap();
        let pair = CertifiedPair::from_pem(&pair.certificate, &pair.key).unwrap();
        Offer::new(&vec![pair; count])
    }

    #[test]
    fn the_most_specific_name_wins() {
        let mut names = Names::default();
        let known = ["a.b.test", "*.b.test", "a.b.*", "A.Case", "*.dot.test.", "*"];
        for (at, name) in known.iter().enumerate() {
            names.add(name, offer(at + 1));
        }
        for (name, expected) in [
            ("a.b.test", "a.b.test"),
            ("a.b.test.", "a.b.test"),
            ("x.b.test", "*.b.test"),
            ("a.b.net", "a.b.*"),
            ("a.case", "A.Case"),
            ("x.dot.test", "*.dot.test."),
            ("y.x.b.test", "*"),
            ("b.test", "*"),
            ("a.b.c.net", "*"),
            ("localhost", "*"),
        ] {
            let found = names.find(name).map(|offer| known[offer.0.len() - 1]);
            assert_eq!(found, Some(expected), "{name}");
        }
        assert!(Names::default().find("a.b.test").is_none());
    }
}
