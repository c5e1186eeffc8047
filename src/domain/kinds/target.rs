//! Targets: the peers of an upstream (reference gateway-1, section A.5).

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Reference, typedef, upstream};
use crate::domain::canonical::Document;
use crate::domain::entity::Kind;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Auto, Field, OnDelete, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("targets");

/// The port of a target that names none.
const PORT: u16 = 8000;

/// The weight of a target that names none.
pub const WEIGHT: u32 = 100;

/// A target as the data plane reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970, with milliseconds.
    pub created_at: f64,
    /// Seconds since 1970, with milliseconds.
    pub updated_at: f64,
    /// The upstream that it is a peer of.
    pub upstream: Reference,
    /// `host:port`.
    pub target: String,
    /// Its share of the traffic; 0 is listed but not used, unset is 100.
    pub weight: Option<u32>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Returns the schema.
pub fn schema() -> Schema {
    Schema::new(KIND)
        .nested_only()
        .endpoint_key("target")
        .cache_key(&["upstream", "target"])
        .field("id", typedef::id())
        .field("created_at", Field::number().auto(Auto::CreatedAt).milliseconds())
        .field("updated_at", Field::number().auto(Auto::UpdatedAt).milliseconds())
        .field("upstream", Field::foreign(upstream::KIND, OnDelete::Cascade).required())
        .field("target", Field::string().required().custom(target))
        .field("weight", Field::integer().default(WEIGHT).between(0, 65535))
        .field("tags", typedef::tags())
        .rewrite(add_port)
}

fn target(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let invalid = format!("Invalid target ('{text}'); not a valid hostname or ip address");
    typedef::split_host_port(text).map(drop).map_err(|_| invalid)
}

/// Writes the default port, and an IPv6 address in brackets.
fn add_port(document: &mut Document) -> Result<(), FieldErrors> {
    let Some(Value::String(text)) = document.get_mut("target") else { return Ok(()) };
    if let Ok((host, port)) = typedef::split_host_port(text) {
        let host = match host.parse::<std::net::Ipv6Addr>() {
            Ok(address) => expanded(address),
            Err(_) => host.to_owned(),
        };
        *text = format!("{host}:{}", port.unwrap_or(PORT));
    }
    Ok(())
}

/// Kong keeps IPv6 targets with all eight groups, four digits each.
fn expanded(address: std::net::Ipv6Addr) -> String {
    let groups: Vec<_> = address.segments().iter().map(|group| format!("{group:04x}")).collect();
    format!("[{}]", groups.join(":"))
}
