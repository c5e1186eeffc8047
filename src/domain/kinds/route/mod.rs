//! Routes: which requests go to which service (reference gateway-1, section A.4). Their fields
//! depend on the router's flavour.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use super::{Reference, service, typedef};
use crate::domain::entity::Kind;
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
    /// What requests must fulfil instead, in the router's own language.
    pub expression: Option<String>,
    /// Which expression goes first; higher wins.
    pub priority: Option<u64>,
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

/// How a router reads routes: the setting `router_flavor`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Flavour {
    /// By the attributes, as Kong 2 did.
    Traditional,
    /// By the attributes, which are expressions underneath.
    #[default]
    TraditionalCompatible,
    /// By expressions, or by the attributes.
    Expressions,
}

impl Flavour {
    /// Returns its name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traditional => "traditional",
            Self::TraditionalCompatible => "traditional_compatible",
            Self::Expressions => "expressions",
        }
    }

    /// Returns the flavour of a name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Traditional, Self::TraditionalCompatible, Self::Expressions];
        all.into_iter().find(|flavour| flavour.name() == name)
    }
}

/// Sets of protocols that one route may not mix.
const EXCLUSIVE: &[&[&str]] =
    &[&["http", "https"], &["tcp", "tls", "udp"], &["tls_passthrough"], &["grpc", "grpcs"]];

/// Returns the schema of the flavour `traditional_compatible`.
pub fn schema() -> Schema {
    schema_of(Flavour::TraditionalCompatible)
}

/// Returns the schema of a flavour.
pub fn schema_of(flavour: Flavour) -> Schema {
    let redirect = [426, 301, 302, 307, 308];
    let protocols = Field::set(typedef::protocol())
        .required()
        .len_min(1)
        .exclusive_subsets(EXCLUSIVE)
        .default(serde_json::json!(["http", "https"]));
    let sni = match flavour {
        Flavour::Traditional => typedef::sni(),
        Flavour::TraditionalCompatible | Flavour::Expressions => typedef::wildcard_host(),
    };
    let schema = Schema::new(KIND)
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
        .field("snis", Field::set(sni))
        .field("sources", typedef::endpoints())
        .field("destinations", typedef::endpoints())
        .field("methods", Field::set(typedef::http_method()))
        .field("hosts", Field::array(typedef::route_host()))
        .field("paths", Field::array(typedef::router_path()))
        .field("headers", headers())
        .field("regex_priority", Field::integer().default(0))
        .field("path_handling", Field::string().default("v0").one_of(["v0", "v1"]));
    let schema = match flavour {
        Flavour::Traditional | Flavour::TraditionalCompatible => schema,
        Flavour::Expressions => schema
            .field("expression", Field::string())
            .field("priority", Field::integer().required().default(0).between(0, PRIORITY_MAX)),
    };
    rules::add(schema, flavour)
}

/// The highest priority of an expression.
const PRIORITY_MAX: i64 = (1 << 46) - 1;

/// Headers that a request must have; its host is not one of them.
fn headers() -> Field {
    let text = "cannot contain 'host' header, which must be specified in the 'hosts' attribute";
    let name = typedef::header_name().match_none([("^[Hh][Oo][Ss][Tt]$", text)]);
    Field::map(name, Field::array(Field::string()))
}
