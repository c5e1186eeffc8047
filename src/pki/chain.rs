//! Chains of certificates up to authorities that the operator named.
//!
//! Codes and reasons of a refusal are OpenSSL's, since those are what Kong's log lines show.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use super::TlsError;
use super::direct::is_signed_by;
use super::pair::certificates;
use super::x509::{Facts, Purpose};

/// The authorities that may vouch for a peer.
#[derive(Clone, Debug)]
pub(super) struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    /// What the anchors were made of, in the same order.
    certificates: Vec<(CertificateDer<'static>, Facts)>,
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.certificates.iter().map(|it| &it.0).eq(other.certificates.iter().map(|it| &it.0))
    }
}

/// Why a chain does not lead to an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// OpenSSL's number of the error.
    pub code: u16,
    /// OpenSSL's text for it, and more where that helps.
    pub reason: String,
}

impl Refusal {
    pub(super) fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    pub(super) fn expired() -> Self {
        Self::new(10, "certificate has expired")
    }

    pub(super) fn not_yet_valid() -> Self {
        Self::new(9, "certificate is not yet valid")
    }

    pub(super) fn purpose() -> Self {
        Self::new(26, "unsuitable certificate purpose")
    }

    fn unknown_issuer() -> Self {
        Self::new(20, "unable to get local issuer certificate")
    }

    /// Nobody trusted vouches for a leaf.
    pub(super) fn unknown(leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Self {
        let self_signed =
            |it: &CertificateDer<'_>| Facts::parse(it).is_ok_and(|it| it.is_self_issued());
        if self_signed(leaf) {
            Self::new(18, "self-signed certificate")
        } else if rest.iter().any(self_signed) {
            Self::new(19, "self-signed certificate in certificate chain")
        } else {
            Self::unknown_issuer()
        }
    }

    fn too_long(intermediates: usize, most: usize) -> Self {
        let reason = format!(
            "certificate chain too long ({intermediates} intermediate certificates, at most {most} \
             are accepted)"
        );
        Self::new(22, reason)
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::CertExpired { .. } => Self::expired(),
            Error::CertNotValidYet { .. } => Self::not_yet_valid(),
            Error::RequiredEkuNotFoundContext(_) => Self::purpose(),
            Error::UnknownIssuer => Self::unknown_issuer(),
            Error::InvalidSignatureForPublicKey => Self::new(7, "certificate signature failure"),
            Error::EndEntityUsedAsCa => Self::new(24, "invalid CA certificate"),
            Error::PathLenConstraintViolated => Self::new(25, "path length constraint exceeded"),
            Error::UnsupportedCriticalExtension => Self::new(34, "unhandled critical extension"),
            Error::NameConstraintViolation => Self::new(47, "permitted subtree violation"),
            other => Self::new(1, format!("unspecified certificate verification error: {other}")),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for Refusal {}

impl Authorities {
    /// Reads every certificate of every PEM text, and of `more` those that can be read.
    ///
    /// # Errors
    /// A text without certificates or with one that cannot be read, or no certificate at all.
    pub fn from_pems(pems: &[String], more: &[String]) -> Result<Self, TlsError> {
        let mut found = Self { anchors: Vec::new(), certificates: Vec::new() };
        for pem in pems {
            let chain = certificates(pem).map_err(TlsError::Trust)?;
            if chain.is_empty() {
                return Err(TlsError::Trust("expected PEM text with CERTIFICATE blocks".into()));
            }
            for certificate in chain {
                found.add(certificate).map_err(TlsError::Trust)?;
            }
        }
        for certificate in more.iter().flat_map(|pem| certificates(pem).unwrap_or_default()) {
            // There is nobody who could mend it, and the others do not depend on it.
            let _ = found.add(certificate);
        }
        if found.anchors.is_empty() {
            return Err(TlsError::Trust("nobody is trusted to vouch for the other side".into()));
        }
        Ok(found)
    }

    fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), String> {
        let anchor = anchor_from_trusted_cert(&certificate).map_err(|error| error.to_string())?;
        let (anchor, facts) = (anchor.to_owned(), Facts::parse(&certificate)?);
        self.anchors.push(anchor);
        self.certificates.push((certificate, facts));
        Ok(())
    }

    /// Verifies what a peer presented, leaf first, for a purpose and at a moment.
    ///
    /// Returns the chain that was found: each certificate is followed by its issuer, the authority
    /// comes last.
    ///
    /// # Errors
    /// Why there is no such chain with at most `intermediates_max` certificates between the leaf
    /// and an authority.
    pub fn verify(
        &self,
        presented: &[CertificateDer<'_>],
        purpose: Purpose,
        at: DateTime<Utc>,
        intermediates_max: usize,
    ) -> Result<Vec<CertificateDer<'static>>, Refusal> {
        let (leaf, rest) = presented.split_first().ok_or_else(Refusal::unknown_issuer)?;
        let too_long = Cell::new(None);
        let accept = |path: &VerifiedPath<'_>| {
            let intermediates = path.intermediate_certificates().count();
            if intermediates > intermediates_max {
                too_long.set(Some(intermediates));
                return Err(Error::MaximumPathDepthExceeded);
            }
            self.in_force(path.anchor(), at)
        };
        let usage = match purpose {
            Purpose::Server => KeyUsage::server_auth(),
            Purpose::Client => KeyUsage::client_auth(),
        };
        let time = unix(at);
        let algorithms = super::provider().signature_verification_algorithms.all;
        let found = EndEntityCert::try_from(leaf).and_then(|leaf_read| {
            let path = leaf_read.verify_for_usage(
                algorithms,
                &self.anchors,
                rest,
                time,
                usage,
                None,
                Some(&accept),
            )?;
            let mut chain = vec![leaf.clone().into_owned()];
            chain.extend(path.intermediate_certificates().map(|it| it.der().into_owned()));
            chain.extend(self.authority(path.anchor()).map(|(certificate, _)| certificate.clone()));
            Ok(chain)
        });
        found.or_else(|error| match (error, too_long.get()) {
            (_, Some(intermediates)) => Err(Refusal::too_long(intermediates, intermediates_max)),
            // OpenSSL takes such leaves; webpki does not go on to look who issued them.
            (Error::UnsupportedCertVersion | Error::CaUsedAsEndEntity, None) => {
                self.directly(leaf, purpose, at)
            }
            (Error::UnknownIssuer, None) => Err(Refusal::unknown(leaf, rest)),
            (error, None) => Err(Refusal::of(&error)),
        })
    }

    /// Verifies a leaf of an unusual shape, X.509 version 1 or `CA:TRUE`, which must be issued by
    /// an authority without intermediates.
    fn directly(
        &self,
        leaf: &CertificateDer<'_>,
        purpose: Purpose,
        at: DateTime<Utc>,
    ) -> Result<Vec<CertificateDer<'static>>, Refusal> {
        let odd = |reason: String| Refusal::new(1, reason);
        let facts = Facts::parse(leaf).map_err(odd)?;
        let issuer = self.anchors.iter().zip(&self.certificates).find(|(anchor, (_, issuer))| {
            anchor.name_constraints.is_none() && is_signed_by(leaf, issuer).unwrap_or(false)
        });
        let Some((anchor, (authority, _))) = issuer else {
            return Err(Refusal::unknown(leaf, &[]));
        };
        self.in_force(anchor, at).map_err(|error| Refusal::of(&error))?;
        facts.check_time(at)?;
        if facts.has_unknown_critical() {
            return Err(Refusal::of(&Error::UnsupportedCriticalExtension));
        }
        if !facts.allows(purpose) {
            return Err(Refusal::purpose());
        }
        Ok(vec![leaf.clone().into_owned(), authority.clone()])
    }

    fn authority(&self, anchor: &TrustAnchor<'_>) -> Option<&(CertificateDer<'static>, Facts)> {
        let at = self.anchors.iter().position(|own| own == anchor)?;
        self.certificates.get(at)
    }

    /// Checks the dates of an authority, which webpki leaves to its caller.
    fn in_force(&self, anchor: &TrustAnchor<'_>, at: DateTime<Utc>) -> Result<(), Error> {
        let (_, facts) = self.authority(anchor).ok_or(Error::UnknownIssuer)?;
        if at > facts.not_after {
            return Err(Error::CertExpired { time: unix(at), not_after: unix(facts.not_after) });
        }
        if at < facts.not_before {
            let not_before = unix(facts.not_before);
            return Err(Error::CertNotValidYet { time: unix(at), not_before });
        }
        Ok(())
    }
}

fn unix(at: DateTime<Utc>) -> UnixTime {
    let seconds = u64::try_from(at.timestamp()).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
