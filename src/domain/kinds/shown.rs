//! Kinds of Kong that hold no entities here, or are kept in another way: clients may ask for
//! their schemas and check documents against them (reference gateway-1, section A.7).

use serde_json::{Value, json};

use super::{route, service, typedef};
use crate::domain::entity::Kind;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Auto, Check, Field, OnDelete, Schema};

/// Returns the schemas.
pub fn schemas() -> Vec<Schema> {
    vec![workspaces(), tags(), clustering_data_planes(), parameters(), filter_chains(), metrics()]
}

fn time() -> Field {
    Field::integer().auto(Auto::CreatedAt)
}

fn updated() -> Field {
    Field::integer().auto(Auto::UpdatedAt)
}

/// Names that no workspace may have: they begin paths of the Admin API.
const CORE: &[&str] = &[
    "workspaces",
    "consumers",
    "certificates",
    "services",
    "routes",
    "snis",
    "upstreams",
    "targets",
    "plugins",
    "tags",
    "ca_certificates",
    "clustering_data_planes",
    "parameters",
    "vaults",
    "key_sets",
    "keys",
    "filter_chains",
];

fn workspaces() -> Schema {
    let name = typedef::utf8_name().required().unique().len_min(1).not_one_of(CORE.iter().copied());
    Schema::new(Kind::new("workspaces"))
        .field("id", typedef::id())
        .field("name", name)
        .field("comment", Field::string())
        .field("created_at", time())
        .field("updated_at", updated())
        .field("meta", Field::record([]))
        .field("config", Field::record([]))
}

fn tags() -> Schema {
    Schema::new(Kind::new("tags"))
        .field("tag", typedef::tag().required())
        .field("entity_name", Field::string().required())
        .field("entity_id", typedef::id().required())
}

/// What a control plane keeps of a data plane; here the fleet does.
fn clustering_data_planes() -> Schema {
    let version =
        Field::string().match_none([("%.%.", "must not have empty version segments")]).match_any(
            ["^%d+[%.%d]*$", "^%d+[%.%d]*%-?.*$"],
            "invalid version number: must be in format of X.Y.Z",
        );
    let status = Field::string().required().default("unknown").one_of([
        "unknown",
        "normal",
        "kong_version_incompatible",
        "plugin_set_incompatible",
        "plugin_version_incompatible",
        "filter_set_incompatible",
    ]);
    let certificate = [("expiry_timestamp", Field::number().timestamp().optional())];
    Schema::new(Kind::new("clustering_data_planes"))
        .field("id", typedef::id().required())
        .field("last_seen", updated())
        .field("updated_at", updated())
        .field("ip", typedef::ip().required())
        .field("config_hash", Field::string().len_eq(32))
        .field("hostname", typedef::host().required())
        .field("version", version)
        .field("sync_status", status)
        .field("labels", Field::map(Field::string(), Field::string()))
        .field("cert_details", Field::record(certificate))
        .field("rpc_capabilities", Field::set(Field::string()))
}

fn parameters() -> Schema {
    Schema::new(Kind::new("parameters"))
        .field("created_at", time())
        .field("key", Field::string().required().unique())
        .field("value", Field::string().required())
}

/// WebAssembly filters on a route or service. There are none, so no name is one of them.
fn filter_chains() -> Schema {
    let scope = |kind| Field::foreign(kind, OnDelete::Cascade).default(Value::Null).unique();
    let config = Field::json(json!({
        "optional": true,
        "namespace": "proxy-wasm-filters",
        "parent_subschema_key": "name",
        "default": {
            "type": ["string", "null"],
            "$schema": "http://json-schema.org/draft-04/schema#",
        },
    }));
    let none: [&str; 0] = [];
    let filter = Field::record([
        ("name", Field::string().required().one_of(none).err("no such filter")),
        ("enabled", Field::boolean().required().default(true)),
        ("config", config.optional()),
    ]);
    Schema::new(Kind::new("filter_chains"))
        .field("id", typedef::id())
        .field("name", typedef::utf8_name().unique())
        .field("enabled", Field::boolean().required().default(true))
        .field("route", scope(route::KIND))
        .field("service", scope(service::KIND))
        .field("filters", Field::array(filter).required().len_min(1))
        .field("created_at", time())
        .field("updated_at", updated())
        .field("tags", typedef::tags())
        .check(Check::MutuallyExclusive(&["service", "route"]))
        .check(Check::AtLeastOneOf(&["service", "route"]))
        .check(Check::custom(&["filters"], |_| FieldErrors::default()).with_invalid_fields())
}

/// The counters of the plugin `rate-limiting` under its policy `cluster`.
fn metrics() -> Schema {
    Schema::new(Kind::new("ratelimiting_metrics"))
        .field("identifier", Field::string().required().len_min(0))
        .field("period", Field::string().required())
        .field("period_date", Field::integer().required().timestamp())
        .field("service_id", typedef::uuid().required())
        .field("route_id", typedef::uuid().required())
        .field("value", Field::integer().required())
}
