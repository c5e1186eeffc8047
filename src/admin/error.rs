//! Errors as HTTP: the one place where a refusal gets its status and body
//! (reference gateway-2, section B.3).

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::auth::Denied;
use super::store::StoreError;
use super::{etag, reply};
use crate::domain::hash::ConfigHash;
use crate::domain::rejection::{FieldErrors, Rejection};
use crate::domain::shrink::Shrink;
use crate::log::checkpoint::Archived;
use crate::writer::Oversize;

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The domain refused the write.
    #[error("{}", .0.message())]
    Rejected(Rejection),
    /// A query argument is wrong: Kong's code, name and text, and the options in error.
    #[error("{message}")]
    Argument {
        /// Kong's code.
        code: u8,
        /// Kong's name of the error.
        name: &'static str,
        /// What is wrong.
        message: String,
        /// What is wrong, argument by argument.
        options: Option<Value>,
    },
    /// A name in the path breaks the rules of its field.
    #[error("{message}")]
    InvalidName {
        /// The unique field that the path is about.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
    /// Nothing is at this path.
    #[error("Not found")]
    NotFound,
    /// What the request speaks of is not there.
    #[error("{0}")]
    Missing(String),
    /// What the request speaks of was moved to an archive.
    #[error("{0}")]
    Gone(Box<Archived>),
    /// The path does not know this method.
    #[error("Method not allowed")]
    MethodNotAllowed,
    /// The write is wanted on another config than the one in force.
    #[error("the configuration has changed: it is {current} now")]
    Stale {
        /// The config in force.
        current: ConfigHash,
    },
    /// The write would take away too much.
    #[error(
        "this would remove {0}: say force=1 in the query, or X-Change-Force: 1, if it is meant"
    )]
    Shrinks(Shrink),
    /// It would not fit into a message to data planes.
    #[error("{0}")]
    Oversize(Oversize),
    /// The write is wanted only where nothing is yet.
    #[error("what the path names exists already")]
    Present,
    /// An operation of a batch was refused, and with it the batch.
    #[error("{error}")]
    Operation {
        /// What names the operation.
        operation: Value,
        /// Why it was refused.
        error: Box<Self>,
    },
    /// The node refuses it by its nature, such as a write without a database.
    #[error("{message}")]
    Unsupported {
        /// What it does not do.
        message: String,
        /// Kong's code, if it has one.
        code: Option<u8>,
    },
    /// The request cannot be read, or cannot be served by this node.
    #[error("{0}")]
    BadRequest(String),
    /// The body is of a type that is not read.
    #[error(
        "unsupported Content-Type: expected application/json, application/x-www-form-urlencoded \
         or multipart/form-data"
    )]
    UnsupportedMedia,
    /// The body is larger than this many bytes.
    #[error("request body too large: at most {0} bytes are accepted")]
    TooLarge(usize),
    /// The body did not arrive within this many seconds.
    #[error("the request body did not arrive within {0} seconds")]
    Slow(u64),
    /// The caller is not known, or may not do this.
    #[error("{0}")]
    Denied(Denied),
    /// The log cannot be used now.
    #[error("{0}")]
    Unavailable(#[source] StoreError),
    /// A bug.
    #[error("An unexpected error occurred")]
    Unexpected,
}

impl ApiError {
    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Rejected(Rejection::NotUnique(_)) | Self::Shrinks(_) => StatusCode::CONFLICT,
            Self::Rejected(Rejection::NotFound(_)) | Self::NotFound | Self::Missing(_) => {
                StatusCode::NOT_FOUND
            }
            Self::Rejected(_)
            | Self::Argument { .. }
            | Self::InvalidName { .. }
            | Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Gone(_) => StatusCode::GONE,
            Self::MethodNotAllowed | Self::Unsupported { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Operation { error, .. } => error.status(),
            Self::Stale { .. } | Self::Present => StatusCode::PRECONDITION_FAILED,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) | Self::Oversize(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Denied(denied) => denied.status(),
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unexpected => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the body: `message`, and what Kong has beside it.
    pub fn body(&self) -> Value {
        let message = self.to_string();
        match self {
            Self::Rejected(rejection) => {
                let mut body = json!({
                    "code": rejection.code(), "name": rejection.name(), "message": message,
                });
                let details = match rejection {
                    Rejection::Option { .. } => "options",
                    _ => "fields",
                };
                let fields = rejection.fields();
                if let (Value::Object(body), false) = (&mut body, fields.is_null()) {
                    body.insert(details.into(), fields);
                }
                body
            }
            Self::Argument { code, name, options: Some(options), .. } => {
                json!({"code": code, "name": name, "message": message, "options": options})
            }
            Self::Argument { code, name, .. } => {
                json!({"code": code, "name": name, "message": message})
            }
            Self::InvalidName { field, .. } => {
                let name = format!("invalid unique {field}");
                json!({"code": 10, "name": name, "message": message})
            }
            Self::Operation { operation, error } => {
                let mut body = error.body();
                body["operation"] = operation.clone();
                body
            }
            Self::Stale { current } => json!({
                "name": "precondition failed",
                "message": message,
                "config_hash": current,
            }),
            Self::Shrinks(shrink) => json!({
                "name": "shrink refused",
                "message": message,
                "shrinks": shrink.to_json(),
            }),
            Self::Gone(archived) => json!({
                "name": "archived",
                "message": message,
                "archive": archived.archive,
                "first": archived.first,
                "last": archived.last,
                "oldest": archived.oldest,
            }),
            Self::Present => json!({"name": "precondition failed", "message": message}),
            Self::Unsupported { code: Some(code), .. } => {
                json!({"code": code, "name": "operation unsupported", "message": message})
            }
            _ => json!({"message": message}),
        }
    }

    /// Returns the error of a page size.
    pub(super) fn size(message: &str) -> Self {
        let message = message.to_owned();
        Self::Argument { code: 9, name: "invalid size", message, options: None }
    }

    /// Returns the error of a page's offset.
    pub(super) fn offset(offset: &str, why: &str) -> Self {
        let message = format!("'{offset}' is not a valid offset: {why}");
        Self::Argument { code: 7, name: "invalid offset", message, options: None }
    }

    /// Returns the error of an option.
    pub(super) fn option(option: &str, why: &str) -> Self {
        Self::Argument {
            code: 11,
            name: "invalid options",
            message: format!("invalid option ({option}: {why})"),
            options: Some(json!({option: why})),
        }
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<FieldErrors> for ApiError {
    fn from(errors: FieldErrors) -> Self {
        Self::Rejected(errors.into())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Unavailable(cause) = &self {
            cause.log();
        }
        let mut response = reply::json(self.status(), &self.body());
        if let Self::Denied(denied) = &self {
            denied.mark(response.headers_mut());
        }
        match self {
            Self::Stale { current } => etag::tag(response, current),
            _ => response,
        }
    }
}
