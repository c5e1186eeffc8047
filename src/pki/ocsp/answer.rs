//! The parts of a responder's answer, before anything of it is believed.

use chrono::{DateTime, NaiveDateTime, Utc};
use rustls_pki_types::CertificateDer;

use super::super::der::{Reader, tag};
use super::error::Invalid;
use super::target::bits;

/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1.
const OID_BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

/// How many certificates an answer may carry; a responder needs its own alone.
const CERTIFICATES_MAX: usize = 8;

/// A basic answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    /// What the signature is of.
    pub signed: &'a [u8],
    /// The content of the signature's AlgorithmIdentifier.
    pub algorithm: &'a [u8],
    pub signature: &'a [u8],
    pub signer: SignerId<'a>,
    /// The certificates that came along.
    pub certificates: Vec<CertificateDer<'a>>,
    pub singles: Vec<Single<'a>>,
    pub has_critical: bool,
}

/// How an answer names who signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignerId<'a> {
    /// By subject, in DER.
    Name(&'a [u8]),
    /// By the SHA-1 hash of its key's bits.
    Key(&'a [u8]),
}

/// What is said of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Single<'a> {
    /// The content of the CertID.
    pub id: &'a [u8],
    pub status: Status,
    pub this_update: DateTime<Utc>,
    pub next_update: Option<DateTime<Utc>>,
    pub has_critical: bool,
}

/// What an authority knows of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is in force.
    Good,
    /// It is no longer, for whatever reason.
    Revoked,
    /// The authority has not heard of it.
    Unknown,
}

impl<'a> Answer<'a> {
    /// Reads an answer in DER.
    ///
    /// # Errors
    /// It is malformed, or says that the responder does not answer.
    pub fn parse(der: &'a [u8]) -> Result<Self, Invalid> {
        let mut outer = Reader::sequence(der).ok_or(Invalid::Malformed)?;
        let status = outer.expect(tag::ENUMERATED).ok_or(Invalid::Malformed)?;
        match status {
            [0] => basic(outer).ok_or(Invalid::Malformed),
            [status] => Err(Invalid::NotSuccessful(*status, status_text(*status))),
            _ => Err(Invalid::Malformed),
        }
    }
}

fn status_text(status: u8) -> &'static str {
    match status {
        1 => "malformedrequest",
        2 => "internalerror",
        3 => "trylater",
        5 => "sigrequired",
        6 => "unauthorized",
        _ => "(UNKNOWN)",
    }
}

fn basic(mut outer: Reader<'_>) -> Option<Answer<'_>> {
    let mut bytes = Reader::sequence(outer.expect(tag::explicit(0))?)?;
    if bytes.expect(tag::OBJECT_ID)? != OID_BASIC {
        return None;
    }
    let mut basic = Reader::sequence(bytes.expect(tag::OCTET_STRING)?)?;
    let data = basic.next().filter(|it| it.tag == tag::SEQUENCE)?;
    let algorithm = basic.expect(tag::SEQUENCE)?;
    let signature = bits(basic.expect(tag::BIT_STRING)?)?;
    let mut certificates = Vec::new();
    if let Some(listed) = basic.optional(tag::explicit(0)) {
        let mut listed = Reader::sequence(listed)?;
        while !listed.is_at_end() {
            let certificate = listed.next()?;
            if certificates.len() == CERTIFICATES_MAX {
                return None;
            }
            certificates.push(CertificateDer::from(certificate.raw));
        }
    }
    let ends = basic.is_at_end() && bytes.is_at_end() && outer.is_at_end();

    let mut data_read = Reader::new(data.content);
    // The version, which has been the same for ever.
    data_read.optional(tag::explicit(0));
    let signer = signer(&mut data_read)?;
    data_read.expect(tag::GENERALIZED_TIME)?;
    let mut listed = Reader::new(data_read.expect(tag::SEQUENCE)?);
    let mut singles = Vec::new();
    while !listed.is_at_end() {
        singles.push(single(listed.expect(tag::SEQUENCE)?)?);
    }
    let has_critical = extensions(&mut data_read)?;
    let ends = ends && data_read.is_at_end();
    ends.then_some(Answer {
        signed: data.raw,
        algorithm,
        signature,
        signer,
        certificates,
        singles,
        has_critical,
    })
}

fn signer<'a>(data: &mut Reader<'a>) -> Option<SignerId<'a>> {
    const BY_NAME: u8 = tag::explicit(1);
    const BY_KEY: u8 = tag::explicit(2);
    let id = data.next()?;
    match id.tag {
        BY_NAME => Some(SignerId::Name(id.content)),
        BY_KEY => Reader::new(id.content).expect(tag::OCTET_STRING).map(SignerId::Key),
        _ => None,
    }
}

fn single(content: &[u8]) -> Option<Single<'_>> {
    let mut parts = Reader::new(content);
    let id = parts.expect(tag::SEQUENCE)?;
    // IMPLICIT tags: of an empty element, of a structure, of an empty element.
    let status = match parts.next()?.tag {
        0x80 => Status::Good,
        0xa1 => Status::Revoked,
        0x82 => Status::Unknown,
        _ => return None,
    };
    let this_update = time(parts.expect(tag::GENERALIZED_TIME)?)?;
    let next_update = match parts.optional(tag::explicit(0)) {
        Some(next) => Some(time(Reader::new(next).expect(tag::GENERALIZED_TIME)?)?),
        None => None,
    };
    let has_critical = extensions(&mut parts)?;
    parts.is_at_end().then_some(Single { id, status, this_update, next_update, has_critical })
}

/// Reads extensions `[1]`, if there are any, and tells whether one is critical.
fn extensions(parts: &mut Reader<'_>) -> Option<bool> {
    let Some(listed) = parts.optional(tag::explicit(1)) else { return Some(false) };
    let mut listed = Reader::sequence(listed)?;
    let mut has_critical = false;
    while !listed.is_at_end() {
        let mut extension = Reader::new(listed.expect(tag::SEQUENCE)?);
        extension.expect(tag::OBJECT_ID)?;
        has_critical |= extension.optional(tag::BOOLEAN).is_some_and(|it| it != [0]);
        extension.expect(tag::OCTET_STRING)?;
    }
    Some(has_critical)
}

/// Reads a GeneralizedTime as RFC 5280 has it: in UTC, to the second.
fn time(content: &[u8]) -> Option<DateTime<Utc>> {
    let text = std::str::from_utf8(content).ok().filter(|text| text.len() == 15)?;
    NaiveDateTime::parse_from_str(text, "%Y%m%d%H%M%SZ").ok().map(|at| at.and_utc())
}
