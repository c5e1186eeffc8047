//! Where certificates and keys of `acme` are kept.

use super::NAME;
use crate::domain::kinds::typedef::{self, text};
use crate::domain::schema::{Check, Field, Match, Shorthand};
use crate::plugins::typedef::{is_memory_zone, redis_fields, renamed};

/// Returns the field that chooses a storage.
pub(super) fn name() -> Field {
    Field::string().default("shm").one_of(["kong", "shm", "redis", "consul", "vault"])
}

/// Returns the field with the settings of each storage.
pub(super) fn config() -> Field {
    let zone = text(|name| {
        is_memory_zone(name).then_some(()).ok_or_else(|| format!("failed validating: {name}"))
    });
    Field::record([
        ("shm", Field::record([("shm_name", zone.default("kong"))])),
        ("kong", Field::record([])),
        ("redis", redis()),
        ("consul", Field::record(server())),
        ("vault", vault()),
    ])
}

/// Returns what a redis storage cannot do without.
pub(super) fn checks() -> [Check; 2] {
    ["config.storage_config.redis.host", "config.storage_config.redis.port"].map(|field| {
        Check::conditional("config.storage", Match::eq("redis"), field, Match::required())
    })
}

/// What a Consul and a Vault have in common.
fn server() -> [(&'static str, Field); 6] {
    [
        ("https", Field::boolean().default(false)),
        ("host", typedef::host()),
        ("port", typedef::port()),
        ("kv_path", Field::string()),
        ("timeout", Field::number()),
        ("token", Field::string().referenceable()),
    ]
}

fn vault() -> Field {
    let methods = ["token", "kubernetes"];
    Field::record(server().into_iter().chain([
        ("tls_verify", Field::boolean().default(true)),
        ("tls_server_name", Field::string()),
        ("auth_method", Field::string().default("token").one_of(methods)),
        ("auth_path", Field::string()),
        ("auth_role", Field::string()),
        ("jwt_path", Field::string()),
    ]))
}

fn redis() -> Field {
    let extra = Field::record([
        ("namespace", Field::string().required().default("").len_min(0).custom(namespace)),
        ("scan_count", Field::number().optional().default(10)),
    ]);
    let redis = Field::record(redis_fields().into_iter().chain([("extra_options", extra)]));
    type Path = &'static [&'static str];
    let old: [(&str, Field, Path); 4] = [
        ("auth", Field::string().len_min(0), &["password"]),
        ("ssl_server_name", Field::string(), &["server_name"]),
        ("namespace", Field::string().len_min(0), &["extra_options", "namespace"]),
        ("scan_count", Field::integer(), &["extra_options", "scan_count"]),
    ];
    old.into_iter().fold(redis, |redis, (name, field, path)| {
        let place = |name: &str| format!("storage_config.redis.{name}");
        let message = renamed(NAME, &place(name), &place(&path.join(".")));
        redis.shorthand(Shorthand::renamed(name, field, path, message))
    })
}

/// A namespace must not look like the keys that the plugin itself uses.
fn namespace(value: &serde_json::Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let reserved = ["kong_acme:renew_config:", "kong_acme:renew_last_run", "kong_acme:cert_key:"];
    match reserved.iter().find(|word| text.starts_with(**word)) {
        Some(word) => Err(format!("namespace can't be prefixed with reserved word: {word}")),
        None => Ok(()),
    }
}
