//! `key-auth`: a key in a header, the query or the body tells who is calling
//! (reference gateway-4, sections F.2 and G).

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;
use uuid::Uuid;

use super::authentication::{admit, challenge, refuse, unauthorized};
use super::directory::{Credential, id_value};
use super::exchange::Exchange;
use super::typedef::{credential, flag};
use super::{
    BuildError, BuildInput, CredentialKind, Flow, Handler, Phases, Plugin, PluginKind, Scope, Step,
};
use crate::domain::catalog::PluginSchema;
use crate::domain::entity::{Entity, EntityError, Kind};
use crate::domain::kinds::{Reference, typedef};
use crate::domain::schema::{Auto, Field, Schema};
use form::{Arguments, Form};

mod form;

/// The kind of its credentials.
pub const CREDENTIALS: Kind = Kind::new("keyauth_credentials");

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("key-auth", 1250, schema).handled(Handler {
    check: super::reads::<Config>,
    build,
    credentials: &[CredentialKind { kind: CREDENTIALS, read }],
});

/// What a `key-auth` plugin is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The names under which a key may be sent.
    pub key_names: Vec<String>,
    /// Whether the key is taken out of the request.
    pub hide_credentials: bool,
    /// The id or username of the consumer that those without a key become.
    pub anonymous: Option<String>,
    /// Whether keys are looked for in headers.
    pub key_in_header: bool,
    /// Whether keys are looked for in the query.
    pub key_in_query: bool,
    /// Whether keys are looked for in the body.
    pub key_in_body: bool,
    /// Whether `OPTIONS` requests need a key.
    pub run_on_preflight: bool,
    /// What the challenge names.
    pub realm: Option<String>,
}

/// A key of a consumer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCredential {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Whose key it is.
    pub consumer: Reference,
    /// The key.
    pub key: String,
    /// How many seconds after its creation it is accepted; 0 is for ever.
    pub ttl: Option<i64>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

fn schema() -> PluginSchema {
    let config = Field::record([
        (
            "key_names",
            Field::array(typedef::header_name()).required().default(serde_json::json!(["apikey"])),
        ),
        ("hide_credentials", flag(false)),
        ("anonymous", Field::string()),
        ("key_in_header", flag(true)),
        ("key_in_query", flag(true)),
        ("key_in_body", flag(false)),
        ("run_on_preflight", flag(true)),
        ("realm", Field::string().optional()),
    ]);
    KIND.describe(config).field("consumer", typedef::no_consumer()).kind(credential_schema())
}

fn credential_schema() -> Schema {
    credential(CREDENTIALS, ("key-auths", "key-auth"), &["key"])
        .field("key", Field::string().optional().unique().auto(Auto::Secret))
        .field("tags", typedef::tags())
        .ttl()
}

fn read(entity: &Entity) -> Result<Credential, EntityError> {
    let key: KeyCredential = entity.decode()?;
    let expires_at = key.ttl.filter(|ttl| *ttl > 0).map(|ttl| key.created_at.saturating_add(ttl));
    Ok(Credential {
        id: key.id,
        consumer: key.consumer.id,
        key: key.key.into(),
        expires_at,
        identifier: id_value(key.id),
    })
}

struct KeyAuth {
    names: Vec<(String, HeaderName)>,
    config: Config,
    challenge: HeaderValue,
}

fn build(input: BuildInput<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = input.config()?;
    let name = |name: &String| match HeaderName::try_from(name) {
        Ok(header) => Ok((name.clone(), header)),
        Err(_) => Err(BuildError::Field {
            field: "key_names",
            reason: format!("expected names of headers, got '{name}'"),
        }),
    };
    let names = config.key_names.iter().map(name).collect::<Result<_, _>>()?;
    let challenge = challenge("Key", config.realm.as_deref()).ok_or(BuildError::Field {
        field: "realm",
        reason: "expected text that fits into a header".into(),
    })?;
    Ok(Arc::new(KeyAuth { names, config, challenge }))
}

/// How much of a body is read to find a key in it, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Where a key was found.
enum Found {
    Nothing,
    /// More than one key under one name.
    Several,
    Key(String),
}

impl Plugin for KeyAuth {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, exchange: &'a mut Exchange, scope: Scope<'a>) -> Step<'a> {
        if !self.config.run_on_preflight && exchange.request.method == Method::OPTIONS {
            return Step::NEXT;
        }
        // With an anonymous consumer any one of several plugins is enough.
        if self.config.anonymous.is_some() && exchange.credential.is_some() {
            return Step::NEXT;
        }
        if self.config.key_in_body && !http_body::Body::is_end_stream(&exchange.body) {
            return Step::Later(Box::pin(async move {
                let form = match exchange.body.buffer(BODY_BYTES_MAX).await {
                    Ok(Some(bytes)) => Form::read(exchange.header("content-type"), bytes),
                    // A body that breaks off is the proxy's to answer.
                    Ok(None) | Err(_) => None,
                };
                self.decide(exchange, scope, form)
            }));
        }
        Step::Done(self.decide(exchange, scope, None))
    }
}

impl KeyAuth {
    fn decide(&self, exchange: &mut Exchange, scope: Scope<'_>, form: Option<Form>) -> Flow {
        match self.authenticate(exchange, scope, form) {
            Ok(()) => Flow::Continue,
            Err(message) => refuse(exchange, scope, self.config.anonymous.as_deref(), || {
                unauthorized(message, &self.challenge)
            }),
        }
    }

    fn authenticate(
        &self,
        exchange: &mut Exchange,
        scope: Scope<'_>,
        form: Option<Form>,
    ) -> Result<(), &'static str> {
        let (name, found) = self.find(exchange, form.as_ref());
        let key = match found {
            Found::Nothing => return Err("No API key found in request"),
            Found::Several => return Err("Duplicate API key found"),
            Found::Key(key) if key.is_empty() => return Err("No API key found in request"),
            Found::Key(key) => key,
        };
        if let (true, Some((name, header))) = (self.config.hide_credentials, name) {
            hide(exchange, name, header, form);
        }
        let credential = scope.directory.credential(CREDENTIALS, &key).filter(|credential| {
            credential.expires_at.is_none_or(|end| exchange.times.started_ms / 1000 < end)
        });
        let caller = credential.and_then(|found| scope.directory.caller(found.consumer));
        let (Some(credential), Some(caller)) = (credential, caller) else {
            return Err("Unauthorized");
        };
        admit(exchange, caller.clone(), Some(credential.clone()));
        Ok(())
    }

    fn find(
        &self,
        exchange: &Exchange,
        form: Option<&Form>,
    ) -> (Option<&(String, HeaderName)>, Found) {
        for name in &self.names {
            let found = self.find_named(exchange, form, name);
            if !matches!(found, Found::Nothing) {
                return (Some(name), found);
            }
        }
        (None, Found::Nothing)
    }

    fn find_named(
        &self,
        exchange: &Exchange,
        form: Option<&Form>,
        (name, header): &(String, HeaderName),
    ) -> Found {
        if self.config.key_in_header {
            let mut values = exchange.request.headers.get_all(header);
            match (values.next(), values.next()) {
                (Some(_), Some(_)) => return Found::Several,
                (Some(value), None) => {
                    return Found::Key(String::from_utf8_lossy(value.as_bytes()).into_owned());
                }
                (None, _) => {}
            }
        }
        let query = self.config.key_in_query.then(|| exchange.query()).flatten();
        let found = query.map_or(Found::Nothing, |query| Arguments(query).find(name));
        match (found, form) {
            (Found::Nothing, Some(form)) => form.find(name),
            (found, _) => found,
        }
    }
}

/// Takes the key out of wherever a key of this name may stand.
fn hide(exchange: &mut Exchange, name: &str, header: &HeaderName, form: Option<Form>) {
    exchange.request.headers.remove(header);
    let without = exchange.query().and_then(|query| Arguments(query).without(name));
    if let Some(without) = without {
        exchange.replace_query((!without.is_empty()).then_some(without));
    }
    if let Some(bytes) = form.and_then(|form| form.without(name)) {
        // The length that the client gave is no longer true.
        exchange.request.headers.remove(http::header::CONTENT_LENGTH);
        exchange.body = super::body::RequestBody::Bytes(bytes);
    }
}

#[cfg(test)]
mod tests;
