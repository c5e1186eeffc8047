//! What holds for every plugin, and how tests run one.

use std::sync::Arc;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::catalog::{Catalog, PluginSchema, UnsupportedPlugins};
use crate::domain::decide::{Fresh, make};
use crate::domain::declarative;
use crate::domain::kinds::decodes;
use crate::domain::kinds::plugin;
use crate::domain::kinds::tests::{fill, fill_all};
use crate::domain::rejection::{FieldErrors, Rejection};
use crate::domain::schema::{Type, UnknownNull};

/// Builds a global plugin instance.
pub(crate) fn build_plugin(kind: &PluginKind, config: &Value) -> Arc<dyn Plugin> {
    build_scoped(kind, config, &json!({})).unwrap()
}

/// Builds a plugin instance whose entity has more fields.
pub(crate) fn build_scoped(
    kind: &PluginKind,
    config: &Value,
    fields: &Value,
) -> Result<Arc<dyn Plugin>, BuildError> {
    let mut document = json!({
        "id": Uuid::from_u128(77), "created_at": 1, "updated_at": 1, "name": kind.name,
        "config": config, "protocols": ["http"], "enabled": true,
    });
    document.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let entity = serde_json::from_str(&document.to_string()).unwrap();
    let state = PluginState::default();
    (kind.handler.as_ref().unwrap().build)(BuildInput {
        entity: &entity,
        state: &state,
        clock: &Clock::System,
    })
}

/// Completes a config as a write does and returns it, or what is wrong with it.
fn settle(kind: &PluginKind, config: Value) -> Result<Value, FieldErrors> {
    let catalog = Catalog::new(vec![kind.schema()]);
    let document = json!({"name": kind.name, "config": config, "enabled": false});
    let mut fresh = Fresh { at: Clock::System.now(), id: &mut || Uuid::from_u128(77) };
    match make(&catalog, plugin::KIND, document.as_object().unwrap().clone(), &mut fresh) {
        Ok(entity) => Ok(entity.document()["config"].take()),
        Err(Rejection::Schema(errors)) => Err(errors),
        Err(other) => panic!("{other:?}"),
    }
}

/// Returns a config as a write completes it.
pub(crate) fn completed(kind: &PluginKind, config: Value) -> Value {
    settle(kind, config).unwrap()
}

/// Asserts that configs are valid.
pub(crate) fn accepts(kind: &PluginKind, configs: &[Value]) {
    for config in configs {
        let errors = settle(kind, config.clone()).err();
        assert_eq!(errors, None, "{}: {config}", kind.name);
    }
}

/// Asserts that configs are refused, and with which errors.
pub(crate) fn refuses(kind: &PluginKind, cases: &[(Value, Value)]) {
    for (config, errors) in cases {
        let found = settle(kind, config.clone()).err().and_then(FieldErrors::into_value);
        assert_eq!(found.as_ref(), Some(errors), "{}: {config}", kind.name);
    }
}

/// Returns a scope without route and service.
pub(crate) fn scope(directory: &Directory) -> Scope<'_> {
    Scope { directory, route: None, service: None }
}

/// Runs the access phase; what waits must be ready at once.
pub(crate) fn run_access(
    plugin: &dyn Plugin,
    exchange: &mut Exchange,
    scope: Scope<'_>,
) -> Option<Reply> {
    let flow = match plugin.access(exchange, scope) {
        Step::Done(flow) => flow,
        Step::Later(future) => future.now_or_never().expect("nothing to wait for"),
    };
    match flow {
        Flow::Continue => None,
        Flow::Respond(reply) => Some(*reply),
    }
}

fn handled() -> impl Iterator<Item = (&'static PluginKind, &'static Handler)> {
    ALL.iter().filter_map(|kind| Some((kind, kind.handler.as_ref()?)))
}

fn config_fields(schema: &PluginSchema) -> &crate::domain::schema::Fields {
    match &schema.config.ty {
        Type::Record(fields) => fields,
        _ => panic!("config is a record"),
    }
}

#[test]
fn plugins_are_sorted_as_they_run() {
    // Of equal priority the last name goes first, as Kong sorts them.
    let order = |kind: &PluginKind| std::cmp::Reverse((kind.priority, kind.name));
    assert!(ALL.is_sorted_by_key(order));
}

#[test]
fn every_field_of_every_plugin_reads_into_its_struct() {
    for (kind, handler) in handled() {
        let schema = kind.schema();
        let whole = fill(&schema.config);
        (handler.check)(&whole.to_string()).unwrap_or_else(|e| panic!("{}: {e}", kind.name));
        let mut required = whole.as_object().unwrap().clone();
        for (name, field) in config_fields(&schema).iter() {
            if !field.required {
                required.remove(name);
            }
        }
        let required = Value::Object(required);
        (handler.check)(&required.to_string()).unwrap_or_else(|e| panic!("{}: {e}", kind.name));
        let mut unknown = required;
        unknown["no_such_field"] = json!(1);
        assert!((handler.check)(&unknown.to_string()).is_err(), "{}", kind.name);
    }
}

#[test]
fn defaults_are_valid_and_build() {
    let catalog = catalog(|_| true);
    for (kind, _) in handled() {
        let mut document = json!({"id": Uuid::from_u128(1), "name": kind.name});
        let document = document.as_object_mut().unwrap();
        if kind.name == "rate-limiting" {
            document.insert("config".into(), json!({"minute": 5}));
        }
        catalog.complete(crate::domain::kinds::plugin::KIND, document).unwrap();
        let check = crate::domain::schema::check_value;
        let schema = kind.schema();
        assert_eq!(check(&schema.config, &document["config"], UnknownNull::Refuse), None);
        build_plugin(kind, &document["config"]);
    }
}

#[test]
fn what_nothing_can_run_is_refused_unless_it_is_asked_to_be_stored() {
    let tree = |enabled: bool| {
        let lua = json!({"name": "pre-function", "enabled": enabled, "config": {"log": ["f()"]}});
        json!({"_format_version": "3.0", "plugins": [lua]})
    };
    let parse = |catalog: &Catalog, tree: &Value| {
        let mut fresh = Fresh { at: Clock::System.now(), id: &mut || Uuid::from_u128(77) };
        declarative::parse(catalog, tree, &mut fresh)
    };
    let text = "this version has no handler for plugin 'pre-function': it can be stored with \
        'enabled' set to false, or with unsupported_plugins = store";

    let refusing = catalog(|_| true);
    let refused = parse(&refusing, &tree(true)).unwrap_err();
    assert_eq!(refused.fields()["plugins"][0]["name"], text);
    let disabled = parse(&refusing, &tree(false)).unwrap();
    assert_eq!(refusing.unhandled(plugin::KIND, &disabled[0].document()), None);
    assert!(!refusing.usable_plugins().any(|plugin| plugin.name == "pre-function"));

    let storing = catalog(|_| true).unsupported_plugins(UnsupportedPlugins::Store);
    let stored = parse(&storing, &tree(true)).unwrap();
    let document = stored[0].document();
    assert_eq!(storing.unhandled(plugin::KIND, &document), Some("pre-function"));
    assert!(storing.usable_plugins().any(|plugin| plugin.name == "pre-function"));
    // A data plane takes it, whatever it would say to a user.
    refusing.validate_received(plugin::KIND, &document).unwrap();
}

#[test]
fn every_credential_reads() {
    for (kind, handler) in handled() {
        let schemas = kind.schema().kinds;
        for credential in handler.credentials {
            let schema = schemas.iter().find(|schema| schema.kind == credential.kind).unwrap();
            let entity = Entity::new(credential.kind, &fill_all(&schema.fields)).unwrap();
            (credential.read)(&entity).unwrap();
        }
    }
}

/// Reads an entity into the struct of its kind.
type Check = fn(&Entity) -> Result<(), EntityError>;

/// What the data plane reads the kinds of plugins into.
const STRUCTS: &[(&str, Check)] = &[
    ("acls", decodes::<acl::kind::Membership>),
    ("acme_storage", decodes::<acme::kind::Stored>),
    ("basicauth_credentials", decodes::<basic_auth::kind::BasicCredential>),
    ("hmacauth_credentials", decodes::<hmac_auth::kind::HmacCredential>),
    ("jwt_secrets", decodes::<jwt::kind::JwtSecret>),
    ("keyauth_credentials", decodes::<key_auth::KeyCredential>),
    ("oauth2_authorization_codes", decodes::<oauth2::kind::Code>),
    ("oauth2_credentials", decodes::<oauth2::kind::Client>),
    ("oauth2_tokens", decodes::<oauth2::kind::Token>),
    ("sessions", decodes::<session::kind::Session>),
];

#[test]
fn every_field_of_every_kind_reads_into_its_struct() {
    let schemas: Vec<_> = ALL.iter().flat_map(|kind| kind.schema().kinds).collect();
    assert_eq!(schemas.len(), STRUCTS.len());
    for schema in schemas {
        let (_, check) = STRUCTS.iter().find(|(name, _)| *name == schema.kind.name()).unwrap();
        let mut document = fill_all(&schema.fields);
        let read = |document: &_| check(&Entity::new(schema.kind, document).unwrap());
        read(&document).unwrap_or_else(|error| panic!("{error:?}"));
        document.insert("no_such_field".into(), json!(1));
        assert!(read(&document).is_err(), "{} reads unknown fields", schema.kind);
        document.remove("no_such_field");
        for (name, field) in schema.fields.iter() {
            if !field.required && field.auto.is_none() {
                document.remove(name);
            }
        }
        read(&document).unwrap_or_else(|error| panic!("{error:?}"));
    }
}

#[test]
fn consumers_hold_their_credentials_in_declared_files() {
    let tree = json!({
        "_format_version": "3.0",
        "consumers": [{
            "username": "c",
            "keyauth_credentials": [{"key": "k", "ttl": 60}],
            "basicauth_credentials": [{"username": "u", "password": "hush"}],
            "jwt_secrets": [{"key": "j", "secret": "s"}],
            "acls": [{"group": "g"}, {"group": "h"}],
            "hmacauth_credentials": [{"username": "u", "secret": "s"}],
            "oauth2_credentials": [{
                "name": "n", "client_id": "i", "client_secret": "hush", "hash_secret": true,
                "oauth2_tokens": [{"access_token": "t", "expires_in": 60}],
            }],
        }],
    });
    let catalog = catalog(|_| true);
    let mut id = || Clock::System.id();
    let mut fresh = crate::domain::decide::Fresh { at: Clock::System.now(), id: &mut id };
    let mut read = |tree: &Value| {
        let entities = crate::domain::declarative::parse(&catalog, tree, &mut fresh);
        let entities = entities.unwrap_or_else(|error| panic!("{}", error.message()));
        crate::domain::decide::assemble(&catalog, entities).unwrap()
    };
    let config = read(&tree);
    assert_eq!(config.len(), 9);
    let one = |kind| config.of_kind(kind, None).next().unwrap().document();
    let consumer = one(crate::domain::kinds::consumer::KIND);
    let basic = one(basic_auth::kind::KIND);
    let owner = consumer["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(basic["password"], basic_auth::kind::hash("hush", owner));
    let client = one(oauth2::kind::CREDENTIALS);
    assert!(oauth2::secret::matches("hush", client["client_secret"].as_str().unwrap()));
    assert_eq!(read(&crate::domain::declarative::export(&catalog, &config)), config);
}
