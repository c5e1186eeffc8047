//! Listeners and TLS as the settings ask for them.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use anyhow::Context as _;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::certificates::Listeners;
use super::sockets::{Kind, OpenSocket, Sockets};
use super::tls as offered;
use crate::clock::Clock;
use crate::pki::file::{Access, replace};
use crate::pki::generate::listener_pair;
use crate::pki::listener::{Clients, ListenerOptions, ListenerTls};
use crate::pki::names::NameLookup;
use crate::pki::pair::CertifiedPair;
use crate::pki::upstream::TrustStore;
use crate::settings::{Listener, Pem, PemPair, Prefix, Settings};
use crate::telemetry::trouble::is_of_disk;

/// How many connections wait to be accepted unless the settings say otherwise.
const BACKLOG: u32 = 16384;

/// Binds a listener that one task accepts from, unless it is open already.
pub(super) fn bind(
    listener: &Listener,
    kind: Kind,
    sockets: &Sockets,
) -> anyhow::Result<TcpListener> {
    anyhow::ensure!(!listener.proxy_protocol, "proxy_protocol is not supported yet: {listener}");
    let bound = match sockets.claim(kind, listener.addr).pop() {
        Some(bound) => bound,
        None => open(listener).with_context(|| format!("cannot listen on {}", listener.addr))?,
    };
    bound.set_nonblocking(true)?;
    sockets.put([OpenSocket::of(kind, listener.addr, &bound)?]);
    Ok(TcpListener::from_std(bound)?)
}

fn open(listener: &Listener) -> std::io::Result<StdListener> {
    let socket =
        Socket::new(Domain::for_address(listener.addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if let Some(only) = listener.ipv6only
        && listener.addr.is_ipv6()
    {
        socket.set_only_v6(only)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&listener.addr.into())?;
    let backlog = listener.backlog.unwrap_or(BACKLOG);
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Returns where a bound listener is.
pub(super) fn address(listener: &TcpListener) -> anyhow::Result<SocketAddr> {
    listener.local_addr().context("a bound listener has no address")
}

/// Which of the node's faces a certificate is for.
#[derive(Clone, Copy)]
pub(super) enum Face {
    Proxy,
    Admin,
    Status,
}

impl Face {
    /// The name of the files of a generated pair, below `ssl/` of the prefix.
    fn default_name(self) -> &'static str {
        match self {
            Self::Proxy => "kong-default",
            Self::Admin => "admin-kong-default",
            Self::Status => "status-kong-default",
        }
    }

    /// Returns what the face is called in logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Admin => "admin",
            Self::Status => "status",
        }
    }

    /// Returns what its sockets are known as.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Proxy => Kind::Proxy,
            Self::Admin => Kind::Admin,
            Self::Status => Kind::Status,
        }
    }

    /// Returns the listeners that the settings ask for.
    pub(super) fn listeners(self, settings: &Settings) -> &[Listener] {
        match self {
            Self::Proxy => &settings.proxy.listen,
            Self::Admin => &settings.admin.listen,
            Self::Status => &settings.status.listen,
        }
    }

    fn own_pairs(self, settings: &Settings) -> &[PemPair] {
        match self {
            Self::Proxy => &settings.tls.proxy,
            Self::Admin => &settings.tls.admin,
            Self::Status => &settings.tls.status,
        }
    }
}

/// Reads the certificates of a face's listeners; a pair is generated once when none is given.
pub(super) fn pairs(
    settings: &Settings,
    face: Face,
    clock: &Clock,
) -> anyhow::Result<Vec<CertifiedPair>> {
    match face.own_pairs(settings) {
        [] => Ok(vec![generated(&settings.prefix, face.default_name(), clock)?]),
        pairs => pairs.iter().map(|pair| read_pair(&pair.cert, &pair.key)).collect(),
    }
}

/// Builds the TLS side of a face's listeners, whose certificates are followed from then on.
pub(super) fn tls(
    settings: &Settings,
    face: Face,
    http2: bool,
    followed: &Listeners,
) -> anyhow::Result<Arc<ServerConfig>> {
    tls_with_names(settings, face, http2, None, followed)
}

/// As [`tls`], with certificates for names beside those of the settings.
pub(super) fn tls_with_names(
    settings: &Settings,
    face: Face,
    http2: bool,
    names: Option<NameLookup>,
    followed: &Listeners,
) -> anyhow::Result<Arc<ServerConfig>> {
    let clock = followed.clock();
    let pairs = pairs(settings, face, clock)?;
    let options = ListenerOptions { names, ..offered::options(settings, http2)? };
    let tls = match (face, &settings.admin.clients) {
        (Face::Admin, Some(clients)) => {
            let trust = TrustStore::from_pems([text(&clients.ca)?.as_str()])
                .context("admin_ssl_client_certificate")?;
            let clients = Clients { trust, required: clients.required };
            ListenerTls::with_clients(&pairs, options, &clients, clock)?
        }
        _ => ListenerTls::new(&pairs, options, clock)?,
    };
    followed.add(face, tls.certificates());
    Ok(tls.config())
}

/// Reads a pair and checks that key and certificate belong together.
pub(super) fn read_pair(certificate: &Pem, key: &Pem) -> anyhow::Result<CertifiedPair> {
    let (certificate, key) = (text(certificate)?, text(key)?);
    CertifiedPair::from_pem(&certificate, &key).context("a certificate and key pair is unusable")
}

/// Reads the text of a PEM.
pub(super) fn text(pem: &Pem) -> anyhow::Result<String> {
    let name = || pem.path().map_or_else(String::new, |path| format!(" {}", path.display()));
    let bytes = pem.read().with_context(|| format!("cannot read{}", name()))?;
    String::from_utf8(bytes).with_context(|| format!("the PEM{} is not text", name()))
}

fn generated(prefix: &Prefix, name: &str, clock: &Clock) -> anyhow::Result<CertifiedPair> {
    let file = |extension: &str| prefix.join(format!("ssl/{name}.{extension}"));
    let (certificate, key) = (file("crt"), file("key"));
    if !certificate.exists() || !key.exists() {
        let pair = listener_pair(clock)?;
        // Half a pair, left by a crash, is of no use; and the key goes first.
        let _ = std::fs::remove_file(&certificate);
        let kept = replace(&key, &pair.key, Access::Private)
            .and_then(|()| replace(&certificate, &pair.certificate, Access::Public));
        match kept {
            Ok(()) => {}
            Err(error) if is_of_disk(&error) => {
                tracing::warn!(%error, "cannot keep the certificate {name}, it holds once");
                return CertifiedPair::from_pem(&pair.certificate, &pair.key)
                    .context("a generated pair is unusable");
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot write {}", certificate.display()));
            }
        }
    }
    read_pair(&Pem::File(certificate), &Pem::File(key))
}
