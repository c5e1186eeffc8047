//! What the product reads from a certificate, of X.509 version 1 as well as version 3.
//!
//! The TLS library's own parser refuses version 1, which is what Kong's `gen_cert` writes.

use chrono::{DateTime, Utc};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The longest common name that X.520 allows is 64 characters.
const COMMON_NAME_LEN_MAX: usize = 256;

/// The fields of one certificate that trust decisions need.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub not_before: DateTime<Utc>,
    pub not_after: DateTime<Utc>,
    /// The whole SubjectPublicKeyInfo, in DER.
    pub spki: SubjectPublicKeyInfoDer<'static>,
    pub subject: String,
    /// Common names and DNS names, lower case.
    names: Vec<String>,
    purposes: Option<Purposes>,
}

/// The two uses that a TLS certificate may be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug)]
struct Purposes {
    server: bool,
    client: bool,
}

impl Facts {
    /// Returns the facts of the certificate `der`, or why it cannot be read.
    pub fn parse(der: &[u8]) -> Result<Self, String> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("bytes follow the certificate".to_owned());
        }
        let moment = |at: i64| {
            DateTime::from_timestamp(at, 0).ok_or_else(|| "its dates are out of range".to_owned())
        };
        Ok(Self {
            not_before: moment(certificate.validity().not_before.timestamp())?,
            not_after: moment(certificate.validity().not_after.timestamp())?,
            spki: SubjectPublicKeyInfoDer::from(certificate.public_key().raw.to_vec()),
            subject: certificate.subject().to_string(),
            names: names(&certificate)?,
            purposes: purposes(&certificate)?,
        })
    }

    /// Returns the common name of the subject, if it is one and fits in a line of a log.
    pub fn common_name(der: &[u8]) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut names = certificate.subject().iter_common_name();
        let name = names.next()?.as_str().ok()?;
        let good = names.next().is_none()
            && (1..=COMMON_NAME_LEN_MAX).contains(&name.len())
            && !name.chars().any(char::is_control);
        good.then(|| name.to_owned())
    }

    /// Tells whether a common name or DNS name of the certificate is `name`.
    pub fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Tells whether the certificate may be used for `purpose`; one that lists no purpose may be
    /// used for all (reference hybrid.md, section 3.3).
    pub fn allows(&self, purpose: Purpose) -> bool {
        self.purposes.is_none_or(|purposes| match purpose {
            Purpose::Server => purposes.server,
            Purpose::Client => purposes.client,
        })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let mut names: Vec<String> = common.map(str::to_ascii_lowercase).collect();
    let alternative = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let listed = alternative.iter().flat_map(|extension| &extension.value.general_names);
    names.extend(listed.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    }));
    Ok(names)
}

fn purposes(certificate: &X509Certificate<'_>) -> Result<Option<Purposes>, String> {
    let usage = certificate.extended_key_usage().map_err(|error| error.to_string())?;
    Ok(usage.map(|extension| Purposes {
        server: extension.value.any || extension.value.server_auth,
        client: extension.value.any || extension.value.client_auth,
    }))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_common_name_is_read_only_where_it_is_one() {
        for (names, read) in [
            (&["ann smith"][..], Some("ann smith")),
            (&["ops@é"], Some("ops@é")),
            (&[], None),
            (&[""], None),
            (&["a\nb"], None),
            (&["a\u{85}b"], None),
        ] {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            for name in names {
                params.distinguished_name.push(DnType::CommonName, *name);
            }
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(Facts::common_name(certificate.der()).as_deref(), read, "{names:?}");
        }
        assert_eq!(Facts::common_name(b"no certificate"), None);
    }
}
