//! A client of the Admin API, for the command line: asks, and takes JSON.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::auth::TOKEN_HEADER;

/// How long one answer may take, connecting included.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The longest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where an Admin API is, and what is shown to it.
pub struct AdminClient {
    url: String,
    address: String,
    authority: HeaderValue,
    base: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    token: Option<HeaderValue>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminClientError {
    /// What should be a URL is none.
    #[error("expected http(s)://host:port of an Admin API, got {0}")]
    Url(String),
    /// A token cannot be sent.
    #[error("an admin token is visible ASCII")]
    Token,
    /// Nobody can be reached there.
    #[error("cannot connect to {0}")]
    Connect(String, #[source] std::io::Error),
    /// There was no answer in time.
    #[error("{0} does not answer")]
    TimedOut(String),
    /// The connection broke.
    #[error("cannot read the answer of {0}")]
    Http(String, #[source] hyper::Error),
    /// The answer is too long, or broke off.
    #[error("cannot read the answer of {0}")]
    Body(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The Admin API refuses.
    #[error("{path}: {status}: {message}")]
    Refused {
        /// What was asked for.
        path: String,
        /// The status.
        status: StatusCode,
        /// The reason that it gave.
        message: String,
    },
    /// The answer is no JSON: it is no Admin API.
    #[error("the answer of {0} is not JSON")]
    Json(String, #[source] serde_json::Error),
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

impl AdminClientError {
    /// Returns whether asking again later may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.is_server_error(),
            Self::Url(_) | Self::Token | Self::Json(..) => false,
            _ => true,
        }
    }
}

impl AdminClient {
    /// Makes a client; `tls` is asked for if the URL is of `https`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// The URL or the token cannot be used.
    pub fn open<E: From<AdminClientError>>(
        url: &str,
        token: Option<&str>,
        tls: impl FnOnce() -> Result<Arc<rustls::ClientConfig>, E>,
    ) -> Result<Self, E> {
        let wrong = || AdminClientError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong().into());
        }
        let (port, tls) = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => (80, None),
            Some(scheme) if *scheme == Scheme::HTTPS => {
                let bare = authority.host().trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(bare).map_err(|_| wrong())?;
                (443, Some((TlsConnector::from(tls()?), name)))
            }
            _ => return Err(wrong().into()),
        };
        let token = token.map(|token| {
            let mut header = HeaderValue::try_from(token).map_err(|_| AdminClientError::Token)?;
            header.set_sensitive(true);
            Ok::<_, AdminClientError>(header)
        });
        Ok(Self {
            url: url.to_owned(),
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(port)),
            authority: HeaderValue::try_from(authority.as_str()).map_err(|_| wrong())?,
            base: uri.path().trim_end_matches('/').to_owned(),
            tls,
            token: token.transpose()?,
        })
    }

    /// Asks for a path, with its query.
    ///
    /// # Errors
    ///
    /// There is no answer, or it is a refusal.
    pub async fn get(&self, path: &str) -> Result<Value, AdminClientError> {
        let late = |_| AdminClientError::TimedOut(self.url.clone());
        let (status, body) = timeout(ANSWER_WITHIN, self.ask(path)).await.map_err(late)??;
        let answer = serde_json::from_slice::<Value>(&body);
        if status.is_success() {
            return answer.map_err(|error| AdminClientError::Json(self.url.clone(), error));
        }
        let message = answer.ok().and_then(|it| Some(it.get("message")?.as_str()?.to_owned()));
        let (path, message) = (path.to_owned(), message.unwrap_or_default());
        Err(AdminClientError::Refused { path, status, message })
    }

    async fn ask(&self, path: &str) -> Result<(StatusCode, Bytes), AdminClientError> {
        let http = |error| AdminClientError::Http(self.url.clone(), error);
        let mut request = Request::new(Empty::<Bytes>::new());
        let path = format!("{}{path}", self.base);
        *request.uri_mut() = path.parse().map_err(|_| AdminClientError::Url(path))?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.authority.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        if let Some(token) = &self.token {
            headers.insert(TOKEN_HEADER, token.clone());
        }
        let stream = self.connect().await;
        let stream = stream.map_err(|e| AdminClientError::Connect(self.url.clone(), e))?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(http)?;
        // It ends with its sender, and errors are the sender's to tell.
        tokio::spawn(async move { drop(connection.await) });
        let answer = sender.send_request(request).await.map_err(http)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| AdminClientError::Body(self.url.clone(), error))?;
        Ok((status, body.to_bytes()))
    }

    async fn connect(&self) -> std::io::Result<Pin<Box<dyn Stream>>> {
        let stream = TcpStream::connect(&self.address).await?;
        Ok(match &self.tls {
            None => Box::pin(stream),
            Some((tls, name)) => Box::pin(tls.connect(name.clone(), stream).await?),
        })
    }
}
