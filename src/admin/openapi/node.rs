//! The operations that are on no entity: what the node tells of itself, and what steers it.

use serde_json::{Value, json};

use super::super::auth::tokens::TokenPlace;
use super::super::info::Info;
use super::super::place::{Fixed, Place};
use super::super::schemas::SchemaPlace;
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
        Fixed::Robots => text(method, "Send robots away"),
        Fixed::Metrics => text(method, "Tell metrics of node and cluster to Prometheus"),
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
        Fixed::Events => {
            let mut described = paged(read("List the events of the log", &page(&object)));
            let text = "With `follow` the answer is a stream of server-sent events that goes on.";
            described["description"] = text.into();
            described
        }
        Fixed::Snapshots => paged(read("List the snapshots of the log", &page(&object))),
        Fixed::Batch => batch(),
        Fixed::FilterChains => {
            operation("Refuse filter chains, which need wasm", TAG, [], WRITE_ERRORS)
        }
        Fixed::Rollback => rollback(),
        Fixed::Freeze | Fixed::Unfreeze | Fixed::Pins | Fixed::Quarantine | Fixed::Rollout => {
            super::promotion::fixed(fixed, method)
        }
    }
}

/// Describes an answer that is a plain text.
fn text(method: &str, summary: &str) -> Value {
    let text = json!({
        "description": "A text.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    });
    operation(summary, TAG, bodiless(method, [("200", text)]), &[])
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

/// Describes what a method does at a path of the admin tokens.
pub(super) fn tokens(place: &TokenPlace, method: &str) -> Value {
    let token = json!({
        "type": "object",
        "required": ["id", "name", "role", "created_at", "expires_at", "revoked_at"],
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "name": {"type": "string"},
            "role": {"enum": ["viewer", "editor", "admin"]},
            "token": {"type": "string", "description": "Shown once, when it is made."},
        },
    });
    match (method, place) {
        ("OPTIONS", _) => options(TAG),
        ("POST", _) => {
            let answers = [("201", response("The token, with its secret.", &token))];
            let described = operation("Make an admin token", TAG, answers, WRITE_ERRORS);
            with_body(
                described,
                &json!({
                    "type": "object",
                    "required": ["name", "role"],
                    "properties": {
                        "name": {"type": "string", "minLength": 1},
                        "role": {"enum": ["viewer", "editor", "admin"]},
                        "expires": {"type": "string"},
                    },
                    "additionalProperties": false,
                }),
            )
        }
        ("DELETE", _) => {
            let answers = [("204", bare("It opens nothing any more."))];
            operation("Revoke an admin token", TAG, answers, WRITE_ERRORS)
        }
        (_, TokenPlace::All) => read(method, "List the admin tokens", &page(&token)),
        _ => read(method, "Read an admin token", &token),
    }
}

/// Describes what a method does at a path about schemas.
pub(super) fn schema(schema: &SchemaPlace, method: &str) -> Value {
    match (schema, method) {
        (_, "OPTIONS") => options(TAG),
        (SchemaPlace::Validate(_), _) => {
            let answers = [("200", response("It would be accepted.", &reference("message")))];
            let summary = "Check a document without storing it";
            with_body(operation(summary, TAG, answers, WRITE_ERRORS), &json!({"type": "object"}))
        }
        _ => {
            let described = json!({
                "type": "object",
                "required": ["fields"],
                "properties": {"fields": list_of(&json!({"type": "object"}))},
            });
            read(method, "Describe what documents hold", &described)
        }
    }
}

/// Describes what a method does at a path about one thing of the past.
pub(super) fn past(place: &Place, method: &str) -> Value {
    let object = json!({"type": "object"});
    match (place, method) {
        (_, "OPTIONS") => options(TAG),
        (Place::Event(_), _) => read(method, "Read an event of the log", &object),
        (Place::Snapshot(_), _) => {
            let mut answer = response("What is in it, or the snapshot itself.", &object);
            answer["content"]["application/gzip"] = json!({});
            let answers = bodiless(method, [("200", answer)]);
            let formats = json!({"enum": ["summary", "declarative", "file"]});
            let described = operation("Read a snapshot", TAG, answers, READ_ERRORS);
            with_query(described, &[("format", formats, "How it is shown.")])
        }
        _ => {
            let described = read(method, "Compare two snapshots", &object);
            with_query(described, &page_arguments())
        }
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

fn batch() -> Value {
    let object = json!({"type": "object"});
    let answers = [("200", response("The head after it, or what it would be.", &object))];
    let described = operation("Do many things as one event", TAG, answers, WRITE_ERRORS);
    with_body(
        described,
        &json!({
            "type": "object",
            "required": ["operations"],
            "properties": {
                "operations": list_of(&json!({
                    "type": "object",
                    "required": ["method", "path"],
                    "properties": {
                        "method": {"enum": ["POST", "PUT", "PATCH", "DELETE"]},
                        "path": {"type": "string", "pattern": "^/"},
                        "body": {"type": "object"},
                    },
                    "additionalProperties": false,
                })),
                "reason": {"type": ["string", "null"]},
                "dry_run": {"type": "boolean"},
                "force": {"type": "boolean"},
            },
            "additionalProperties": false,
        }),
    )
}

fn rollback() -> Value {
    let object = json!({"type": "object"});
    let answers = [("200", response("The head after it, or what it would be.", &object))];
    let described = operation("Bring an earlier configuration back", TAG, answers, WRITE_ERRORS);
    let to = json!({"type": ["string", "integer"], "description": "Position, hash or time."});
    with_body(
        described,
        &json!({
            "type": "object",
            "required": ["to"],
            "properties": {
            "to": to,
            "reason": {"type": ["string", "null"]},
            "dry_run": {"type": "boolean"},
            "force": {"type": "boolean"},
        },
        }),
    )
}
