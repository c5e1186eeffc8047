//! What of an answer can be believed.

use chrono::{DateTime, TimeDelta, Utc};
use rustls_pki_types::CertificateDer;

use super::super::direct::{is_signed_by, verifies};
use super::super::x509::Facts;
use super::answer::{Answer, SignerId, Single, Status};
use super::error::Invalid;
use super::target::{Target, key_hash, may_sign};

/// How far the responder's clock may be from ours.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// What the authority says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Good, revoked, or a certificate that the responder does not know.
    pub status: Status,
    /// Until when it says so; an answer without that is of the moment.
    pub until: Option<DateTime<Utc>>,
}

impl Statement {
    /// Finds what an answer in DER says of a certificate, at a moment.
    ///
    /// That a certificate is revoked is believed of an old answer, too: it does not become good
    /// again.
    ///
    /// # Errors
    /// It says nothing, not now, or nobody who may say it has signed it.
    pub fn verify(der: &[u8], target: &Target, at: DateTime<Utc>) -> Result<Self, Invalid> {
        let answer = Answer::parse(der)?;
        check_signature(&answer, &target.issuer, at)?;
        let mut found = None;
        for single in &answer.singles {
            if target.is_named_by(single.id).ok_or(Invalid::Malformed)? {
                found = Some(single);
                break;
            }
        }
        let single = found.ok_or(Invalid::NotFound)?;
        if answer.has_critical || single.has_critical {
            return Err(Invalid::Critical);
        }
        if single.status != Status::Revoked {
            check_time(single, at)?;
        }
        Ok(Self { status: single.status, until: single.next_update })
    }
}

fn check_time(single: &Single<'_>, at: DateTime<Utc>) -> Result<(), Invalid> {
    if single.this_update > at + TOLERANCE {
        return Err(Invalid::NotYetValid);
    }
    // Without a next update there is always a newer answer, so an old one proves nothing.
    let last = single.next_update.unwrap_or(single.this_update);
    if last + TOLERANCE < at { Err(Invalid::Expired) } else { Ok(()) }
}

/// Checks that the issuer, or a signer that it certified for that, has signed the answer.
fn check_signature(answer: &Answer<'_>, issuer: &Facts, at: DateTime<Utc>) -> Result<(), Invalid> {
    let is_theirs = |signer: &Facts| {
        verifies(&signer.spki, answer.algorithm, answer.signed, answer.signature) == Some(true)
    };
    let mut last = Invalid::NoSigner;
    if is_named(&answer.signer, issuer) {
        if is_theirs(issuer) {
            return Ok(());
        }
        last = Invalid::Signature;
    }
    for certificate in &answer.certificates {
        let Ok(signer) = Facts::parse(certificate) else { continue };
        if !is_named(&answer.signer, &signer) || signer.spki == issuer.spki {
            continue;
        }
        match check_delegated(certificate, &signer, issuer, at) {
            Ok(()) if is_theirs(&signer) => return Ok(()),
            Ok(()) => last = Invalid::Signature,
            Err(reason) => last = Invalid::Signer(reason),
        }
    }
    Err(last)
}

/// Checks that the issuer of the certificate in question has certified this signer (RFC 6960,
/// section 4.2.2.2). Whether the signer's own certificate was revoked is not asked: it would be
/// asked of the same signer.
fn check_delegated(
    certificate: &CertificateDer<'_>,
    signer: &Facts,
    issuer: &Facts,
    at: DateTime<Utc>,
) -> Result<(), &'static str> {
    if is_signed_by(certificate, issuer) != Some(true) {
        Err("its certificate is of another issuer")
    } else if may_sign(certificate) != Some(true) {
        Err("its certificate lacks the purpose OCSPSigning")
    } else if signer.check_time(at).is_err() {
        Err("its certificate is out of date")
    } else if signer.has_unknown_critical() {
        Err("its certificate has an unhandled critical extension")
    } else {
        Ok(())
    }
}

fn is_named(id: &SignerId<'_>, signer: &Facts) -> bool {
    match id {
        SignerId::Name(name) => *name == signer.subject_der(),
        SignerId::Key(hash) => key_hash(signer).is_some_and(|own| own == *hash),
    }
}
