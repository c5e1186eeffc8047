//! A client of HTTP/1.1 servers, plain or over TLS, whose connections wait for their next request.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{FILE_BYTES_MAX, MirrorError, PARALLEL};

/// How long connecting may take, and then one answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where requests go.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Origin {
    address: String,
    authority: HeaderValue,
    /// Whose certificate is expected; none without TLS.
    name: Option<ServerName<'static>>,
}

impl Origin {
    /// Returns the origin of an absolute `http` or `https` URI; none of one with credentials.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let authority = uri.authority().filter(|it| !it.as_str().contains('@'))?;
        let host = authority.host();
        let (port, name) = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => (80, None),
            Some(scheme) if *scheme == Scheme::HTTPS => {
                let bare = host.trim_matches(['[', ']']).to_owned();
                (443, Some(ServerName::try_from(bare).ok()?))
            }
            _ => return None,
        };
        Some(Self {
            address: format!("{host}:{}", authority.port_u16().unwrap_or(port)),
            authority: HeaderValue::try_from(authority.as_str()).ok()?,
            name,
        })
    }

    pub(super) fn is_secure(&self) -> bool {
        self.name.is_some()
    }
}

/// Sends requests; answers are read whole.
pub(super) struct Client {
    /// What secures `https`; nothing is asked for there without.
    tls: Option<TlsConnector>,
    /// Connections that wait for their next request.
    idle: Mutex<Vec<(Origin, SendRequest<Full<Bytes>>)>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

impl Client {
    pub(super) fn new(tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self { tls: tls.map(TlsConnector::from), idle: Mutex::default() }
    }

    /// Sends a request whose URI is a path, and reads the answer whole.
    pub(super) async fn send(
        &self,
        origin: &Origin,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, MirrorError> {
        request.headers_mut().insert(header::HOST, origin.authority.clone());
        let asking = async {
            while let Some(sender) = self.take_idle(origin) {
                // The server may have closed it meanwhile: then a new one is tried.
                if let Ok(answer) = self.exchange(origin, sender, request.clone()).await {
                    return Ok(answer);
                }
            }
            self.exchange(origin, self.connect(origin).await?, request).await
        };
        timeout(ANSWER_WITHIN, asking).await.map_err(|_| MirrorError::TimedOut)?
    }

    async fn exchange(
        &self,
        origin: &Origin,
        mut sender: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, MirrorError> {
        sender.ready().await?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, FILE_BYTES_MAX).collect().await;
        let body = body.map_err(MirrorError::Body)?.to_bytes();
        let mut idle = self.idle();
        if idle.len() < PARALLEL {
            idle.push((origin.clone(), sender));
        }
        Ok(Response::from_parts(head, body))
    }

    async fn connect(&self, origin: &Origin) -> Result<SendRequest<Full<Bytes>>, MirrorError> {
        let connecting = async {
            let stream = TcpStream::connect(&origin.address).await?;
            let _ = stream.set_nodelay(true);
            let stream: Pin<Box<dyn Stream>> = match (&origin.name, &self.tls) {
                (None, _) => Box::pin(stream),
                (Some(name), Some(tls)) => Box::pin(tls.connect(name.clone(), stream).await?),
                (Some(_), None) => return Err(std::io::Error::other("TLS is not set up")),
            };
            Ok(stream)
        };
        let stream = timeout(CONNECT_WITHIN, connecting).await;
        let stream = stream.map_err(|_| MirrorError::TimedOut)?.map_err(MirrorError::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with its sender, and errors are the sender's to tell.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    fn take_idle(&self, origin: &Origin) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle();
        let at = idle.iter().rposition(|(known, _)| known == origin)?;
        Some(idle.remove(at).1)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Origin, SendRequest<Full<Bytes>>)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
