//! A mirror behind HTTP/1.1, plain or over TLS: GET, HEAD and PUT of files.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;

use super::client::{Client, Origin};
use super::{MirrorError, cache_control};

/// A server and the path below which its files are.
pub(super) struct Http {
    origin: Origin,
    base: String,
    client: Client,
}

impl Http {
    pub(super) fn open<E: From<MirrorError>>(
        url: &str,
        tls: impl FnOnce() -> Result<Arc<rustls::ClientConfig>, E>,
    ) -> Result<Self, E> {
        let wrong = || MirrorError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let origin = Origin::of(&uri).filter(|_| uri.query().is_none()).ok_or_else(wrong)?;
        let tls = origin.is_secure().then(tls).transpose()?;
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { origin, base, client: Client::new(tls) })
    }

    /// Returns a file; none if it is not there, or if the server does not say whether it is.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Bytes>, MirrorError> {
        let answer = self.ask(Method::GET, path, Bytes::new(), false).await?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer.into_body())),
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN => Ok(None),
            status => Err(MirrorError::Status(status)),
        }
    }

    pub(super) async fn has(&self, path: &str) -> Result<bool, MirrorError> {
        let answer = self.ask(Method::HEAD, path, Bytes::new(), false).await?;
        Ok(answer.status() == StatusCode::OK)
    }

    pub(super) async fn put(
        &self,
        path: &str,
        bytes: Bytes,
        immutable: bool,
    ) -> Result<(), MirrorError> {
        let status = self.ask(Method::PUT, path, bytes, immutable).await?.status();
        if status.is_success() { Ok(()) } else { Err(MirrorError::Status(status)) }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        immutable: bool,
    ) -> Result<Response<Bytes>, MirrorError> {
        let mut request = Request::new(Full::new(body));
        let path = format!("{}/{path}", self.base);
        *request.uri_mut() = path.parse().map_err(|_| MirrorError::Url(path))?;
        if method == Method::PUT {
            let cached = HeaderValue::from_static(cache_control(immutable));
            request.headers_mut().insert(header::CACHE_CONTROL, cached);
        }
        *request.method_mut() = method;
        self.client.send(&self.origin, request).await
    }
}
