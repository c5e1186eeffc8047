//! Routes: which requests go to which service (reference gateway-1, section A.4).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Reference, service, typedef};
use crate::domain::canonical::Document;
use crate::domain::entity::Kind;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Auto, Field, OnDelete, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("routes");

/// A route as the data plane reads it. An attribute that is unset or empty matches everything.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub updated_at: i64,
    /// Its unique name.
    pub name: Option<String>,
    /// What it is reached by.
    pub protocols: Vec<String>,
    /// Upper-case method names.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Host names, with one `*` at most as the first or last label, with or without a port.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Prefixes, or regular expressions behind `~`.
    #[serde(default)]
    pub paths: Vec<String>,
    /// For each header name the values of which one must be there.
    #[serde(default)]
    pub headers: BTreeMap<String, Vec<String>>,
    /// What plain HTTP is answered on a route that only has `https`.
    pub https_redirect_status_code: u16,
    /// Which regular expression goes first; higher wins.
    pub regex_priority: Option<i64>,
    /// Whether the matched prefix is cut off.
    pub strip_path: bool,
    /// How service path and request path are joined: `v0` or `v1`.
    pub path_handling: Option<String>,
    /// Whether the client's Host goes upstream.
    pub preserve_host: bool,
    /// Whether a request body is read whole before it is sent.
    pub request_buffering: bool,
    /// Whether a response body is read whole before it is sent.
    pub response_buffering: bool,
    /// Server names of the TLS handshake.
    #[serde(default)]
    pub snis: Vec<String>,
    /// Peers, for stream routes.
    #[serde(default)]
    pub sources: Vec<Endpoint>,
    /// Own addresses, for stream routes.
    #[serde(default)]
    pub destinations: Vec<Endpoint>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Where requests go.
    pub service: Option<Reference>,
}

/// An address, a range, a port, or address and port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// An address or CIDR range.
    pub ip: Option<String>,
    /// A port.
    pub port: Option<u16>,
}

/// Sets of protocols that one route may not mix.
const EXCLUSIVE: &[&[&str]] =
    &[&["http", "https"], &["tcp", "tls", "udp"], &["tls_passthrough"], &["grpc", "grpcs"]];

/// Returns the schema of the flavour `traditional_compatible`.
pub fn schema() -> Schema {
    let redirect = [426, 301, 302, 307, 308];
    let protocols = Field::set(typedef::protocol())
        .required()
        .len_min(1)
        .exclusive_subsets(EXCLUSIVE)
        .default(serde_json::json!(["http", "https"]));
    Schema::new(KIND)
        .endpoint_key("name")
        .field("id", typedef::id())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
        .field("name", typedef::utf8_name().unique())
        .field("protocols", protocols)
        .field("https_redirect_status_code", {
            Field::integer().required().default(426).one_of(redirect)
        })
        .field("strip_path", Field::boolean().required().default(true))
        .field("preserve_host", Field::boolean().required().default(false))
        .field("request_buffering", Field::boolean().required().default(true))
        .field("response_buffering", Field::boolean().required().default(true))
        .field("tags", typedef::tags())
        .field("service", Field::foreign(service::KIND, OnDelete::Restrict))
        .field("snis", Field::set(typedef::wildcard_host()))
        .field("sources", typedef::endpoints())
        .field("destinations", typedef::endpoints())
        .field("methods", Field::set(typedef::http_method()))
        .field("hosts", Field::array(typedef::route_host()))
        .field("paths", Field::array(typedef::router_path()))
        .field("headers", typedef::headers().custom(no_host_header))
        .field("regex_priority", Field::integer().default(0))
        .field("path_handling", Field::string().default("v0").one_of(["v0", "v1"]))
        .rewrite(grpc_keeps_its_path)
        .custom(check_by_protocol)
}

fn no_host_header(value: &Value) -> Result<(), String> {
    let has_host = value
        .as_object()
        .is_some_and(|headers| headers.keys().any(|name| name.eq_ignore_ascii_case("host")));
    if has_host {
        return Err(
            "cannot contain 'host' header, which must be specified in the 'hosts' attribute"
                .to_owned(),
        );
    }
    Ok(())
}

/// For gRPC the default of `strip_path` is false.
fn grpc_keeps_its_path(document: &mut Document) -> Result<(), FieldErrors> {
    if names(document, "protocols").iter().any(|name| matches!(*name, "grpc" | "grpcs"))
        && !document.contains_key("strip_path")
    {
        document.insert("strip_path".into(), false.into());
    }
    Ok(())
}

fn names<'a>(document: &'a Document, field: &str) -> Vec<&'a str> {
    let list = document.get(field).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What a route of some protocols must and must not set.
struct ProtocolRule {
    protocols: &'static [&'static str],
    one_of: &'static [&'static str],
    none_of: &'static [&'static str],
    /// How the protocols are named in errors about `one_of` and `none_of`.
    said: (&'static str, &'static str),
}

const HTTP: &str = "'http' or 'https'";
const STREAM: &str = "'tcp', 'tls', 'tls_passthrough' or 'udp'";

/// The first rule that has one of the route's protocols applies.
const RULES: &[ProtocolRule] = &[
    ProtocolRule {
        protocols: &["https"],
        one_of: &["methods", "hosts", "headers", "paths", "snis"],
        none_of: &["sources", "destinations"],
        said: ("'https'", HTTP),
    },
    ProtocolRule {
        protocols: &["http"],
        one_of: &["methods", "hosts", "headers", "paths"],
        none_of: &["sources", "destinations"],
        said: ("'http'", HTTP),
    },
    ProtocolRule {
        protocols: &["grpcs"],
        one_of: &["hosts", "headers", "paths", "snis"],
        none_of: &["methods", "sources", "destinations", "strip_path"],
        said: ("'grpcs'", "'grpc' or 'grpcs'"),
    },
    ProtocolRule {
        protocols: &["grpc"],
        one_of: &["hosts", "headers", "paths"],
        none_of: &["methods", "sources", "destinations", "strip_path"],
        said: ("'grpc'", "'grpc' or 'grpcs'"),
    },
    ProtocolRule {
        protocols: &["tcp", "tls", "udp"],
        one_of: &["sources", "destinations", "snis"],
        none_of: &["methods", "hosts", "paths", "headers"],
        said: ("'tcp', 'tls' or 'udp'", STREAM),
    },
    ProtocolRule {
        protocols: &["tls_passthrough"],
        one_of: &["snis"],
        none_of: &["methods", "hosts", "paths", "headers"],
        said: ("'tls_passthrough'", STREAM),
    },
];

/// Protocols in whose handshake a server name is seen.
const WITH_SNI: &[&str] = &["grpcs", "https", "tls", "tls_passthrough"];

fn check_by_protocol(document: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let protocols = names(document, "protocols");
    let rule = RULES.iter().find(|rule| rule.protocols.iter().any(|name| protocols.contains(name)));
    let Some(rule) = rule else { return errors };
    for field in rule.none_of {
        if is_set(document, field) {
            let text = format!("cannot set '{field}' when 'protocols' is {}", rule.said.1);
            errors.insert(field, text.into());
        }
    }
    if is_set(document, "snis") && !protocols.iter().any(|name| WITH_SNI.contains(name)) {
        let text = "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or \
                    'tls_passthrough'";
        errors.insert("snis", text.into());
    }
    if !rule.one_of.iter().any(|field| is_set(document, field)) {
        errors.entity(match rule.one_of {
            [field] => format!("must set {field} when 'protocols' is {}", rule.said.0),
            fields => {
                let fields: Vec<_> = fields.iter().map(|field| format!("'{field}'")).collect();
                let fields = fields.join(", ");
                format!("must set one of {fields} when 'protocols' is {}", rule.said.0)
            }
        });
    }
    errors
}

fn is_set(document: &Document, field: &str) -> bool {
    match document.get(field) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(object)) => !object.is_empty(),
        Some(_) => true,
    }
}
