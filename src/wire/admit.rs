//! Whether a data plane is let in, by its certificate alone.

use std::net::SocketAddr;

use rustls::pki_types::CertificateDer;

use super::publish::Shared;
use crate::pki::cluster::{PeerCertificate, PeerError, check_peer};
use crate::pki::ocsp::RevocationError;

/// Decides whether who has ended the handshake may ask for something: every check of the peer's
/// certificate stands here, before the first request is read.
pub(super) async fn admit(
    shared: &Shared,
    peer: SocketAddr,
    presented: Option<&[CertificateDer<'_>]>,
) -> Result<PeerCertificate, PeerError> {
    let publication = &shared.publication;
    let identity = publication.identity.current();
    let certificate = check_peer(&identity, presented, &publication.clock)?;
    if let Some(revocation) = &publication.revocation
        && let Some(reason) = revocation.check(certificate.chain()).await?
    {
        let said = RevocationError::Unchecked(reason);
        tracing::warn!(%peer, "[clustering] {said}");
    }
    Ok(certificate)
}
