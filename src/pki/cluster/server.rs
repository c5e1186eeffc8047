//! The control plane's side of the handshake.

use std::sync::Arc;

use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedProtocolVersion, client::danger::HandshakeSignatureValid,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::super::signature::SignatureCheck;
use super::super::{ClockTime, TlsError};
use super::identity::LiveIdentity;
use crate::clock::Clock;

/// Builds the control plane's side of the cluster link; each handshake shows the certificate in
/// force.
///
/// A handshake that succeeds says nothing about the client: call [`super::check_peer`] before the
/// first byte is answered. No session is ever resumed, since that would skip the checks.
///
/// # Errors
/// Fails only when the TLS library refuses the settings.
pub fn cluster_server_config(
    identity: &LiveIdentity,
    clock: &Clock,
) -> Result<Arc<ServerConfig>, TlsError> {
    server_config(identity, clock, rustls::DEFAULT_VERSIONS)
}

/// Builds the control plane's side for the given TLS versions; old ones stand in for old peers.
pub(in super::super) fn server_config(
    identity: &LiveIdentity,
    clock: &Clock,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ServerConfig>, TlsError> {
    let time = Arc::new(ClockTime(clock.clone()));
    let mut config = ServerConfig::builder_with_details(super::super::provider(), time)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::new(AnyClient(SignatureCheck::new())))
        .with_cert_resolver(Arc::new(OwnCertificate(identity.clone())));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Shows the certificate in force.
#[derive(Debug)]
struct OwnCertificate(LiveIdentity);

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current().pair.certified().clone())
    }
}

/// Asks clients for a certificate and lets all through that hold its key, or have none.
#[derive(Debug)]
struct AnyClient(SignatureCheck);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.schemes()
    }
}
