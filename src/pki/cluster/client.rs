//! The data plane's side of the handshake.

use std::sync::Arc;

use chrono::DateTime;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::super::chain::Refusal;
use super::super::signature::SignatureCheck;
use super::super::x509::{Facts, Purpose};
use super::super::{ClockTime, TlsError};
use super::identity::{LiveIdentity, Trust};
use crate::clock::Clock;

/// Builds the data plane's side of the cluster link; connect with
/// [`super::ClusterIdentity::server_name`]. Each handshake is by the identity in force.
///
/// # Errors
/// Fails only when the TLS library refuses the settings.
pub fn cluster_client_config(
    identity: &LiveIdentity,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let server = TrustedServer::new(identity);
    let time = Arc::new(ClockTime(clock.clone()));
    let mut config = ClientConfig::builder_with_details(super::super::provider(), time)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(server))
        .with_client_cert_resolver(Arc::new(OwnCertificate(identity.clone())));
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Shows the certificate in force.
#[derive(Debug)]
struct OwnCertificate(LiveIdentity);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current().pair.certified().clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Trusts the server that the identity in force trusts.
#[derive(Debug)]
pub(super) struct TrustedServer {
    identity: LiveIdentity,
    signature: SignatureCheck,
}

/// Why a data plane does not trust its control plane; the texts are those of Kong's log lines.
#[derive(Debug, thiserror::Error)]
pub enum WrongServer {
    /// The certificate is out of date, for another purpose, or nobody trusted vouches for it.
    #[error("{0}")]
    Refused(Refusal),
    /// The certificate is for another host.
    #[error("certificate host mismatch")]
    HostMismatch,
    /// The certificate is not the one that the cluster shares.
    #[error("{0} (it is neither cluster_cert nor in cluster_trusted_cert)")]
    NotPinned(Refusal),
}

impl TrustedServer {
    pub(super) fn new(identity: &LiveIdentity) -> Self {
        Self { identity: identity.clone(), signature: SignatureCheck::new() }
    }

    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), WrongServer> {
        let now = i64::try_from(now.as_secs()).ok().and_then(|it| DateTime::from_timestamp(it, 0));
        let now = now.ok_or_else(|| WrongServer::Refused(Refusal::expired()))?;
        let unreadable = |error| WrongServer::Refused(Refusal::new(1, error));
        let facts = Facts::parse(leaf).map_err(unreadable)?;
        match &self.identity.current().trust {
            Trust::Pinned(pinned) => {
                if !pinned.iter().any(|own| own.as_ref() == leaf.as_ref()) {
                    return Err(WrongServer::NotPinned(Refusal::unknown(leaf, intermediates)));
                }
                facts.check_time(now).map_err(WrongServer::Refused)?;
                if !facts.allows(Purpose::Server) {
                    return Err(WrongServer::Refused(Refusal::purpose()));
                }
            }
            Trust::Authorities { authorities, intermediates_max, .. } => {
                let mut presented = vec![leaf.clone()];
                presented.extend(intermediates.iter().cloned());
                authorities
                    .verify(&presented, Purpose::Server, now, *intermediates_max)
                    .map_err(WrongServer::Refused)?;
            }
        }
        if facts.is_named(&server_name.to_str()) { Ok(()) } else { Err(WrongServer::HostMismatch) }
    }
}

impl ServerCertVerifier for TrustedServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(leaf, intermediates, server_name, now).map_err(|wrong| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong))))
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature.tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature.tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signature.schemes()
    }
}
