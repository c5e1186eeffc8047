//! The way to a control plane: straight, or through a forward proxy (`cluster_use_proxy`).
//!
//! The proxy is asked for a tunnel (CONNECT; reference hybrid.md, section 4.1); what goes through is
//! the same mTLS as without. Names of control planes are looked up by the proxy.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The port of a proxy whose URL names none, whatever its scheme.
const PORT: u16 = 443;

/// The largest head of a proxy's answer, in bytes, and most headers in it.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// Why there is no tunnel. Neither the proxy's URL nor credentials are in a text of these.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The URL is not one of a proxy.
    #[error("proxy_server is not the URL of a proxy")]
    Url,
    /// Nobody is there.
    #[error("failed to connect to the forward proxy: {0}")]
    Connect(io::Error),
    /// It is not who it should be, or speaks no TLS.
    #[error("ssl handshake with the forward proxy failed: {0}")]
    Handshake(io::Error),
    /// It broke off before it answered.
    #[error("forward proxy broke off: {0}")]
    Broken(io::Error),
    /// What it answers is not HTTP.
    #[error("forward proxy answers something that is not HTTP")]
    NoHttp,
    /// It wants other credentials.
    #[error("forward proxy refuses the credentials of proxy_server: HTTP status 407")]
    Credentials,
    /// It makes no tunnel.
    #[error("forward proxy makes no tunnel: HTTP status {0}")]
    Refused(StatusCode),
}

/// A forward proxy.
#[derive(Clone)]
pub struct ForwardProxy {
    /// Its `host:port`.
    address: String,
    /// The value of `Proxy-Authorization`.
    authorization: Option<String>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl fmt::Debug for ForwardProxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ForwardProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ForwardProxy {
    /// Returns the proxy at an `http` or `https` URL; user and password in it are percent-encoded.
    /// `tls` is asked for where the URL wants it.
    ///
    /// # Errors
    ///
    /// It is no such URL, or `tls` fails.
    pub fn open<E: From<TunnelError>>(
        url: &str,
        tls: impl FnOnce() -> Result<Arc<rustls::ClientConfig>, E>,
    ) -> Result<Self, E> {
        let uri: Uri = url.parse().map_err(|_| TunnelError::Url)?;
        let authority = uri.authority().ok_or(TunnelError::Url)?;
        let host = authority.host();
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => {
                let bare = host.trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(bare).map_err(|_| TunnelError::Url)?;
                Some((TlsConnector::from(tls()?), name))
            }
            _ => return Err(TunnelError::Url.into()),
        };
        let credentials = authority.as_str().rsplit_once('@').map(|(credentials, _)| {
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            let mut plain: Vec<u8> = percent_decode_str(user).collect();
            plain.push(b':');
            plain.extend(percent_decode_str(password));
            format!("Basic {}", STANDARD.encode(plain))
        });
        Ok(Self {
            address: format!("{host}:{}", authority.port_u16().unwrap_or(PORT)),
            authorization: credentials,
            tls,
        })
    }

    /// Connects to the proxy, and through it to a host.
    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<Way, TunnelError> {
        let target = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let stream = TcpStream::connect(&self.address).await.map_err(TunnelError::Connect)?;
        let _ = stream.set_nodelay(true);
        let mut way = match &self.tls {
            None => Way::Plain(stream),
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), stream).await;
                Way::Secured(Box::new(stream.map_err(TunnelError::Handshake)?))
            }
        };
        let mut head = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Connection: Keep-Alive\r\n"
        );
        if let Some(authorization) = &self.authorization {
            head.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        head.push_str("\r\n");
        way.write_all(head.as_bytes()).await.map_err(TunnelError::Broken)?;
        way.flush().await.map_err(TunnelError::Broken)?;
        match answered(&mut way).await? {
            status if status.is_success() => Ok(way),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(TunnelError::Credentials),
            status => Err(TunnelError::Refused(status)),
        }
    }
}

/// Reads the head of the answer and no byte more: what follows is of the control plane.
async fn answered(way: &mut Way) -> Result<StatusCode, TunnelError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(TunnelError::NoHttp);
        }
        // Once per connection, and some hundred bytes.
        head.push(way.read_u8().await.map_err(TunnelError::Broken)?);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    answer.parse(&head).map_err(|_| TunnelError::NoHttp)?;
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    status.ok_or(TunnelError::NoHttp)
}

/// What carries the bytes of a cluster link.
pub(super) enum Way {
    /// A connection to the control plane, or to a proxy that is spoken to in the clear.
    Plain(TcpStream),
    /// A connection to a proxy over TLS.
    Secured(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Way {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secured(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Way {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secured(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secured(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secured(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str) -> Result<ForwardProxy, TunnelError> {
        ForwardProxy::open(url, || Err(TunnelError::NoHttp))
    }

    #[test]
    fn a_proxy_is_read_from_its_url_and_never_shown_with_credentials() {
        for (url, address, credentials) in [
            ("http://proxy.test:3128", "proxy.test:3128", None),
            ("http://proxy.test", "proxy.test:443", None),
            ("http://me:secret@proxy.test:80/", "proxy.test:80", Some("me:secret")),
            ("http://a%40b:p%23a%3As%25@[::1]:80", "[::1]:80", Some("a@b:p#a:s%")),
            ("http://me@proxy.test:80", "proxy.test:80", Some("me:")),
        ] {
            let proxy = open(url).unwrap();
            assert_eq!(proxy.address, address);
            let wanted = credentials.map(|it| format!("Basic {}", STANDARD.encode(it)));
            assert_eq!(proxy.authorization, wanted, "{url}");
            assert!(!format!("{proxy:?}").contains("secret"));
        }
        for url in ["proxy.test:3128", "ftp://proxy.test", "http://a b", ""] {
            let said = open(url).unwrap_err().to_string();
            assert_eq!(said, "proxy_server is not the URL of a proxy");
        }
        assert!(matches!(open("https://proxy.test"), Err(TunnelError::NoHttp)), "TLS is asked for");
    }
}
