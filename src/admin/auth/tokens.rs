//! `/admin-tokens`: tokens made, listed and revoked over HTTP, by administrators.

use std::str::FromStr;

use axum::response::Response;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::Denied;
use super::directory::Directory;
use crate::admin::body::Body;
use crate::admin::call::Call;
use crate::admin::error::ApiError;
use crate::admin::store::StoreError;
use crate::admin::{Admin, reply};
use crate::domain::rejection::{FieldErrors, Rejection};
use crate::log::StorageError;
use crate::log::tokens::{self, CreateTokenError, Expiry, Token, Wanted};

/// The paths, as `/endpoints` shows them.
pub(in crate::admin) const PATTERNS: [&str; 2] = ["/admin-tokens", "/admin-tokens/{admin_tokens}"];

/// What a path below `/admin-tokens` names.
pub(in crate::admin) enum TokenPlace {
    /// All tokens.
    All,
    /// One, by its id or name.
    One(String),
}

impl TokenPlace {
    /// Resolves a raw path; a trailing slash is tolerated.
    pub(in crate::admin) fn resolve(path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let below = path.strip_prefix(PATTERNS[0])?;
        if below.is_empty() {
            return Some(Self::All);
        }
        let named = percent_decode_str(below.strip_prefix('/')?).decode_utf8().ok()?;
        (!named.is_empty() && !named.contains('/')).then(|| Self::One(named.into_owned()))
    }

    /// Returns the methods that the place knows, sorted.
    pub(in crate::admin) fn methods(&self) -> &'static str {
        match self {
            Self::All => "GET, HEAD, OPTIONS, POST",
            Self::One(_) => "DELETE, GET, HEAD, OPTIONS",
        }
    }
}

/// Answers a request of an administrator.
pub(in crate::admin) async fn answer(
    admin: &Admin,
    call: &Call,
    place: TokenPlace,
) -> Result<Response, ApiError> {
    let directory = admin.0.auth.directory().map_err(ApiError::Denied)?;
    match (&call.method, place) {
        (&Method::POST, TokenPlace::All) => create(admin, directory, call).await,
        (_, TokenPlace::All) => {
            let tokens = directory.list().await.map_err(unavailable)?;
            let data: Vec<_> = tokens.iter().map(|token| Value::Object(describe(token))).collect();
            Ok(reply::json(StatusCode::OK, &json!({"data": data, "next": null})))
        }
        (&Method::DELETE, TokenPlace::One(named)) => {
            let id = find(directory, &named).await?.id;
            let now = admin.0.clock.now();
            directory.revoke(id, now, &call.caller.actor).await.map_err(unavailable)?;
            tracing::warn!(%id, actor = call.caller.actor, "an admin token was revoked");
            Ok(reply::empty(StatusCode::NO_CONTENT))
        }
        (_, TokenPlace::One(named)) => {
            let token = find(directory, &named).await?;
            Ok(reply::json(StatusCode::OK, &Value::Object(describe(&token))))
        }
    }
}

async fn create(admin: &Admin, directory: &Directory, call: &Call) -> Result<Response, ApiError> {
    let now = admin.0.clock.now();
    let wanted = read(Body::read(call)?.into_plain(), now)?;
    let made = wanted.make(admin.0.clock.id(), now, call.caller.actor.clone());
    let (token, secret) = made.map_err(|error| {
        tracing::error!(%error, "cannot make an admin token");
        ApiError::Unexpected
    })?;
    directory.create(&token).await.map_err(|error| match error {
        CreateTokenError::NameTaken => {
            let name = Map::from_iter([("name".to_owned(), token.name.as_str().into())]);
            Rejection::NotUnique(name).into()
        }
        CreateTokenError::Storage(error) => unavailable(error),
    })?;
    tracing::warn!(
        id = %token.id, name = %token.name, role = %token.role, actor = call.caller.actor,
        "an admin token was made"
    );
    let mut shown = describe(&token);
    shown.insert("token".to_owned(), secret.reveal().into());
    Ok(reply::json(StatusCode::CREATED, &Value::Object(shown)))
}

/// Reads what a token is to be: `name`, `role`, and `expires` as the command line takes it.
fn read(
    body: Map<String, Value>,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Wanted, FieldErrors> {
    let (mut name, mut role, mut expires_at) = (None, None, None);
    let mut errors = FieldErrors::default();
    for (field, value) in &body {
        let text = value.as_str().unwrap_or_default();
        let wrong = match (field.as_str(), value) {
            ("expires", Value::Null) => None,
            ("name" | "role" | "expires", value) if !value.is_string() => {
                Some("expected a string".to_owned())
            }
            ("name", _) => take(&mut name, text),
            ("role", _) => take(&mut role, text),
            ("expires", _) => match text.parse::<Expiry>() {
                Ok(expiry) => {
                    expires_at = expiry.from(now);
                    expires_at.is_none().then(|| "must be in the future".to_owned())
                }
                Err(error) => Some(error.to_string()),
            },
            _ => Some("unknown field".to_owned()),
        };
        if let Some(wrong) = wrong {
            errors.insert(field, wrong.into());
        }
    }
    for (field, is_there) in [("name", name.is_some()), ("role", role.is_some())] {
        if !is_there {
            errors.insert(field, "required field missing".into());
        }
    }
    match (name, role, errors.into_result()) {
        (Some(name), Some(role), Ok(())) => Ok(Wanted { name, role, expires_at }),
        (_, _, errors) => Err(errors.err().unwrap_or_default()),
    }
}

/// Reads a value into its place, or says what was expected of it.
fn take<T: FromStr<Err: ToString>>(place: &mut Option<T>, text: &str) -> Option<String> {
    text.parse().map(|value| *place = Some(value)).err().map(|error| error.to_string())
}

/// Finds a token by its id, or the one in use by its name.
async fn find(directory: &Directory, named: &str) -> Result<Token, ApiError> {
    let tokens = directory.list().await.map_err(unavailable)?;
    tokens::find(tokens, named).ok_or(ApiError::NotFound)
}

/// Returns what is told of a token: all but its hash.
pub fn describe(token: &Token) -> Map<String, Value> {
    let shown = json!({
        "id": token.id,
        "name": token.name.as_str(),
        "role": token.role.name(),
        "created_at": token.created_at.timestamp(),
        "created_by": token.created_by,
        "expires_at": token.expires_at.map(|at| at.timestamp()),
        "revoked_at": token.revoked.as_ref().map(|(at, _)| at.timestamp()),
        "revoked_by": token.revoked.as_ref().map(|(_, by)| by),
    });
    match shown {
        Value::Object(shown) => shown,
        _ => Map::new(),
    }
}

fn unavailable(error: StorageError) -> ApiError {
    StoreError::Read(error).into()
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}
