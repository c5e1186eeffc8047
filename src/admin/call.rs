//! A request, read once: method, path segments, query, headers, body.

use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::auth::Caller;
use super::error::ApiError;
use super::reason;
use super::reply::REQUEST_ID;
use crate::domain::event::{EventKind, Origin};
use crate::domain::role::AdminRole;

/// How many arguments a query or a form may have.
pub(super) const ARGUMENTS_MAX: usize = 1000;

/// How long a body may take to arrive: a client that stalls must not hold its connection.
const BODY_PATIENCE: Duration = Duration::from_secs(60);

/// A client's id of a request is kept up to this length.
const REQUEST_ID_LEN_MAX: usize = 128;

/// A request, read.
pub(super) struct Call {
    /// The method.
    pub(super) method: Method,
    /// The query's arguments, decoded, in order.
    pub(super) query: Vec<(String, String)>,
    /// The headers.
    pub(super) headers: HeaderMap,
    /// The body; empty for methods whose body is ignored.
    pub(super) body: Bytes,
    /// The id of the request, for the log and the event.
    pub(super) request_id: String,
    /// Who calls.
    pub(super) caller: Caller,
}

impl Call {
    /// Reads a request; only POST, PUT and PATCH have a body that counts.
    pub(super) async fn read(
        request: Request,
        request_id: String,
        body_bytes_max: usize,
    ) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        let query: Vec<_> =
            form_urlencoded::parse(query.as_bytes()).into_owned().take(ARGUMENTS_MAX + 1).collect();
        if query.len() > ARGUMENTS_MAX {
            return Err(ApiError::BadRequest("Too many arguments".into()));
        }
        let reads_body = [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method);
        let body = match reads_body {
            true => collect(body, body_bytes_max, BODY_PATIENCE).await?,
            false => Bytes::new(),
        };
        let caller = parts.extensions.get().cloned();
        let caller = caller.unwrap_or_else(|| Caller::anonymous(AdminRole::Viewer));
        let (method, headers) = (parts.method, parts.headers);
        Ok(Self { method, query, headers, body, request_id, caller })
    }

    /// Returns the first value of a query argument.
    pub(super) fn argument(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body's type.
    pub(super) fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE)?.to_str().ok()
    }

    /// Returns what the log records of the one who asked.
    pub(super) fn origin(&self, kind: EventKind) -> Result<Origin, ApiError> {
        Ok(Origin {
            actor: self.caller.actor.clone(),
            request_id: self.request_id.clone(),
            source: "admin-api".into(),
            kind,
            reason: reason::of_headers(&self.headers)?,
        })
    }
}

/// Returns the client's id of its request, if it sent one that can be logged.
pub(super) fn client_request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let good = !id.is_empty()
        && id.len() <= REQUEST_ID_LEN_MAX
        && id.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| id.to_owned())
}

async fn collect(
    body: axum::body::Body,
    bytes_max: usize,
    patience: Duration,
) -> Result<Bytes, ApiError> {
    let collected = Limited::new(body, bytes_max).collect();
    let Ok(collected) = tokio::time::timeout(patience, collected).await else {
        return Err(ApiError::Slow(patience.as_secs()));
    };
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            Err(ApiError::TooLarge(bytes_max))
        }
        Err(_) => Err(ApiError::BadRequest("the request body ended early".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use futures_util::stream;

    #[tokio::test]
    async fn a_body_that_stalls_is_given_up() {
        let stalled = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let error = collect(stalled, 10, Duration::ZERO).await.unwrap_err();
        assert_eq!(error.status(), 408);
    }

    #[test]
    fn only_printable_request_ids_are_kept() {
        let read = |id: &str| {
            let id = http::HeaderValue::from_str(id).unwrap();
            client_request_id(&HeaderMap::from_iter([(REQUEST_ID, id)]))
        };
        assert_eq!(read("a-1"), Some("a-1".to_owned()));
        for id in ["", "a b", &"a".repeat(129)] {
            assert_eq!(read(id), None, "{id}");
        }
    }
}
