//! Plugins: what happens to requests on a route, service, consumer or everywhere
//! (reference gateway-1, section A.5).

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Reference, consumer, route, service, typedef};
use crate::domain::entity::Kind;
use crate::domain::schema::{Auto, Field, OnDelete, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("plugins");

/// A plugin as the data plane reads it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub updated_at: i64,
    /// Which plugin.
    pub name: String,
    /// The unique name of this instance.
    pub instance_name: Option<String>,
    /// Only on this route.
    pub route: Option<Reference>,
    /// Only on this service.
    pub service: Option<Reference>,
    /// Only for this consumer.
    pub consumer: Option<Reference>,
    /// What the plugin itself reads, as canonical JSON.
    pub config: Box<RawValue>,
    /// Only for requests of these protocols.
    pub protocols: Vec<String>,
    /// Whether it runs.
    pub enabled: bool,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Returns the schema. What `config` may hold is the catalog's to know.
pub fn schema() -> Schema {
    let scope = |kind| Field::foreign(kind, OnDelete::Cascade).default(Value::Null);
    Schema::new(KIND)
        .endpoint_key("instance_name")
        .cache_key(&["name", "route", "service", "consumer"])
        .field("id", typedef::id())
        .field("name", Field::string().required())
        .field("instance_name", typedef::utf8_name().unique())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
        .field("route", scope(route::KIND))
        .field("service", scope(service::KIND))
        .field("consumer", scope(consumer::KIND))
        .field("config", Field::abstract_record())
        .field("protocols", typedef::protocols())
        .field("enabled", Field::boolean().required().default(true))
        .field("tags", typedef::tags())
}
