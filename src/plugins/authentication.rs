//! What plugins that authenticate have in common: who is calling, and what the upstream is told
//! (reference gateway-4, section G).

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::directory::{Caller, Credential};
use super::exchange::Exchange;
use super::reply::Reply;
use super::{Flow, Scope};
use crate::headers::Headers;

const CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");
const CONSUMER_CUSTOM_ID: HeaderName = HeaderName::from_static("x-consumer-custom-id");
const CONSUMER_USERNAME: HeaderName = HeaderName::from_static("x-consumer-username");
const CREDENTIAL_IDENTIFIER: HeaderName = HeaderName::from_static("x-credential-identifier");
const ANONYMOUS_CONSUMER: HeaderName = HeaderName::from_static("x-anonymous-consumer");

/// Makes `caller` the consumer of this exchange and tells the upstream.
pub fn admit(exchange: &mut Exchange, caller: Arc<Caller>, credential: Option<Arc<Credential>>) {
    let headers = &mut exchange.request.headers;
    set(headers, CONSUMER_ID, Some(caller.id.clone()));
    set(headers, CONSUMER_CUSTOM_ID, caller.custom_id.clone());
    set(headers, CONSUMER_USERNAME, caller.username.clone());
    set(headers, CREDENTIAL_IDENTIFIER, credential.as_ref().map(|found| found.identifier.clone()));
    let anonymous = credential.is_none().then(|| HeaderValue::from_static("true"));
    set(headers, ANONYMOUS_CONSUMER, anonymous);
    exchange.caller = Some(caller);
    exchange.credential = credential;
}

/// Sets a header, or takes away what the client sent of it.
fn set(headers: &mut Headers, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => headers.insert(name, value),
        None => drop(headers.remove(name)),
    }
}

/// Ends a failed authentication: the anonymous consumer if one is configured, else the refusal.
pub fn refuse(
    exchange: &mut Exchange,
    scope: Scope<'_>,
    anonymous: Option<&str>,
    refusal: impl FnOnce() -> Reply,
) -> Flow {
    let Some(name) = anonymous else { return Flow::Respond(Box::new(refusal())) };
    match scope.directory.caller_named(name) {
        Some(caller) => {
            admit(exchange, caller.clone(), None);
            Flow::Continue
        }
        None => {
            let message = format!("the anonymous consumer '{name}' does not exist");
            Flow::Respond(Box::new(Reply::error(StatusCode::INTERNAL_SERVER_ERROR, message)))
        }
    }
}

/// Makes the refusal that asks for credentials by `challenge`.
pub fn unauthorized(message: &'static str, challenge: &HeaderValue) -> Reply {
    Reply::error(StatusCode::UNAUTHORIZED, message)
        .header(header::WWW_AUTHENTICATE, challenge.clone())
}

/// Returns the challenge of a scheme, with the realm if there is one.
pub fn challenge(scheme: &str, realm: Option<&str>) -> Option<HeaderValue> {
    match realm {
        None => HeaderValue::from_str(scheme).ok(),
        Some(realm) => HeaderValue::from_str(&format!("{scheme} realm=\"{realm}\"")).ok(),
    }
}
