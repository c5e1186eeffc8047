//! What the product reads from a certificate, of X.509 version 1 as well as version 3.
//!
//! The TLS library's own parser refuses version 1, which is what Kong's `gen_cert` writes.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::chain::Refusal;

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
    subject_der: Vec<u8>,
    is_self_issued: bool,
    /// The DNS names; the common names where there are none.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    purposes: Option<Purposes>,
    has_unknown_critical: bool,
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
            subject_der: certificate.subject().as_raw().to_vec(),
            is_self_issued: certificate.subject() == certificate.issuer(),
            names: names(&certificate)?,
            addresses: addresses(&certificate)?,
            has_unknown_critical: has_unknown_critical(&certificate),
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

    /// Tells whether the certificate is for the host `name`, by OpenSSL's rules: common names count
    /// only where there is no DNS name, `*.` stands for one label of three or more. An address may
    /// also stand as a name.
    pub fn is_named(&self, name: &str) -> bool {
        let address: Option<IpAddr> = name.parse().ok();
        address.is_some_and(|address| self.addresses.contains(&address))
            || self.names.iter().any(|own| covers(own, name, address.is_some()))
    }

    /// Returns the subject in DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// Tells whether subject and issuer are the same.
    pub fn is_self_issued(&self) -> bool {
        self.is_self_issued
    }

    /// Tells whether there is a critical extension whose meaning nothing here knows.
    pub fn has_unknown_critical(&self) -> bool {
        self.has_unknown_critical
    }

    /// Checks that a moment lies between the dates of the certificate.
    pub fn check_time(&self, at: DateTime<Utc>) -> Result<(), Refusal> {
        if at > self.not_after {
            Err(Refusal::expired())
        } else if at < self.not_before {
            Err(Refusal::not_yet_valid())
        } else {
            Ok(())
        }
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
    let alternative = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let listed = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let names: Vec<_> = listed
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    if !names.is_empty() {
        return Ok(names);
    }
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    Ok(common.map(str::to_owned).collect())
}

fn addresses(certificate: &X509Certificate<'_>) -> Result<Vec<IpAddr>, String> {
    let alternative = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let listed = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let address = |name: &GeneralName<'_>| match name {
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
            _ => None,
        },
        _ => None,
    };
    Ok(listed.filter_map(address).collect())
}

fn has_unknown_critical(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().filter(|it| it.critical).any(|extension| {
        !matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
        )
    })
}

/// Tells whether a name in a certificate covers `wanted`.
fn covers(own: &str, wanted: &str, is_address: bool) -> bool {
    if own.eq_ignore_ascii_case(wanted) {
        return true;
    }
    let Some(domain) = own.strip_prefix("*.").filter(|it| it.contains('.') && !is_address) else {
        return false;
    };
    let rest = wanted.split_once('.').filter(|(label, _)| !label.is_empty());
    rest.is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain))
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
    fn a_star_stands_for_one_label_of_three() {
        for (own, wanted, covered) in [
            ("cp.test", "CP.test", true),
            ("*.cp.test", "a.cp.test", true),
            ("*.cp.test", "cp.test", false),
            ("*.cp.test", "a.b.cp.test", false),
            ("*.test", "a.test", false),
            ("*.0.0.1", "127.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("kong_clustering", "kong_clustering", true),
            ("*.", "a.", false),
        ] {
            let is_address = wanted.parse::<IpAddr>().is_ok();
            assert_eq!(covers(own, wanted, is_address), covered, "{own} {wanted}");
        }
    }

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
