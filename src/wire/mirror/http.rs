//! A mirror behind HTTP/1.1, plain or over TLS: GET, HEAD and PUT of files.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
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

/// A server and the path below which its files are.
pub(super) struct Http {
    address: String,
    authority: HeaderValue,
    base: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Connections that wait for their next request.
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

impl Http {
    pub(super) fn open<E: From<MirrorError>>(
        url: &str,
        tls: impl FnOnce() -> Result<Arc<rustls::ClientConfig>, E>,
    ) -> Result<Self, E> {
        let wrong = || MirrorError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = authority.host();
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong().into());
        }
        let (port, tls) = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => (80, None),
            Some(scheme) if *scheme == Scheme::HTTPS => {
                let bare = host.trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(bare).map_err(|_| wrong())?;
                (443, Some((TlsConnector::from(tls()?), name)))
            }
            _ => return Err(wrong().into()),
        };
        Ok(Self {
            address: format!("{host}:{}", authority.port_u16().unwrap_or(port)),
            authority: HeaderValue::try_from(authority.as_str()).map_err(|_| wrong())?,
            base: uri.path().trim_end_matches('/').to_owned(),
            tls,
            idle: Mutex::default(),
        })
    }

    /// Returns a file; none if it is not there, or if the server does not say whether it is.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Bytes>, MirrorError> {
        let (status, body) = self.ask(Method::GET, path, Bytes::new(), false).await?;
        match status {
            StatusCode::OK => Ok(Some(body)),
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN => Ok(None),
            status => Err(MirrorError::Status(status)),
        }
    }

    pub(super) async fn has(&self, path: &str) -> Result<bool, MirrorError> {
        Ok(self.ask(Method::HEAD, path, Bytes::new(), false).await?.0 == StatusCode::OK)
    }

    pub(super) async fn put(
        &self,
        path: &str,
        bytes: Bytes,
        immutable: bool,
    ) -> Result<(), MirrorError> {
        let (status, _) = self.ask(Method::PUT, path, bytes, immutable).await?;
        if status.is_success() { Ok(()) } else { Err(MirrorError::Status(status)) }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        immutable: bool,
    ) -> Result<(StatusCode, Bytes), MirrorError> {
        let request = || {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            let path = format!("{}/{path}", self.base);
            *request.uri_mut() = path.parse().map_err(|_| MirrorError::Url(path))?;
            let headers = request.headers_mut();
            headers.insert(header::HOST, self.authority.clone());
            if method == Method::PUT {
                let cached =
                    if immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cached));
            }
            Ok::<_, MirrorError>(request)
        };
        let asking = async {
            while let Some(sender) = self.take_idle() {
                // The server may have closed it meanwhile: then a new one is tried.
                if let Ok(answer) = self.exchange(sender, request()?).await {
                    return Ok(answer);
                }
            }
            self.exchange(self.connect().await?, request()?).await
        };
        timeout(ANSWER_WITHIN, asking).await.map_err(|_| MirrorError::TimedOut)?
    }

    async fn exchange(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), MirrorError> {
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), FILE_BYTES_MAX).collect().await;
        let body = body.map_err(MirrorError::Body)?.to_bytes();
        let mut idle = self.idle();
        if idle.len() < PARALLEL {
            idle.push(sender);
        }
        Ok((status, body))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, MirrorError> {
        let connecting = async {
            let stream = TcpStream::connect(&self.address).await?;
            let _ = stream.set_nodelay(true);
            let stream: Pin<Box<dyn Stream>> = match &self.tls {
                None => Box::pin(stream),
                Some((tls, name)) => Box::pin(tls.connect(name.clone(), stream).await?),
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

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Full<Bytes>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
