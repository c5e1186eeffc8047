//! Groups of consumers, for `acl` (reference gateway-1, section A.8).

use serde::Deserialize;
use uuid::Uuid;

use crate::domain::entity::Kind;
use crate::domain::kinds::{Reference, consumer, typedef};
use crate::domain::schema::{Auto, Field, OnDelete, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("acls");

/// A consumer's membership in a group, as the data plane reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Who is in the group.
    pub consumer: Reference,
    /// The group.
    pub group: String,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Returns the schema. Under a consumer, the group may stand for the id.
pub fn schema() -> Schema {
    Schema::new(KIND)
        .nested_key("group")
        .cache_key(&["consumer", "group"])
        .field("id", typedef::id())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("consumer", Field::foreign(consumer::KIND, OnDelete::Cascade).required())
        .field("group", Field::string().required())
        .field("tags", typedef::tags())
}
