//! TLS of the ordinary listeners: proxy, Admin API, status.
//!
//! One [`ListenerTls`] serves all cores of a listener, so that a session ticket made by one core
//! is honoured by every other.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedCipherSuite};
use rustls_pki_types::CertificateDer;

use super::ciphers::{Ciphers, TLS13};
use super::names::{NameLookup, choose};
use super::pair::CertifiedPair;
use super::tickets::Tickets;
use super::upstream::TrustStore;
use super::x509::Facts;
use super::{ClockTime, TlsError};
use crate::clock::Clock;

/// The TLS versions of a listener (`ssl_protocols`); older ones do not exist in this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    tls12: bool,
    tls13: bool,
}

impl Default for Protocols {
    fn default() -> Self {
        Self { tls12: true, tls13: true }
    }
}

impl Protocols {
    /// Reads nginx' list of protocol names; names of versions before 1.2 are passed over.
    ///
    /// # Errors
    /// Returns [`TlsError::Protocols`] when neither TLSv1.2 nor TLSv1.3 is in the list.
    pub fn parse(text: &str) -> Result<Self, TlsError> {
        let has = |name: &str| text.split_whitespace().any(|it| it.eq_ignore_ascii_case(name));
        let protocols = Self { tls12: has("TLSv1.2"), tls13: has("TLSv1.3") };
        if protocols.tls12 || protocols.tls13 {
            Ok(protocols)
        } else {
            Err(TlsError::Protocols(text.to_owned()))
        }
    }

    /// Returns the versions that are in both.
    ///
    /// # Errors
    /// Returns [`TlsError::Protocols`] when there is none.
    pub fn and(self, other: Self) -> Result<Self, TlsError> {
        let both = Self { tls12: self.tls12 && other.tls12, tls13: self.tls13 && other.tls13 };
        match both {
            Self { tls12: false, tls13: false } => Err(TlsError::Protocols(self.to_string())),
            both => Ok(both),
        }
    }

    /// Returns TLS 1.3 alone.
    pub fn tls13() -> Self {
        Self { tls12: false, tls13: true }
    }

    /// Returns TLS 1.2 alone.
    pub fn tls12() -> Self {
        Self { tls12: true, tls13: false }
    }

    /// Returns the suites of these versions alone: by those that there are, the library tells which
    /// keys a client can verify.
    fn suites(self, ciphers: &Ciphers) -> Vec<SupportedCipherSuite> {
        let tls13 = if self.tls13 { &TLS13[..] } else { &[] };
        let tls12 = if self.tls12 { ciphers.tls12() } else { &[] };
        [tls13, tls12].concat()
    }

    fn versions(self) -> Vec<&'static rustls::SupportedProtocolVersion> {
        let mut versions = Vec::with_capacity(2);
        if self.tls13 {
            versions.push(&rustls::version::TLS13);
        }
        if self.tls12 {
            versions.push(&rustls::version::TLS12);
        }
        versions
    }
}

impl std::fmt::Display for Protocols {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = [(self.tls12, "TLSv1.2"), (self.tls13, "TLSv1.3")];
        let names: Vec<_> = names.iter().filter(|it| it.0).map(|it| it.1).collect();
        out.write_str(&names.join(" "))
    }
}

/// What a listener offers beside its certificates.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Whether HTTP/2 is negotiated (the `http2` flag of a listener).
    pub http2: bool,
    /// The TLS versions offered.
    pub protocols: Protocols,
    /// Whether sessions can be resumed by tickets (`ssl_session_tickets`).
    pub session_tickets: bool,
    /// How long a session can be resumed (`ssl_session_timeout`).
    pub session_timeout: Duration,
    /// The cipher suites of TLS 1.2 (`ssl_ciphers`).
    pub ciphers: Ciphers,
    /// Whether our order of cipher suites decides (`ssl_prefer_server_ciphers`).
    pub prefer_server_ciphers: bool,
    /// Which certificates there are beside the default ones.
    pub names: Option<NameLookup>,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            http2: false,
            protocols: Protocols::default(),
            session_tickets: true,
            session_timeout: Duration::from_secs(24 * 60 * 60),
            ciphers: Ciphers::default(),
            prefer_server_ciphers: false,
            names: None,
        }
    }
}

/// Which clients a listener lets in by their certificate.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Who must vouch for a client.
    pub trust: TrustStore,
    /// Whether a client without a certificate is turned away in the handshake.
    pub required: bool,
}

/// Returns the common name that a client proved to have: of a chain, leaf first, that a listener with
/// [`Clients`] let in. One that is ambiguous or cannot stand in a line of a log is none.
pub fn client_name(chain: &[CertificateDer<'_>]) -> Option<String> {
    Facts::common_name(chain.first()?)
}

/// The TLS side of one listener, shared by all cores.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    config: Arc<ServerConfig>,
    certificates: Arc<ListenerCertificates>,
}

impl ListenerTls {
    /// Builds a listener's TLS from its default pairs, the preferred one first; a client gets
    /// the first whose key it can verify (an RSA and an EC pair is the usual set).
    ///
    /// # Errors
    /// Returns [`TlsError::NoCertificate`] without a pair, and passes on what the TLS library
    /// refuses.
    pub fn new(
        pairs: &[CertifiedPair],
        options: ListenerOptions,
        clock: &Clock,
    ) -> Result<Self, TlsError> {
        Self::build(pairs, options, Arc::new(NoClientAuth), clock)
    }

    /// As [`ListenerTls::new`], and asks clients for a certificate. Sessions are not resumed:
    /// a ticket would outlive the certificate that it was given for.
    ///
    /// # Errors
    /// As [`ListenerTls::new`]; and [`TlsError::Trust`] when no client could be vouched for.
    pub fn with_clients(
        pairs: &[CertifiedPair],
        options: ListenerOptions,
        clients: &Clients,
        clock: &Clock,
    ) -> Result<Self, TlsError> {
        let roots = clients.trust.0.clone();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, super::provider());
        let verifier = match clients.required {
            true => verifier,
            false => verifier.allow_unauthenticated(),
        };
        let verifier = verifier.build().map_err(|error| TlsError::Trust(error.to_string()))?;
        let options = ListenerOptions { session_tickets: false, ..options };
        Self::build(pairs, options, verifier, clock)
    }

    fn build(
        pairs: &[CertifiedPair],
        options: ListenerOptions,
        clients: Arc<dyn ClientCertVerifier>,
        clock: &Clock,
    ) -> Result<Self, TlsError> {
        let protocols = match options.ciphers.is_empty() {
            true => options.protocols.and(Protocols::tls13())?,
            false => options.protocols,
        };
        let certificates = Arc::new(ListenerCertificates::new(pairs, options.names)?);
        let time = Arc::new(ClockTime(clock.clone()));
        let mut provider = Arc::unwrap_or_clone(super::provider());
        provider.cipher_suites = protocols.suites(&options.ciphers);
        let mut config = ServerConfig::builder_with_details(Arc::new(provider), time)
            .with_protocol_versions(&protocols.versions())?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(certificates.clone());
        if options.http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        config.ignore_client_order = options.prefer_server_ciphers;
        // Sessions are resumed by tickets or not at all: a store would be shared, behind a lock.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        if options.session_tickets {
            config.ticketer = Arc::new(Tickets::new(clock, options.session_timeout)?);
        } else {
            config.send_tls13_tickets = 0;
        }
        Ok(Self { config: Arc::new(config), certificates })
    }

    /// Returns the configuration to accept connections with.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Returns the certificates, to replace them while the listener runs.
    pub fn certificates(&self) -> &Arc<ListenerCertificates> {
        &self.certificates
    }
}

/// The certificates that a listener chooses from, replaceable while it runs.
#[derive(Debug)]
pub struct ListenerCertificates {
    // Read once a handshake, for as long as a pointer is copied: a lock costs nothing there.
    default: RwLock<Arc<[Arc<CertifiedKey>]>>,
    names: Option<NameLookup>,
}

impl ListenerCertificates {
    fn new(pairs: &[CertifiedPair], names: Option<NameLookup>) -> Result<Self, TlsError> {
        Ok(Self { default: RwLock::new(certified(pairs)?), names })
    }

    /// Replaces the default pairs; handshakes that are under way keep theirs. Returns whether the
    /// certificates are others than before.
    ///
    /// # Errors
    /// Returns [`TlsError::NoCertificate`] without a pair, and keeps the old ones.
    pub fn replace_default(&self, pairs: &[CertifiedPair]) -> Result<bool, TlsError> {
        let fresh = certified(pairs)?;
        let mut default = self.default.write().unwrap_or_else(PoisonError::into_inner);
        let changed = !fresh.iter().map(|it| &it.cert).eq(default.iter().map(|it| &it.cert));
        *default = fresh;
        Ok(changed)
    }
}

impl ResolvesServerCert for ListenerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.names.as_ref()?.find(name));
        if let Some(offer) = named {
            return offer.choose(&hello);
        }
        let pairs = self.default.read().unwrap_or_else(PoisonError::into_inner).clone();
        choose(&pairs, &hello)
    }
}

fn certified(pairs: &[CertifiedPair]) -> Result<Arc<[Arc<CertifiedKey>]>, TlsError> {
    if pairs.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    Ok(pairs.iter().map(|pair| pair.certified().clone()).collect())
}
