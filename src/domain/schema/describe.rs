//! Descriptions: schemas as `GET /schemas/…` shows them. Members stand in Kong's shape and fields
//! in order of declaration; sentences for people are left out.

use serde_json::{Map, Value, json};

use super::{Check, Deprecation, Field, Fields, Mark, OnDelete, Shorthand, Type};
use crate::domain::canonical::encode_value;

/// Where a field stands. In Kong a record within a record is required unless it says otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Among the fields of a kind, a plugin or a record.
    Record,
    /// In a list or a map.
    Listed,
}

/// Returns the description of a kind, or of the fields and checks that a plugin or vault brings.
pub fn describe<'c>(fields: &Fields, checks: impl IntoIterator<Item = &'c Check>) -> Value {
    json!({"entity_checks": list_checks(checks), "fields": list(fields, Place::Record)})
}

/// Returns the description of one field, such as a plugin's `config`.
pub fn describe_field(declared: &Field) -> Value {
    field(declared, Place::Record)
}

fn list(fields: &Fields, place: Place) -> Value {
    let shown = fields.iter().filter(|(_, field)| !field.is(Mark::Hidden));
    shown.map(|(name, declared)| json!({name: field(declared, place)})).collect()
}

fn list_checks<'c>(checks: impl IntoIterator<Item = &'c Check>) -> Value {
    checks.into_iter().map(check).collect()
}

/// Returns the description of one field.
pub(super) fn field(field: &Field, place: Place) -> Value {
    let mut shown = Map::new();
    let mut show = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    show_type(field, place, &mut show);
    let implied = place == Place::Record && matches!(field.ty, Type::Record(_));
    if let Some(required) = field.declared_required.or(implied.then_some(true)) {
        show("required", required.into());
    }
    if let Some(default) = &field.default {
        show("default", whole(default));
    }
    if field.auto.is_some() {
        show("auto", true.into());
    }
    if field.unique {
        show("unique", true.into());
    }
    for mark in &field.marks {
        match mark {
            Mark::Encrypted => show("encrypted", true.into()),
            Mark::Referenceable => show("referenceable", true.into()),
            Mark::Transient => show("transient", true.into()),
            Mark::UniqueAcrossWorkspaces => show("unique_across_ws", true.into()),
            Mark::Hidden => {}
        }
    }
    if let Some(err) = field.err {
        show("err", err.into());
    }
    if let Some(deprecation) = &field.deprecation {
        show("deprecation", reason(deprecation));
    }
    for (name, value) in field.validators.iter().filter_map(super::Validator::shown) {
        show(name, value);
    }
    if !field.checks.is_empty() {
        show("entity_checks", list_checks(&field.checks));
    }
    if !field.shorthands.is_empty() {
        show("shorthand_fields", field.shorthands.iter().map(shorthand).collect());
    }
    Value::Object(shown)
}

fn show_type(field: &Field, place: Place, show: &mut impl FnMut(&str, Value)) {
    let listed = |element: &Field| self::field(element, Place::Listed);
    let name = match &field.ty {
        Type::String => "string",
        Type::Integer => "integer",
        Type::Number => "number",
        Type::Boolean => "boolean",
        Type::Array(_) => "array",
        Type::Set(_) => "set",
        Type::Map(..) => "map",
        Type::Record(_) | Type::Abstract => "record",
        Type::Foreign { .. } => "foreign",
        Type::Json(_) => "json",
    };
    show("type", name.into());
    match &field.ty {
        Type::Array(element) | Type::Set(element) => show("elements", listed(element)),
        Type::Map(keys, values) => {
            show("keys", listed(keys));
            show("values", listed(values));
        }
        Type::Record(fields) => show("fields", list(fields, place)),
        Type::Foreign { kind, on_delete } => {
            show("reference", kind.name().into());
            if *on_delete == OnDelete::Cascade {
                show("on_delete", "cascade".into());
            }
        }
        Type::Abstract => show("abstract", true.into()),
        Type::Json(schema) => show("json_schema", schema.clone()),
        _ => {}
    }
}

fn shorthand(shorthand: &Shorthand) -> Value {
    json!({shorthand.name: field(&shorthand.field, Place::Listed)})
}

fn reason(deprecation: &Deprecation) -> Value {
    let mut shown = json!({
        "message": deprecation.message,
        "removal_in_version": Deprecation::REMOVAL,
    });
    if let Some(default) = &deprecation.old_default {
        shown["old_default"] = whole(default);
    }
    if !deprecation.replaced_with.is_empty() {
        let path = |path: &&[&str]| json!({"path": path});
        shown["replaced_with"] = deprecation.replaced_with.iter().map(path).collect();
    }
    shown
}

fn check(check: &Check) -> Value {
    match check {
        Check::AtLeastOneOf(names) => json!({"at_least_one_of": names}),
        Check::OnlyOneOf(names) => json!({"only_one_of": names}),
        Check::Distinct(names) => json!({"distinct": names}),
        Check::MutuallyRequired(names) => json!({"mutually_required": names}),
        Check::MutuallyExclusive(names) => json!({"mutually_exclusive": names}),
        Check::MutuallyExclusiveSets(first, second) => {
            json!({"mutually_exclusive_sets": {"set1": first, "set2": second}})
        }
        Check::Conditional { if_field, if_match, then_field, then_match, then_err } => {
            let mut shown = json!({
                "if_field": if_field,
                "if_match": if_match.shown(),
                "then_field": then_field,
                "then_match": then_match.shown(),
            });
            if let Some(text) = then_err {
                shown["then_err"] = (*text).into();
            }
            json!({"conditional": shown})
        }
        Check::ConditionalAtLeastOneOf { if_field, if_match, then_at_least_one_of, then_err } => {
            let mut shown = json!({
                "if_field": if_field,
                "if_match": if_match.shown(),
                "then_at_least_one_of": then_at_least_one_of,
            });
            if let Some(text) = then_err {
                shown["then_err"] = (*text).into();
            }
            json!({"conditional_at_least_one_of": shown})
        }
        Check::Custom {
            field_sources, run_with_missing_fields, run_with_invalid_fields, ..
        } => {
            let mut shown = json!({"field_sources": field_sources});
            if *run_with_missing_fields {
                shown["run_with_missing_fields"] = true.into();
            }
            if *run_with_invalid_fields {
                shown["run_with_invalid_fields"] = true.into();
            }
            json!({"custom_entity_check": shown})
        }
    }
}

/// Returns a value with its whole numbers written as such, as Lua has them.
pub(super) fn whole(value: &Value) -> Value {
    match value {
        Value::Number(_) => {
            serde_json::from_str(&encode_value(value)).unwrap_or_else(|_| value.clone())
        }
        Value::Array(items) => items.iter().map(whole).collect(),
        Value::Object(object) => {
            Value::Object(object.iter().map(|(name, value)| (name.clone(), whole(value))).collect())
        }
        other => other.clone(),
    }
}
