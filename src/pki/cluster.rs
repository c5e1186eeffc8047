//! TLS of the cluster link: who this node is, and which peers it trusts.
//!
//! In shared mode both planes hold one pair, and a peer is trusted when it presents exactly that
//! certificate, whatever its shape: X.509 version 1 as Kong generates it, `CA:TRUE` as a bare
//! `openssl req -x509` makes it, RSA or EC (reference hybrid.md, section 3). A chain builder
//! refuses those, so the certificate is compared byte by byte and the handshake signature is
//! checked with the key inside it.
//!
//! The data plane decides during the handshake. The control plane lets every client that holds
//! its certificate's key through the handshake and decides afterwards, by [`check_peer`]: only
//! then can it log the reason and choose between silence and an answer (section 3.4).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::generate::CLUSTER_NAME;
use super::pair::{CertifiedPair, PairError};
use super::signature::SignatureCheck;
use super::x509::{Facts, Purpose};
use super::{ClockTime, TlsError};
use crate::clock::Clock;

/// How a cluster decides which peers belong to it (`cluster_mtls`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterTrust {
    /// Every node holds the same pair; the certificate itself is pinned.
    #[default]
    Shared,
}

/// This node's certificate and key on the cluster link (`cluster_cert`, `cluster_cert_key`).
#[derive(Clone, Debug)]
pub struct ClusterIdentity {
    pair: CertifiedPair,
    digest: [u8; 32],
    trust: ClusterTrust,
}

impl ClusterIdentity {
    /// Reads the identity of a node in shared mode from PEM text.
    ///
    /// # Errors
    /// Returns which of the two texts is wrong, or that the key is not the certificate's.
    pub fn shared(certificate_pem: &str, key_pem: &str) -> Result<Self, PairError> {
        let pair = CertifiedPair::from_pem(certificate_pem, key_pem)?;
        let digest = sha256(pair.leaf());
        Ok(Self { pair, digest, trust: ClusterTrust::Shared })
    }

    /// Returns the SHA-256 digest of the leaf certificate's DER.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Returns the SHA-256 digest of the leaf certificate in lower-case hex.
    pub fn digest_hex(&self) -> String {
        super::hex(&self.digest)
    }

    /// Returns the last moment at which the leaf is valid.
    pub fn not_after(&self) -> DateTime<Utc> {
        self.pair.not_after()
    }

    /// Returns the rule by which this node trusts its peers.
    pub fn trust(&self) -> ClusterTrust {
        self.trust
    }

    /// Returns the server name that a data plane sends; in shared mode always the same.
    pub fn server_name(&self) -> ServerName<'static> {
        match self.trust {
            ClusterTrust::Shared => {
                ServerName::try_from(CLUSTER_NAME).expect("the name is a valid DNS name")
            }
        }
    }
}

/// A peer's certificate that passed every check of [`check_peer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    not_after: DateTime<Utc>,
    digest: [u8; 32],
}

impl PeerCertificate {
    /// Returns the last moment at which the certificate is valid (`cert_details`).
    pub fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }

    /// Returns the SHA-256 digest of the certificate.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// Why a peer on the cluster port is turned away; the texts are Kong's log lines.
///
/// The first three close the connection without an answer, the others are a plain 400
/// (reference hybrid.md, section 3.4).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The client sent no certificate.
    #[error("data plane failed to present client certificate during handshake")]
    Missing,
    /// The client's certificate cannot be read.
    #[error("unable to load data plane client certificate during handshake: {0}")]
    Unreadable(String),
    /// The certificate is not the one that the cluster shares.
    #[error(
        "data plane presented incorrect client certificate during handshake (digest does not match the control plane certificate)"
    )]
    Incorrect,
    /// The shared certificate ran out.
    #[error("data plane client certificate has expired (notAfter {0})")]
    Expired(DateTime<Utc>),
    /// The shared certificate is not valid before a later moment.
    #[error("data plane client certificate is not yet valid (notBefore {0})")]
    NotYetValid(DateTime<Utc>),
    /// The certificate lists purposes, and being a TLS client is not among them.
    #[error("data plane client certificate does not allow client authentication")]
    WrongPurpose,
}

impl PeerError {
    /// Tells whether the connection is closed without an answer rather than answered with 400.
    pub fn closes_silently(&self) -> bool {
        matches!(self, Self::Missing | Self::Unreadable(_) | Self::Incorrect)
    }
}

/// Checks the certificates that a data plane presented in the handshake (leaf first; `None` or
/// empty when it presented none) against the identity of this control plane.
///
/// # Errors
/// Returns the first check that failed, in Kong's order.
pub fn check_peer(
    identity: &ClusterIdentity,
    presented: Option<&[CertificateDer<'_>]>,
    clock: &Clock,
) -> Result<PeerCertificate, PeerError> {
    let leaf = presented.and_then(<[_]>::first).ok_or(PeerError::Missing)?;
    let facts = Facts::parse(leaf).map_err(PeerError::Unreadable)?;
    match identity.trust {
        ClusterTrust::Shared if leaf != identity.pair.leaf() => return Err(PeerError::Incorrect),
        ClusterTrust::Shared => {}
    }
    let now = clock.now();
    if now > facts.not_after {
        return Err(PeerError::Expired(facts.not_after));
    }
    if now < facts.not_before {
        return Err(PeerError::NotYetValid(facts.not_before));
    }
    if !facts.allows(Purpose::Client) {
        return Err(PeerError::WrongPurpose);
    }
    Ok(PeerCertificate { not_after: facts.not_after, digest: sha256(leaf) })
}

/// Builds the control plane's side of the cluster link.
///
/// A handshake that succeeds says nothing about the client: call [`check_peer`] before the
/// first byte is answered. No session is ever resumed, since that would skip the checks.
///
/// # Errors
/// Fails only when the TLS library refuses the settings.
pub fn cluster_server_config(
    identity: &ClusterIdentity,
    clock: &Clock,
) -> Result<Arc<ServerConfig>, TlsError> {
    server_config(identity, clock, rustls::DEFAULT_VERSIONS)
}

/// Builds the control plane's side for the given TLS versions; old ones stand in for old peers.
pub(super) fn server_config(
    identity: &ClusterIdentity,
    clock: &Clock,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ServerConfig>, TlsError> {
    let time = Arc::new(ClockTime(clock.clone()));
    let mut config = ServerConfig::builder_with_details(super::provider(), time)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::new(AnyClient(SignatureCheck::new())))
        .with_cert_resolver(own_certificate(identity));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Builds the data plane's side of the cluster link; connect with
/// [`ClusterIdentity::server_name`].
///
/// # Errors
/// Fails only when the TLS library refuses the settings.
pub fn cluster_client_config(
    identity: &ClusterIdentity,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let pinned = match identity.trust {
        ClusterTrust::Shared => PinnedServer {
            leaf: identity.pair.leaf().clone(),
            facts: identity.pair.facts().clone(),
            signature: SignatureCheck::new(),
        },
    };
    let time = Arc::new(ClockTime(clock.clone()));
    let mut config = ClientConfig::builder_with_details(super::provider(), time)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_client_cert_resolver(own_certificate(identity));
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn own_certificate(identity: &ClusterIdentity) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(identity.pair.certified().as_ref().clone()))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
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

/// Trusts one server certificate: the pinned one, while it is valid and fit for a server.
#[derive(Debug)]
struct PinnedServer {
    leaf: CertificateDer<'static>,
    facts: Facts,
    signature: SignatureCheck,
}

/// The certificate lists purposes, and being a TLS server is not among them.
#[derive(Debug, thiserror::Error)]
#[error("certificate does not allow server authentication")]
struct NotForServers;

/// The control plane presented another certificate than this node's own.
#[derive(Debug, thiserror::Error)]
#[error("control plane presented a certificate that is not this node's cluster_cert")]
struct NotPinned;

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let refuse = |error: CertificateError| Err(Error::InvalidCertificate(error));
        if leaf.as_ref() != self.leaf.as_ref() {
            return refuse(CertificateError::Other(OtherError(Arc::new(NotPinned))));
        }
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now > self.facts.not_after.timestamp() {
            return refuse(CertificateError::Expired);
        }
        if now < self.facts.not_before.timestamp() {
            return refuse(CertificateError::NotValidYet);
        }
        if !self.facts.is_named(&server_name.to_str()) {
            return refuse(CertificateError::NotValidForName);
        }
        if !self.facts.allows(Purpose::Server) {
            return refuse(CertificateError::Other(OtherError(Arc::new(NotForServers))));
        }
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
