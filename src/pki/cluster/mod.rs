//! TLS of the cluster link: who this node is, and which peers it trusts.
//!
//! In shared mode both planes hold one pair, and a peer is trusted when it presents exactly that
//! certificate, whatever its shape: X.509 version 1 as Kong generates it, `CA:TRUE` as a bare
//! `openssl req -x509` makes it, RSA or EC (reference hybrid.md, section 3). A chain builder
//! refuses those, so the certificate is compared byte by byte and the handshake signature is
//! checked with the key inside it. In pki mode a peer's chain has to lead to an authority.
//!
//! The data plane decides during the handshake. The control plane lets every client that holds
//! its certificate's key through the handshake and decides afterwards, by [`check_peer`]: only
//! then can it log the reason and choose between silence and an answer (section 3.4).
//!
//! A [`LiveIdentity`] can be replaced while connections run: handshakes read the one in force,
//! established connections keep what they were made with.

mod client;
mod identity;
mod peer;
mod server;
#[cfg(test)]
mod tests;

pub use self::client::{WrongServer, cluster_client_config};
pub use self::identity::{ClusterIdentity, ClusterTrust, IdentityError, LiveIdentity, PkiTrust};
pub use self::peer::{PeerCertificate, PeerError, check_peer};
pub use self::server::cluster_server_config;
#[cfg(test)]
pub(super) use self::server::server_config;
