//! Upstreams: virtual hosts that balance over targets (reference gateway-1, section A.5).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Reference, certificate, typedef};
use crate::domain::canonical::Document;
use crate::domain::entity::Kind;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Auto, Check, Field, Match, OnDelete, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("upstreams");

/// An upstream as the data plane reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub updated_at: i64,
    /// Its unique name: what a service has as `host`.
    pub name: String,
    /// How a target is picked.
    pub algorithm: Option<String>,
    /// What is hashed.
    pub hash_on: Option<String>,
    /// What is hashed when the first is missing.
    pub hash_fallback: Option<String>,
    /// The header that is hashed.
    pub hash_on_header: Option<String>,
    /// The header that is hashed as fallback.
    pub hash_fallback_header: Option<String>,
    /// The cookie that is hashed, and set when missing.
    pub hash_on_cookie: Option<String>,
    /// The path of that cookie.
    pub hash_on_cookie_path: Option<String>,
    /// The query argument that is hashed.
    pub hash_on_query_arg: Option<String>,
    /// The query argument that is hashed as fallback.
    pub hash_fallback_query_arg: Option<String>,
    /// The regex capture that is hashed.
    pub hash_on_uri_capture: Option<String>,
    /// The regex capture that is hashed as fallback.
    pub hash_fallback_uri_capture: Option<String>,
    /// How many slots the ring has.
    pub slots: Option<u32>,
    /// What is checked, and what of traffic counts.
    pub healthchecks: Healthchecks,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The Host that goes upstream.
    pub host_header: Option<String>,
    /// What the targets are shown.
    pub client_certificate: Option<Reference>,
    /// Whether the name of an SRV record becomes the Host.
    pub use_srv_name: Option<bool>,
}

/// Health checks of an upstream.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Healthchecks {
    /// The percentage of weight that must be healthy.
    pub threshold: Option<f64>,
    /// Checks by requests of our own.
    pub active: ActiveChecks,
    /// Checks by what traffic shows.
    pub passive: PassiveChecks,
}

/// Checks by requests of our own. Times are seconds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveChecks {
    /// How to ask: `tcp`, `http`, `https`, `grpc` or `grpcs`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// How long one check may take.
    pub timeout: Option<f64>,
    /// How many checks run at once.
    pub concurrency: Option<u32>,
    /// The path asked for.
    pub http_path: Option<String>,
    /// The server name in the handshake.
    pub https_sni: Option<String>,
    /// Whether the certificate is verified.
    pub https_verify_certificate: bool,
    /// More headers of the check.
    #[serde(default)]
    pub headers: BTreeMap<String, Vec<String>>,
    /// How a peer is checked while healthy.
    pub healthy: Probe,
    /// How a peer is checked while unhealthy.
    pub unhealthy: Probe,
}

/// Checks by what traffic shows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassiveChecks {
    /// What traffic it is: `tcp`, `http`, `https`, `grpc` or `grpcs`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What counts as health.
    pub healthy: Probe,
    /// What counts as illness.
    pub unhealthy: Probe,
}

/// Thresholds; which fields are set depends on where it stands.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Seconds between checks; 0 is off.
    pub interval: Option<f64>,
    /// How many successes make a peer healthy.
    pub successes: Option<u32>,
    /// Which statuses count.
    pub http_statuses: Option<Vec<u16>>,
    /// How many refused or broken connections make a peer unhealthy.
    pub tcp_failures: Option<u32>,
    /// How many time-outs make a peer unhealthy.
    pub timeouts: Option<u32>,
    /// How many bad statuses make a peer unhealthy.
    pub http_failures: Option<u32>,
}

const HASHES: &[&str] =
    &["none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture"];

const ALGORITHMS: &[&str] = &["consistent-hashing", "least-connections", "round-robin", "latency"];

/// Returns the schema.
pub fn schema() -> Schema {
    let hash = || Field::string().default("none").one_of(HASHES.iter().copied());
    let name = || Field::string().len_min(1);
    let schema = Schema::new(KIND)
        .endpoint_key("name")
        .field("id", typedef::id())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("name", Field::string().required().unique().custom(host_name))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
        .field("algorithm", {
            Field::string().default("round-robin").one_of(ALGORITHMS.iter().copied())
        })
        .field("hash_on", hash())
        .field("hash_fallback", hash())
        .field("hash_on_header", typedef::header_name())
        .field("hash_fallback_header", typedef::header_name())
        .field("hash_on_cookie", typedef::cookie_name())
        .field("hash_on_cookie_path", typedef::path().default("/"))
        .field("hash_on_query_arg", name())
        .field("hash_fallback_query_arg", name())
        .field("hash_on_uri_capture", name())
        .field("hash_fallback_uri_capture", name())
        .field("slots", Field::integer().default(10000).between(10, 65536))
        .field("healthchecks", healthchecks())
        .field("tags", typedef::tags())
        .field("host_header", typedef::host_with_optional_port())
        .field("client_certificate", Field::foreign(certificate::KIND, OnDelete::Restrict))
        .field("use_srv_name", Field::boolean().default(false))
        .rewrite(settle_algorithm);
    companions(schema)
}

/// What a way of hashing asks of the other fields.
fn companions(mut schema: Schema) -> Schema {
    let needs = |if_field, pattern, then_field| {
        Check::conditional(if_field, Match::matches(pattern), then_field, Match::required())
    };
    let fallback = |pattern, allowed: &[&'static str]| {
        let allowed = Match::one_of(allowed.iter().copied());
        Check::conditional("hash_on", Match::matches(pattern), "hash_fallback", allowed)
    };
    for check in [
        needs("hash_on", "^header$", "hash_on_header"),
        needs("hash_fallback", "^header$", "hash_fallback_header"),
        needs("hash_on", "^cookie$", "hash_on_cookie"),
        needs("hash_fallback", "^cookie$", "hash_on_cookie"),
        fallback("^none$", &["none"]),
        fallback("^cookie$", &["none"]),
        fallback(
            "^consumer$",
            &["none", "ip", "header", "cookie", "path", "query_arg", "uri_capture"],
        ),
        fallback(
            "^ip$",
            &["none", "consumer", "header", "cookie", "path", "query_arg", "uri_capture"],
        ),
        fallback(
            "^path$",
            &["none", "consumer", "header", "cookie", "query_arg", "ip", "uri_capture"],
        ),
        Check::Distinct(&["hash_on_header", "hash_fallback_header"]),
        needs("hash_on", "^query_arg$", "hash_on_query_arg"),
        needs("hash_fallback", "^query_arg$", "hash_fallback_query_arg"),
        Check::Distinct(&["hash_on_query_arg", "hash_fallback_query_arg"]),
        needs("hash_on", "^uri_capture$", "hash_on_uri_capture"),
        needs("hash_fallback", "^uri_capture$", "hash_fallback_uri_capture"),
        Check::Distinct(&["hash_on_uri_capture", "hash_fallback_uri_capture"]),
    ] {
        schema = schema.check(check);
    }
    schema
}

fn healthchecks() -> Field {
    let record = |fields: Vec<(&'static str, Field)>| Field::record(fields).default_of_fields();
    let kind = || Field::string().default("http").one_of(["tcp", "http", "https", "grpc", "grpcs"]);
    let seconds = |default: i64| Field::number().default(default).between(0, 65535);
    let count = || Field::integer().default(0).between(0, 255);
    let statuses =
        |default: Value| Field::array(Field::integer().between(100, 999)).default(default);
    let active = record(vec![
        (
            "healthy",
            record(vec![
                ("interval", seconds(0)),
                ("successes", count()),
                ("http_statuses", statuses(json!([200, 302]))),
            ]),
        ),
        (
            "unhealthy",
            record(vec![
                ("tcp_failures", count()),
                ("timeouts", count()),
                ("http_failures", count()),
                ("interval", seconds(0)),
                ("http_statuses", statuses(json!([429, 404, 500, 501, 502, 503, 504, 505]))),
            ]),
        ),
        ("http_path", typedef::path().default("/")),
        ("https_sni", typedef::sni().optional()),
        ("timeout", seconds(1)),
        ("type", kind()),
        ("headers", typedef::headers().optional()),
        ("concurrency", Field::integer().default(10).between(1, 2_147_483_648)),
        ("https_verify_certificate", Field::boolean().required().default(true)),
    ]);
    let good: Vec<i64> = (200..=208).chain([226]).chain(300..=308).collect();
    let passive = record(vec![
        ("type", kind()),
        ("healthy", record(vec![("http_statuses", statuses(json!(good))), ("successes", count())])),
        (
            "unhealthy",
            record(vec![
                ("http_statuses", statuses(json!([429, 500, 503]))),
                ("timeouts", count()),
                ("http_failures", count()),
                ("tcp_failures", count()),
            ]),
        ),
    ]);
    let threshold = Field::number().default(0).between(0, 100);
    // Kong leaves the threshold out of the default of the whole, and then fills it all the same.
    let default = json!({"active": active.default, "passive": passive.default});
    Field::record([("active", active), ("passive", passive), ("threshold", threshold)])
        .default(default)
}

fn host_name(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let invalid = |why: &str| Err(format!("Invalid name ('{text}'); {why}"));
    match typedef::split_host_port(text) {
        Ok((host, _)) if host.parse::<std::net::IpAddr>().is_ok() => {
            invalid("no ip addresses allowed")
        }
        Ok((_, Some(_))) => invalid("no port allowed"),
        Ok(_) => Ok(()),
        Err(_) => invalid("must be a valid hostname"),
    }
}

/// Some algorithms exclude hashing, and hashing implies its algorithm.
fn settle_algorithm(document: &mut Document) -> Result<(), FieldErrors> {
    let algorithm = document.get("algorithm").and_then(Value::as_str);
    if matches!(algorithm, Some("least-connections" | "latency")) {
        document.insert("hash_on".into(), "none".into());
    } else if let Some(hash_on) = document.get("hash_on").and_then(Value::as_str) {
        let algorithm = if hash_on == "none" { "round-robin" } else { "consistent-hashing" };
        document.insert("algorithm".into(), algorithm.into());
    }
    Ok(())
}
