//! Why a certificate is taken for revoked, or could not be checked; the texts are Kong's log lines
//! (reference hybrid.md, section 3.5).

/// Why a data plane is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// The authority says that the certificate is not good.
    #[error(
        "data plane client certificate was revoked: failed to validate OCSP response: certificate \
         status \"{0}\" in the OCSP response"
    )]
    NotGood(&'static str),
    /// Nobody could be asked, or the answer says nothing; where the check is optional, the data
    /// plane is let in all the same.
    #[error("data plane client certificate revocation check failed: {0}")]
    Unchecked(Unchecked),
}

/// Why a certificate could not be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unchecked {
    /// The certificate names no responder.
    #[error(
        "OCSP responder endpoint can not be determined, the client certificate may be missing the \
         required extensions"
    )]
    NoResponder,
    /// The certificate or its issuer cannot be read.
    #[error("failed to create OCSP request: {0}")]
    Request(&'static str),
    /// The responder cannot be reached or breaks off.
    #[error("failed to send request to OCSP responder: {0}")]
    Send(String),
    /// The responder answers with another status than 200.
    #[error("OCSP responder returns bad HTTP status code: {0}")]
    Status(u16),
    /// The responder answers nothing.
    #[error("unexpected response from OCSP responder: empty body")]
    EmptyBody,
    /// The answer cannot be relied on.
    #[error("failed to validate OCSP response: {0}")]
    Invalid(#[from] Invalid),
}

/// Why an answer cannot be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is not DER of the expected shape.
    #[error("failed to parse OCSP response")]
    Malformed,
    /// The responder says that it cannot answer.
    #[error("OCSP response not successful ({0}: {1})")]
    NotSuccessful(u8, &'static str),
    /// It has a critical extension whose meaning nothing here knows.
    #[error("unhandled critical extension in the OCSP response")]
    Critical,
    /// Neither the issuer nor a certificate in the answer is who the answer says has signed it.
    #[error("signer certificate not found")]
    NoSigner,
    /// The one who signed it was not certified for that by the issuer, or not at this time.
    #[error("the signer may not answer for the issuer of the client certificate ({0})")]
    Signer(&'static str),
    /// The signature is not the signer's.
    #[error("signature verification failed")]
    Signature,
    /// It tells of other certificates.
    #[error("certificate status not found in the OCSP response")]
    NotFound,
    /// It is of the future.
    #[error("status not yet valid")]
    NotYetValid,
    /// It holds no longer.
    #[error("status expired")]
    Expired,
}
