//! The operations that are on no entity: what the node tells of itself, and what steers it.

use serde_json::{Value, json};

use super::super::info::Info;
use super::super::place::{Fixed, Place};
use super::entity::bodiless;
use super::field::reference;
use super::operation::{
    READ_ERRORS, WRITE_ERRORS, bare, operation, options, page, page_arguments, response, with_body,
    with_query,
};

/// The group of these operations.
const TAG: &str = "node";

/// Describes what a method does at a path that stands in the table of `place`.
pub(super) fn fixed(fixed: Fixed, method: &str) -> Value {
    if method == "OPTIONS" {
        return options(TAG);
    }
    let read = |summary: &str, schema: &Value| read(method, summary, schema);
    let object = json!({"type": "object"});
    let paged = |described| with_query(described, &page_arguments());
    match fixed {
        Fixed::Root => read("Tell version, settings and plugins of the node", &root()),
        Fixed::Robots => {
            let text = json!({
                "description": "A text.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            });
            operation("Send robots away", TAG, bodiless(method, [("200", text)]), &[])
        }
        Fixed::Status => with_query(
            read("Tell connections and memory", &status()),
            &[
                ("unit", json!({"enum": ["b", "k", "m", "g", "B", "K", "M", "G"]}), "Of memory."),
                ("scale", json!({"type": "integer", "minimum": 0}), "Digits behind the point."),
            ],
        ),
        Fixed::Endpoints => read("List the paths", &data_of(&json!({"type": "string"}))),
        Fixed::PluginsEnabled => read(
            "List the plugins that may be used",
            &record(&[("enabled_plugins", list_of(&json!({"type": "string"})))]),
        ),
        Fixed::DataPlanes => paged(read("List the data planes", &page(&object))),
        Fixed::ClusteringStatus => read("List the data planes by id", &object),
        Fixed::Events => paged(read("List the events of the log", &page(&object))),
        Fixed::Snapshots => paged(read("List the configurations that there were", &page(&object))),
        Fixed::Batch => {
            let answers = [("200", response("The head after it.", &object))];
            let described = operation("Do many operations as one", TAG, answers, WRITE_ERRORS);
            with_body(
                described,
                &json!({
                    "type": "object",
                    "required": ["operations"],
                    "properties": {"operations": list_of(&object)},
                }),
            )
        }
        Fixed::Rollback => {
            let done = record(&[
                ("seq", json!({"type": "integer"})),
                ("config_hash", json!({"type": "string"})),
                ("changed", json!({"type": "boolean"})),
            ]);
            let answers = [("200", response("The head after it.", &done))];
            let described =
                operation("Bring an earlier configuration back", TAG, answers, WRITE_ERRORS);
            let to =
                json!({"type": ["string", "integer"], "description": "Position, hash or time."});
            with_body(
                described,
                &json!({
                    "type": "object",
                    "required": ["to"],
                    "properties": {"to": to, "reason": {"type": ["string", "null"]}},
                }),
            )
        }
    }
}

/// Describes what a method does at a path of admin tokens.
pub(super) fn tokens(method: &str) -> Value {
    let object = json!({"type": "object"});
    match method {
        "OPTIONS" => options(TAG),
        "POST" => {
            let answers = [("201", response("The token; it is shown this once.", &object))];
            with_body(operation("Make an admin token", TAG, answers, WRITE_ERRORS), &object)
        }
        "DELETE" => {
            let answers = [("204", bare("It is revoked."))];
            operation("Revoke an admin token", TAG, answers, &["404"])
        }
        _ => read(method, "Tell of admin tokens, but not what they are", &object),
    }
}

/// Describes what a method does at a path of schemas, or of the past.
pub(super) fn known(place: &Place, method: &str) -> Value {
    let object = json!({"type": "object"});
    let read = |summary: &str| read(method, summary, &object);
    match (method, place) {
        ("OPTIONS", _) => options(TAG),
        ("POST", _) => {
            let answers = [("200", response("The document is valid.", &reference("message")))];
            let summary = "Check a document without storing it";
            with_body(operation(summary, TAG, answers, WRITE_ERRORS), &object)
        }
        (_, Place::Schema(_)) => read("Describe the fields of a schema"),
        (_, Place::Event(_)) => read("Show an event of the log"),
        (_, Place::Snapshot(_)) => read("Show a configuration"),
        _ => read("Show what differs between two configurations"),
    }
}

/// Describes what a method does at a path of the table of `info`.
pub(super) fn info(info: &Info, method: &str) -> Value {
    if method == "OPTIONS" {
        return options(TAG);
    }
    let read = |summary: &str, schema: &Value| read(method, summary, schema);
    let message = reference("message");
    match info {
        Info::Config if method == "POST" => load_config(),
        Info::Config => {
            let schema = record(&[("config", json!({"type": "string"}))]);
            read("Export the configuration of a node without a database", &schema)
        }
        Info::Cache | Info::CacheKey if method == "DELETE" => {
            operation("Empty the cache", TAG, [("204", bare("It is empty."))], &["404"])
        }
        Info::Cache | Info::CacheKey => {
            read("Read from the cache, which is always empty", &json!({"type": "object"}))
        }
        Info::LogLevel => read("Tell the level of the log", &message),
        Info::SetLogLevel(..) => {
            let answers = [("200", response("The level is as asked.", &message))];
            let described = operation("Change the level of the log", TAG, answers, WRITE_ERRORS);
            let seconds = json!({"type": "number", "minimum": 0, "default": 60});
            let meaning = "Seconds until the old level comes back; 0 is never.";
            with_query(described, &[("timeout", seconds, meaning)])
        }
        Info::Dns => {
            let answers = [("501", response("There are no such numbers.", &message))];
            operation("Tell how the resolver does", TAG, bodiless(method, answers), &[])
        }
        Info::Tags | Info::Tag(_) => {
            with_query(read("List tags and who carries them", &page(&tag())), &page_arguments())
        }
        Info::Health(_) => {
            let mut arguments = page_arguments().to_vec();
            let meaning = "With 1, that of the upstream instead of its targets.";
            arguments.push(("balancer_health", json!({"type": "string"}), meaning));
            with_query(read("Tell the health of an upstream's targets", &health()), &arguments)
        }
        Info::SetHealth(_) => {
            let answers = [("204", bare("It counts as declared."))];
            operation("Declare a target healthy or not", TAG, answers, WRITE_ERRORS)
        }
        Info::OpenApi => read("Describe the API", &json!({"type": "object"})),
    }
}

fn read(method: &str, summary: &str, schema: &Value) -> Value {
    let answers = [("200", response("What was asked for.", schema))];
    operation(summary, TAG, bodiless(method, answers), READ_ERRORS)
}

/// An object with these members and no others, all there.
fn record(members: &[(&str, Value)]) -> Value {
    let names: Vec<_> = members.iter().map(|(name, _)| name).collect();
    let properties: serde_json::Map<_, _> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({
        "type": "object",
        "required": names,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn list_of(item: &Value) -> Value {
    json!({"type": "array", "items": item})
}

fn data_of(item: &Value) -> Value {
    record(&[("data", list_of(item))])
}

fn root() -> Value {
    let (text, number) = (json!({"type": "string"}), json!({"type": "integer"}));
    let plugin = record(&[("version", text.clone()), ("priority", number.clone())]);
    record(&[
        ("tagline", text.clone()),
        ("version", text.clone()),
        ("hybridctl_version", text.clone()),
        ("edition", text.clone()),
        ("hostname", text.clone()),
        ("node_id", json!({"type": "string", "format": "uuid"})),
        ("lua_version", text.clone()),
        ("pids", record(&[("master", number.clone()), ("workers", list_of(&number))])),
        ("timers", record(&[("running", number.clone()), ("pending", number.clone())])),
        (
            "plugins",
            record(&[
                ("available_on_server", json!({"type": "object", "additionalProperties": plugin})),
                ("enabled_in_cluster", list_of(&text)),
            ]),
        ),
        ("configuration", json!({"type": "object"})),
        ("config_hash", text),
        ("seq", number),
    ])
}

fn status() -> Value {
    let amount = json!({"type": ["string", "integer"]});
    let vm = record(&[("pid", json!({"type": "integer"})), ("http_allocated_gc", amount)]);
    let memory = record(&[
        ("workers_lua_vms", list_of(&vm)),
        ("lua_shared_dicts", json!({"type": "object"})),
    ]);
    json!({
        "type": "object",
        "required": ["memory", "server"],
        "properties": {
            "memory": memory,
            "server": {"type": "object", "additionalProperties": {"type": "integer"}},
            "configuration_hash": {"type": "string"},
            "database": record(&[("reachable", json!({"type": "boolean"}))]),
        },
        "additionalProperties": false,
    })
}

fn tag() -> Value {
    let id = json!({"type": "string", "format": "uuid"});
    let text = json!({"type": "string"});
    record(&[("tag", text.clone()), ("entity_name", text), ("entity_id", id)])
}

fn health() -> Value {
    let word = json!({"enum": ["HEALTHY", "UNHEALTHY", "HEALTHCHECKS_OFF", "DNS_ERROR"]});
    let target = json!({
        "type": "object",
        "required": ["id", "target", "weight", "health"],
        "properties": {"health": word},
    });
    let whole = json!({
        "type": "object",
        "required": ["id", "health", "balancer_health"],
        "properties": {"health": word, "balancer_health": {"enum": ["HEALTHY", "UNHEALTHY"]}},
    });
    json!({
        "type": "object",
        "required": ["data", "next", "node_id"],
        "properties": {
            "data": {"anyOf": [list_of(&target), whole]},
            "next": {"type": ["string", "null"]},
            "offset": {"type": "string"},
            "node_id": {"type": "string", "format": "uuid"},
        },
        "additionalProperties": false,
    })
}

fn load_config() -> Value {
    let by_id = json!({"type": "object", "additionalProperties": {"type": "object"}});
    let loaded = json!({"type": "object", "additionalProperties": by_id});
    let answers = [
        ("201", response("Every entity, by kind and id.", &loaded)),
        ("304", bare("It is loaded already.")),
    ];
    let summary = "Replace the configuration of a node without a database";
    let described = operation(summary, TAG, answers, WRITE_ERRORS);
    let schema = json!({
        "type": "object",
        "properties": {"config": {"type": "string", "description": "YAML or JSON."}},
    });
    let mut described = with_body(described, &schema);
    for ty in ["application/yaml", "text/yaml"] {
        described["requestBody"]["content"][ty] = json!({"schema": {"type": "string"}});
    }
    with_query(
        described,
        &[
            ("check_hash", json!({"type": "string"}), "With 1, 304 when it is loaded already."),
            ("flatten_errors", json!({"type": "string"}), "With 1, the errors of each entity."),
        ],
    )
}
