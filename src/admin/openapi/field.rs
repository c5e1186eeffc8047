//! Fields as JSON Schema: as they are answered, and as they may be sent.

use serde_json::{Map, Value, json};

use crate::domain::catalog::Catalog;
use crate::domain::entity::Kind;
use crate::domain::kinds::plugin;
use crate::domain::schema::{Auto, Check, Field, Fields, Mark, Schema, Type, Validator};

/// What a schema describes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A document as it is answered: every field is there.
    Answer,
    /// A document as it is created.
    Create,
    /// What an update says.
    Update,
}

impl Use {
    /// What the name of such a schema ends in.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Answer => "",
            Self::Create => "_create",
            Self::Update => "_update",
        }
    }
}

/// Returns the name of the schema of a plugin's `config`.
fn config_name(plugin: &str, of: Use) -> String {
    format!("config_{plugin}{}", of.suffix())
}

/// Returns the schemas of a kind's documents and of every plugin's `config`, by name.
pub(super) fn components(catalog: &Catalog) -> Map<String, Value> {
    let mut schemas = Map::new();
    for of in [Use::Answer, Use::Create, Use::Update] {
        for schema in catalog.schemas() {
            let name = format!("{}{}", schema.kind, of.suffix());
            schemas.insert(name, document(catalog, schema, of));
        }
        for plugin in catalog.plugins() {
            schemas.insert(config_name(plugin.name, of), value(catalog, &plugin.config, of));
        }
    }
    schemas
}

/// Returns a reference to the schema of that name.
pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn document(catalog: &Catalog, schema: &Schema, of: Use) -> Value {
    let mut described = object(catalog, &schema.fields, of);
    if of != Use::Answer {
        for (name, field) in &schema.shorthands {
            described["properties"][*name] = value(catalog, field, Use::Update);
        }
    }
    if schema.ttl {
        described["properties"]["ttl"] = json!({"type": ["number", "null"]});
    }
    if let Some(by) = schema.named_by {
        described["properties"][by.list] =
            json!({"type": ["array", "null"], "items": {"type": "string", "minLength": 1}});
    }
    if of == Use::Create {
        let ways = ways(schema, &mut described);
        if !ways.is_empty() {
            described["allOf"] = ways.into();
        }
    }
    let configs: Vec<_> = catalog.plugins().map(|plugin| plugin.name).collect();
    if schema.kind == plugin::KIND && !configs.is_empty() && of != Use::Update {
        let one = |name: &str| {
            let config = json!({"anyOf": [reference(&config_name(name, of)), {"type": "null"}]});
            json!({"properties": {"name": {"const": name}, "config": config}})
        };
        described["anyOf"] = configs.into_iter().map(one).collect();
    }
    described
}

/// Returns what a new document must have one of: what is required or a shorthand for it, and one
/// field of each group.
fn ways(schema: &Schema, described: &mut Value) -> Vec<Value> {
    let set = |names: &[&str]| {
        let not_null = |name: &&str| ((*name).to_owned(), json!({"not": {"type": "null"}}));
        let properties: Map<_, _> = names.iter().map(not_null).collect();
        json!({"required": names, "properties": properties})
    };
    let mut ways = Vec::new();
    if !schema.shorthands.is_empty()
        && let Some(Value::Array(required)) =
            described.as_object_mut().and_then(|described| described.remove("required"))
    {
        let required: Vec<_> = required.iter().filter_map(Value::as_str).collect();
        let short = schema.shorthands.iter().map(|(name, _)| set(&[name]));
        let forms: Vec<_> = [set(&required)].into_iter().chain(short).collect();
        ways.push(json!({"anyOf": forms}));
    }
    for check in &schema.checks {
        if let Check::AtLeastOneOf(names) = check {
            let forms: Vec<_> = names.iter().map(|name| set(&[name])).collect();
            ways.push(json!({"anyOf": forms}));
        }
    }
    ways
}

fn object(catalog: &Catalog, fields: &Fields, of: Use) -> Value {
    let properties: Map<_, _> =
        fields.iter().map(|(name, field)| (name.to_owned(), value(catalog, field, of))).collect();
    let required: Vec<_> = fields
        .iter()
        .filter(|(_, field)| match of {
            Use::Answer => true,
            Use::Create => field.required && field.default.is_none() && is_plain(field),
            Use::Update => false,
        })
        .map(|(name, _)| name)
        .collect();
    let mut described =
        json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        described["required"] = required.into();
    }
    described
}

/// Returns whether an absent field stays absent: it neither fills itself nor is a record of
/// fields that do.
fn is_plain(field: &Field) -> bool {
    field.auto.is_none() && !matches!(field.ty, Type::Record(_))
}

/// Returns the JSON Schema of a field's values.
pub(super) fn value(catalog: &Catalog, field: &Field, of: Use) -> Value {
    let mut described = plain(catalog, field, of);
    // A reference into a vault keeps no rule of what it stands for.
    let is_free = field.marks.contains(&Mark::Referenceable);
    for validator in field.validators.iter().filter(|_| !is_free) {
        restrict(&mut described, field, validator, of);
    }
    if field.auto == Some(Auto::Id) {
        described["format"] = "uuid".into();
    }
    if let Some(default) = field.default.as_ref().filter(|_| of == Use::Create) {
        described["default"] = default.clone();
    }
    let always_there = of == Use::Answer && field.auto == Some(Auto::Id);
    if !field.required && !always_there {
        admit_null(&mut described);
    }
    described
}

fn plain(catalog: &Catalog, field: &Field, of: Use) -> Value {
    match &field.ty {
        Type::String if of == Use::Answer => json!({"type": "string"}),
        // An empty text is no text, unless the field says so.
        Type::String => json!({"type": "string", "minLength": 1}),
        Type::Integer => json!({"type": "integer"}),
        Type::Number => json!({"type": "number"}),
        Type::Boolean => json!({"type": "boolean"}),
        Type::Array(element) | Type::Set(element) => {
            json!({"type": "array", "items": value(catalog, element, of)})
        }
        Type::Map(_, values) => {
            json!({"type": "object", "additionalProperties": value(catalog, values, of)})
        }
        Type::Record(fields) => {
            let mut described = object(catalog, fields, of);
            // Old names are taken, and some are shown.
            for short in &field.shorthands {
                described["properties"][short.name] = value(catalog, &short.field, Use::Update);
            }
            described
        }
        Type::Foreign { kind, .. } => foreign(catalog, *kind, of),
        Type::Abstract => json!({"type": "object"}),
        Type::Json(_) => json!({}),
    }
}

/// Describes a reference: by id, and when it is sent also by name.
fn foreign(catalog: &Catalog, kind: Kind, of: Use) -> Value {
    let id = json!({"type": "string", "format": "uuid"});
    let by = |name: &str, schema: Value| {
        json!({
            "type": "object",
            "required": [name],
            "properties": {name: schema},
            "additionalProperties": false,
        })
    };
    match catalog.schema(kind).endpoint_key.filter(|_| of != Use::Answer) {
        None => by("id", id),
        Some(key) => {
            let name = by(key, json!({"type": "string", "minLength": 1}));
            json!({"anyOf": [by("id", id), name]})
        }
    }
}

fn restrict(described: &mut Value, field: &Field, validator: &Validator, of: Use) {
    match validator {
        Validator::Eq(only) => described["const"] = only.clone(),
        Validator::OneOf(values) => described["enum"] = values.clone().into(),
        Validator::Uuid => described["format"] = "uuid".into(),
        Validator::Timestamp => described["exclusiveMinimum"] = 0.into(),
        Validator::Gt(bound) => described["exclusiveMinimum"] = number(*bound),
        Validator::Between(low, high) => {
            described["minimum"] = number(*low);
            described["maximum"] = number(*high);
        }
        Validator::StartsWith(start) => {
            described["pattern"] = format!("^{}", escape(start)).into();
        }
        // Some lengths count bytes, and what is answered counts characters.
        Validator::LenMin(length) if of != Use::Answer => bound(described, field, "min", *length),
        Validator::LenMax(length) if of != Use::Answer => bound(described, field, "max", *length),
        _ => {}
    }
}

/// Returns a bound as JSON, a whole one as an integer.
fn number(bound: f64) -> Value {
    if bound.fract() == 0.0 && bound.abs() < 9e15 { (bound as i64).into() } else { bound.into() }
}

fn bound(described: &mut Value, field: &Field, end: &str, length: usize) {
    match field.ty {
        Type::String => described[format!("{end}Length")] = length.into(),
        Type::Array(_) | Type::Set(_) => described[format!("{end}Items")] = length.into(),
        _ => {}
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for sign in text.chars() {
        if !sign.is_alphanumeric() && sign != '/' {
            escaped.push('\\');
        }
        escaped.push(sign);
    }
    escaped
}

fn admit_null(described: &mut Value) {
    let Some(object) = described.as_object_mut() else { return };
    if let Some(Value::Array(forms)) = object.get_mut("anyOf") {
        forms.push(json!({"type": "null"}));
    }
    if let Some(Value::String(ty)) = object.get("type").cloned() {
        object.insert("type".into(), json!([ty, "null"]));
    }
    if let Some(Value::Array(values)) = object.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    if let Some(only) = object.remove("const") {
        object.insert("enum".into(), json!([only, null]));
    }
}
