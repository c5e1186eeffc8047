//! The operations that decide which data planes get which config.

use serde_json::{Value, json};

use super::super::place::Fixed;
use super::entity::bodiless;
use super::operation::{READ_ERRORS, WRITE_ERRORS, bare, operation, options, response, with_body};

/// The group of these operations.
const TAG: &str = "promotion";

/// Describes what a method does at a path of promotion.
pub(super) fn fixed(fixed: Fixed, method: &str) -> Value {
    match (fixed, method) {
        (_, "OPTIONS") => options(TAG),
        (Fixed::Freeze, "POST") => freeze(),
        (Fixed::Freeze, _) => read(method, "Tell whether the head is frozen"),
        (Fixed::Unfreeze, _) => unfreeze(),
        (Fixed::Pins, "POST") => set_pin(),
        (Fixed::Pins, _) => read(method, "List the pins"),
        (Fixed::Quarantine, _) => read(method, "List the configs that a data plane crashed on"),
        (_, "PUT") => plan(),
        (_, "DELETE") => removal("Announce heads to all data planes at once"),
        _ => read(method, "Tell how heads are rolled out, and how far the last one got"),
    }
}

/// Describes what a method does at the path of a pin.
pub(super) fn pin(method: &str) -> Value {
    match method {
        "OPTIONS" => options(TAG),
        "DELETE" => removal("Remove a pin"),
        _ => read(method, "Read a pin"),
    }
}

/// Describes what a method does at the path of a config in quarantine.
pub(super) fn quarantined(method: &str) -> Value {
    match method {
        "OPTIONS" => options(TAG),
        "DELETE" => removal("Announce a config again that a data plane crashed on"),
        _ => read(method, "Read why a config is in quarantine"),
    }
}

fn read(method: &str, summary: &str) -> Value {
    let answers = [("200", response("What is in force.", &object()))];
    operation(summary, TAG, bodiless(method, answers), READ_ERRORS)
}

fn removal(summary: &str) -> Value {
    operation(summary, TAG, [("204", bare("It is no more in force."))], WRITE_ERRORS)
}

fn object() -> Value {
    json!({"type": "object"})
}

fn reason() -> Value {
    json!({"type": ["string", "null"]})
}

fn moment() -> Value {
    json!({"type": ["string", "integer"], "description": "Position, hash or time."})
}

fn labels() -> Value {
    json!({"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}})
}

fn freeze() -> Value {
    let answers = [("200", response("What data planes receive.", &object()))];
    let summary = "Announce nothing newer to data planes";
    let mut at = moment();
    at["type"] = json!(["string", "integer", "null"]);
    with_body(
        operation(summary, TAG, answers, WRITE_ERRORS),
        &json!({"type": "object", "properties": {"reason": reason(), "at": at}}),
    )
}

fn unfreeze() -> Value {
    let answers = [("200", response("What data planes receive.", &object()))];
    let summary = "Announce new heads to data planes again";
    with_body(
        operation(summary, TAG, answers, WRITE_ERRORS),
        &json!({"type": "object", "properties": {"reason": reason()}}),
    )
}

fn set_pin() -> Value {
    let answers = [
        ("201", response("The pin.", &object())),
        ("200", response("The pin, which was there already.", &object())),
    ];
    let summary = "Pin a data plane, or those with some labels, to a config";
    with_body(
        operation(summary, TAG, answers, WRITE_ERRORS),
        &json!({
            "type": "object",
            "required": ["to"],
            "properties": {
                "node_id": {"type": "string", "format": "uuid"},
                "labels": labels(),
                "to": moment(),
                "reason": reason(),
            },
        }),
    )
}

fn plan() -> Value {
    let answers = [("200", response("The plan, and how far the last head got.", &object()))];
    let seconds = json!({"type": "integer", "minimum": 0, "maximum": u32::MAX});
    let wave = json!({"oneOf": [
        {
            "type": "object",
            "required": ["count"],
            "properties": {"count": {"type": "integer", "minimum": 1, "maximum": u32::MAX}},
            "additionalProperties": false,
        },
        {
            "type": "object",
            "required": ["labels"],
            "properties": {"labels": labels()},
            "additionalProperties": false,
        },
    ]});
    let summary = "Roll new heads out wave by wave, at last to everyone";
    with_body(
        operation(summary, TAG, answers, WRITE_ERRORS),
        &json!({
            "type": "object",
            "required": ["waves"],
            "properties": {
                "waves": {"type": "array", "minItems": 1, "maxItems": 32, "items": wave},
                "quiet_seconds": seconds,
                "timeout_seconds": seconds,
                "reason": reason(),
            },
            "additionalProperties": false,
        }),
    )
}
