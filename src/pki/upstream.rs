//! TLS towards upstream services.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::chain::Authorities;
use super::pair::{CertifiedPair, certificates};
use super::signature::SignatureCheck;
use super::x509::Purpose;
use super::{ClockTime, TlsError};
use crate::clock::Clock;

/// Certificates that may vouch for an upstream (`ca_certificates`,
/// `lua_ssl_trusted_certificate`).
#[derive(Clone, Debug)]
pub struct TrustStore(pub(super) Arc<RootCertStore>);

impl TrustStore {
    /// Reads every certificate of every PEM text.
    ///
    /// # Errors
    /// Returns [`TlsError::Trust`] for a text without certificates, or with one that cannot be
    /// read.
    pub fn from_pems<'a>(pems: impl IntoIterator<Item = &'a str>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for pem in pems {
            let chain = certificates(pem).map_err(TlsError::Trust)?;
            if chain.is_empty() {
                return Err(TlsError::Trust("expected PEM text with CERTIFICATE blocks".into()));
            }
            for certificate in chain {
                roots.add(certificate).map_err(|error| TlsError::Trust(error.to_string()))?;
            }
        }
        if roots.is_empty() {
            return Err(TlsError::Trust("expected at least one certificate".into()));
        }
        Ok(Self(Arc::new(roots)))
    }
}

/// How one kind of upstream connection is secured.
#[derive(Clone, Debug, Default)]
pub struct UpstreamOptions {
    /// Who must vouch for the upstream; `None` takes any certificate (`tls_verify` off).
    pub verify: Option<TrustStore>,
    /// The certificate shown to upstreams that ask for one.
    pub client: Option<CertifiedPair>,
    /// Whether HTTP/2 is negotiated (gRPC upstreams).
    pub http2: bool,
}

/// Builds the TLS settings of upstream connections.
///
/// # Errors
/// Fails only when the TLS library refuses the settings.
pub fn upstream_client_config(
    options: &UpstreamOptions,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier: Arc<dyn ServerCertVerifier> = match &options.verify {
        None => any_server(),
        Some(TrustStore(roots)) => {
            WebPkiServerVerifier::builder_with_provider(roots.clone(), super::provider())
                .build()
                .map_err(|error| TlsError::Trust(error.to_string()))?
        }
    };
    client_config(verifier, options.client.as_ref(), options.http2, clock)
}

fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    client: Option<&CertifiedPair>,
    http2: bool,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let time = Arc::new(ClockTime(clock.clone()));
    let builder = ClientConfig::builder_with_details(super::provider(), time)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
            pair.certified().as_ref().clone(),
        ))),
    };
    if http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    Ok(Arc::new(config))
}

/// Returns what verifies nothing but that the key is held.
pub(super) fn any_server() -> Arc<dyn ServerCertVerifier> {
    Arc::new(AnyServer(SignatureCheck::new()))
}

/// Who may vouch for the upstream of a service; by default nobody.
#[derive(Clone, Debug, Default)]
pub struct Vouchers(Option<Arc<Authorities>>);

impl Vouchers {
    /// Reads every certificate of every PEM text, and of `more`, which nobody here can mend, those
    /// that can be read.
    ///
    /// # Errors
    /// Returns [`TlsError::Trust`] for a text without certificates or with one that cannot be read.
    pub fn from_pems(pems: &[String], more: &[String]) -> Result<Self, TlsError> {
        match Authorities::from_pems(pems, more) {
            Ok(authorities) => Ok(Self(Some(Arc::new(authorities)))),
            Err(_) if pems.is_empty() => Ok(Self(None)),
            Err(error) => Err(error),
        }
    }
}

/// How the upstream of a service is spoken to (reference gateway-3, section D.4).
#[derive(Clone, Debug, Default)]
pub struct ServiceOptions {
    /// Who must vouch for the upstream, and how many certificates may stand between the two; any
    /// certificate will do without.
    pub verify: Option<(Vouchers, usize)>,
    /// What the upstream is shown when it asks.
    pub client: Option<CertifiedPair>,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
}

/// Builds the TLS settings of the connections of a service.
///
/// # Errors
/// Fails only when the TLS library refuses the settings.
pub fn service_client_config(
    options: &ServiceOptions,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let signatures = SignatureCheck::new();
    let verifier: Arc<dyn ServerCertVerifier> = match &options.verify {
        None => Arc::new(AnyServer(signatures)),
        Some((Vouchers(authorities), intermediates_max)) => Arc::new(VouchedServer {
            authorities: authorities.clone(),
            intermediates_max: *intermediates_max,
            signatures,
        }),
    };
    client_config(verifier, options.client.as_ref(), options.http2, clock)
}

/// Takes certificates of the right name that lead to an authority over few enough others.
#[derive(Debug)]
struct VouchedServer {
    authorities: Option<Arc<Authorities>>,
    intermediates_max: usize,
    signatures: SignatureCheck,
}

impl ServerCertVerifier for VouchedServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let nobody = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let authorities = self.authorities.as_ref().ok_or_else(nobody)?;
        let mut presented = Vec::with_capacity(intermediates.len() + 1);
        presented.push(leaf.clone());
        presented.extend_from_slice(intermediates);
        let at = i64::try_from(now.as_secs()).ok().and_then(|at| DateTime::from_timestamp(at, 0));
        let at: DateTime<Utc> = at.unwrap_or_default();
        authorities.verify(&presented, Purpose::Server, at, self.intermediates_max).map_err(
            |refusal| {
                let cause = OtherError(Arc::new(refusal));
                Error::InvalidCertificate(CertificateError::Other(cause))
            },
        )?;
        rustls::client::verify_server_name(&ParsedCertificate::try_from(leaf)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}

/// Takes any certificate whose key the upstream holds.
///
/// Kong does not verify upstreams unless a service sets `tls_verify` (reference
/// gateway-3-router-proxy-balancer.md, "TLS to upstream"), and upstreams with self-signed or
/// internal certificates rely on it. The link is encrypted but not authenticated.
#[derive(Debug)]
struct AnyServer(SignatureCheck);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
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
