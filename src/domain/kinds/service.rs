//! Services: the upstream APIs that routes lead to (reference gateway-1, section A.3).

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Reference, certificate, typedef};
use crate::domain::canonical::Document;
use crate::domain::entity::Kind;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Auto, Check, Field, Match, OnDelete, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("services");

/// Protocols without a path.
const PATHLESS: &[&str] = &["tcp", "tls", "udp", "grpc", "grpcs"];

/// Protocols with TLS settings of their own.
const TLS: &[&str] = &["https", "tls"];

/// A service as the data plane reads it. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub updated_at: i64,
    /// Its unique name.
    pub name: Option<String>,
    /// How many more tries after the first.
    pub retries: Option<u32>,
    /// How to speak to the upstream.
    pub protocol: String,
    /// A host name, an address or the name of an upstream.
    pub host: String,
    /// The port; ignored when `host` names an upstream.
    pub port: u16,
    /// What is put before the forwarded path.
    pub path: Option<String>,
    /// How long connecting may take.
    pub connect_timeout: Option<u64>,
    /// How long a pause in sending may be.
    pub write_timeout: Option<u64>,
    /// How long a pause in receiving may be.
    pub read_timeout: Option<u64>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What the upstream is shown.
    pub client_certificate: Option<Reference>,
    /// Whether the upstream's certificate is verified; unset is the node's setting.
    pub tls_verify: Option<bool>,
    /// How long the upstream's chain may be.
    pub tls_verify_depth: Option<u32>,
    /// The CA certificates that the upstream's chain may end in.
    pub ca_certificates: Option<Vec<Uuid>>,
    /// Whether its routes are served.
    pub enabled: bool,
}

/// Returns the schema.
pub fn schema() -> Schema {
    let timeout = || Field::integer().default(60000).between(1, 2_147_483_646);
    let tls_only = |field| {
        let other = Match::not_one_of(TLS.iter().copied());
        Check::conditional("protocol", other, field, Match::eq(Value::Null))
    };
    let pathless = Match::one_of(PATHLESS.iter().copied());
    Schema::new(KIND)
        .endpoint_key("name")
        .field("id", typedef::id())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
        .field("name", typedef::utf8_name().unique())
        .field("retries", Field::integer().default(5).between(0, 32767))
        .field("protocol", typedef::protocol().required().default("http"))
        .field("host", typedef::host().required())
        .field("port", typedef::port().required().default(80))
        .field("path", typedef::path())
        .field("connect_timeout", timeout())
        .field("write_timeout", timeout())
        .field("read_timeout", timeout())
        .field("tags", typedef::tags())
        .field("client_certificate", Field::foreign(certificate::KIND, OnDelete::Restrict))
        .field("tls_verify", Field::boolean())
        .field("tls_verify_depth", Field::integer().default(Value::Null).between(0, 64))
        .field("ca_certificates", Field::array(typedef::uuid()))
        .field("enabled", Field::boolean().required().default(true))
        .check(Check::conditional("protocol", pathless, "path", Match::eq(Value::Null)))
        .check(tls_only("client_certificate"))
        .check(tls_only("tls_verify"))
        .check(tls_only("tls_verify_depth"))
        .check(tls_only("ca_certificates"))
        .shorthand("url", Field::string().custom(url))
        .rewrite(expand_url)
}

fn url(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    split_url(text).map(drop)
}

/// The parts of `url`: scheme, host, port, path.
type UrlParts<'a> = (Option<&'a str>, Option<&'a str>, Option<u16>, Option<&'a str>);

fn split_url(text: &str) -> Result<UrlParts<'_>, String> {
    let invalid = || "could not parse url".to_owned();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (rest, _) = rest.split_at(end);
    let (authority, path) = match rest.find('/') {
        Some(at) => {
            let (authority, path) = rest.split_at(at);
            (authority, Some(path))
        }
        None => (rest, None),
    };
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = port.map(|port| port.parse::<u16>().map_err(|_| invalid())).transpose()?;
    Ok((scheme, (!host.is_empty()).then_some(host), port, path))
}

/// Expands `url`; it wins over the fields that it stands for.
fn expand_url(document: &mut Document) -> Result<(), FieldErrors> {
    let Some(Value::String(text)) = document.remove("url") else { return Ok(()) };
    let (scheme, host, port, path) =
        split_url(&text).map_err(|error| FieldErrors::one("url", error))?;
    let scheme = scheme.unwrap_or(if port == Some(443) { "https" } else { "http" });
    let port = port.unwrap_or(if scheme == "https" { 443 } else { 80 });
    document.insert("protocol".into(), scheme.into());
    document.insert("host".into(), host.into());
    document.insert("port".into(), port.into());
    document.insert("path".into(), path.into());
    Ok(())
}
