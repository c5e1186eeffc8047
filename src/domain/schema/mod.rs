//! The schema engine: what a kind's documents may hold, as data.
//!
//! One schema is the source for validation and Kong's error texts, defaults, unique values,
//! references, the Admin API's paths, the data plane's own check and what `GET /schemas/…` shows
//! (behaviour: reference gateway-1, section A.1).
//!
//! To add a kind: a file in `domain/kinds/` with `schema()` and its typed struct, and a line in
//! the table of `domain/kinds/mod.rs`.

mod check;
mod complete;
mod condition;
mod deprecated;
mod describe;
mod field;
mod named;
mod pattern;
mod rules;
mod shorthand;
#[cfg(test)]
mod tests;
mod transform;
mod validate;
mod validator;

pub use check::{Check, Names};
pub use complete::{complete, merge, normalise};
pub use condition::Match;
pub use deprecated::deprecated;
pub use describe::{describe, describe_field};
pub use field::{Auto, Field, Fields, Mark, OnDelete, Type};
pub use named::NamedBy;
pub use pattern::Pattern;
pub use shorthand::{Deprecation, Expand, Shorthand, expand, expand_fields};
pub use transform::{Transform, TransformFn};
use validate::is_reference;
pub use validate::{UnknownNull, value_with as check_value};
pub use validator::{Refusal, Rule, Validator};

use serde_json::{Map, Value};

use super::canonical::Document;
use super::entity::Kind;
use super::rejection::FieldErrors;

/// Rewrites a body before defaults are applied, such as `url` into protocol, host, port, path.
pub type Rewrite = fn(&mut Document) -> Result<(), FieldErrors>;

/// A rule over a whole document that data cannot say; returns the errors it finds.
pub type Custom = fn(&Document) -> FieldErrors;

/// What the documents of one kind may hold, and how clients reach them.
#[derive(Clone)]
pub struct Schema {
    /// The kind, by the name of Kong's schema.
    pub kind: Kind,
    /// The path segment of the collection, such as `key-auths`.
    pub admin_path: &'static str,
    /// The path segment under a parent, such as `key-auth` in `/consumers/{c}/key-auth`.
    pub nested_path: &'static str,
    /// Whether `/{admin_path}` exists; targets live only under their upstream.
    pub top_level: bool,
    /// The unique field that may stand for the id in paths.
    pub endpoint_key: Option<&'static str>,
    /// The fields in order of declaration.
    pub fields: Fields,
    /// Fields whose combination is unique, null counting as a value.
    pub cache_key: &'static [&'static str],
    /// The rules over several fields.
    pub checks: Vec<Check>,
    /// Rules in code, after the checks.
    pub custom: Vec<Custom>,
    /// Fields that are accepted as input only, with the rewrite that expands them.
    pub shorthands: Vec<(&'static str, Field)>,
    /// Expands the shorthands.
    pub rewrite: Option<Rewrite>,
    /// What becomes of a document that is known to be valid, such as hashing a password.
    pub transforms: Vec<Transform>,
    /// Whether entities end by themselves: see [`lifetime`](super::lifetime).
    pub ttl: bool,
    /// The field that may stand for the id in paths under a parent, if not the endpoint key.
    pub nested_key: Option<&'static str>,
    /// The kind whose names may stand for the id in paths.
    pub named_by: Option<NamedBy>,
    /// Whether what may stand for the id is a secret, which no log line shows.
    pub secret_key: bool,
    /// Whether no path leads to the kind.
    pub unreachable: bool,
    /// The foreign fields that make no paths.
    pub pathless: &'static [&'static str],
    /// What a document may hold beyond, by its field `name`.
    pub subschemas: Vec<Subschema>,
}

/// What documents of one `name` hold in place of a kind's abstract fields, such as the vaults of
/// one sort.
#[derive(Clone)]
pub struct Subschema {
    /// The value of the field `name`.
    pub name: &'static str,
    /// Its fields, each in place of the kind's own.
    pub fields: Fields,
    /// The rules over several fields, after the kind's own.
    pub checks: Vec<Check>,
}

impl Subschema {
    /// Starts the part of a schema for documents of this name.
    pub fn new(name: &'static str) -> Self {
        Self { name, fields: Fields::default(), checks: Vec::new() }
    }

    /// Adds a field.
    pub fn field(mut self, name: &'static str, field: Field) -> Self {
        self.fields.push(name, field);
        self
    }

    /// Adds a rule over several fields.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }
}

impl Schema {
    /// Starts a schema whose collection has the kind's own name.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            admin_path: kind.name(),
            nested_path: kind.name(),
            top_level: true,
            endpoint_key: None,
            fields: Fields::default(),
            cache_key: &[],
            checks: Vec::new(),
            custom: Vec::new(),
            shorthands: Vec::new(),
            rewrite: None,
            transforms: Vec::new(),
            ttl: false,
            nested_key: None,
            named_by: None,
            secret_key: false,
            unreachable: false,
            pathless: &[],
            subschemas: Vec::new(),
        }
    }

    /// Sets the collection's path segments, at top level and under a parent.
    pub fn paths(mut self, top: &'static str, nested: &'static str) -> Self {
        (self.admin_path, self.nested_path) = (top, nested);
        self
    }

    /// Makes the kind reachable only under its parent.
    pub fn nested_only(mut self) -> Self {
        self.top_level = false;
        self
    }

    /// Names the unique field that may stand for the id.
    pub fn endpoint_key(mut self, name: &'static str) -> Self {
        self.endpoint_key = Some(name);
        self
    }

    /// Adds a field.
    pub fn field(mut self, name: &'static str, field: Field) -> Self {
        self.fields.push(name, field);
        self
    }

    /// Adds what documents of one `name` hold.
    pub fn subschema(mut self, subschema: Subschema) -> Self {
        self.subschemas.push(subschema);
        self
    }

    /// Names the fields whose combination is unique.
    pub fn cache_key(mut self, fields: &'static [&'static str]) -> Self {
        self.cache_key = fields;
        self
    }

    /// Adds a rule over several fields.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds a rule in code.
    pub fn custom(mut self, custom: Custom) -> Self {
        self.custom.push(custom);
        self
    }

    /// Adds an input-only field; [`Schema::rewrite`] says what becomes of it.
    pub fn shorthand(mut self, name: &'static str, field: Field) -> Self {
        self.shorthands.push((name, field));
        self
    }

    /// Sets what expands the shorthands.
    pub fn rewrite(mut self, rewrite: Rewrite) -> Self {
        self.rewrite = Some(rewrite);
        self
    }

    /// Adds a change to valid documents, made once when a body has one of `inputs`.
    pub fn transform(mut self, inputs: &'static [&'static str], run: TransformFn) -> Self {
        self.transforms.push(Transform { inputs, once: true, run });
        self
    }

    /// Adds a change whose result depends on `inputs` alone, so that it may be made again.
    pub fn derive(mut self, inputs: &'static [&'static str], run: TransformFn) -> Self {
        self.transforms.push(Transform { inputs, once: false, run });
        self
    }

    /// Lets entities end by themselves; adds the field for it.
    pub fn ttl(mut self) -> Self {
        self.ttl = true;
        self.field(super::lifetime::FIELD, Field::integer().hidden())
    }

    /// Names the field that may stand for the id in paths under a parent.
    pub fn nested_key(mut self, name: &'static str) -> Self {
        self.nested_key = Some(name);
        self
    }

    /// Lets the names of another kind stand for the id.
    pub fn named_by(mut self, by: NamedBy) -> Self {
        self.named_by = Some(by);
        self
    }

    /// Makes what may stand for the id a secret.
    pub fn secret_key(mut self) -> Self {
        self.secret_key = true;
        self
    }

    /// Keeps the kind out of all paths.
    pub fn unreachable(mut self) -> Self {
        (self.top_level, self.unreachable) = (false, true);
        self
    }

    /// Keeps foreign fields from making paths.
    pub fn pathless(mut self, fields: &'static [&'static str]) -> Self {
        self.pathless = fields;
        self
    }

    /// Returns the foreign fields: name, kind referred to, what a deletion there does here.
    pub fn foreign_fields(&self) -> impl Iterator<Item = (&'static str, Kind, OnDelete)> + '_ {
        self.fields.iter().filter_map(|(name, field)| match field.ty {
            Type::Foreign { kind, on_delete } => Some((name, kind, on_delete)),
            _ => None,
        })
    }

    /// Returns the names of the fields that are unique on their own.
    pub fn unique_fields(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.fields.iter().filter(|(_, field)| field.unique).map(|(name, _)| name)
    }

    /// Checks a complete document: every field, then the checks, `more` of a subschema included.
    pub fn validate(
        &self,
        fields: &Fields,
        more: &[Check],
        document: &Document,
        unknown: UnknownNull,
    ) -> FieldErrors {
        let checks = self.checks.iter().chain(more);
        let mut errors = validate::document(fields, checks, document, unknown);
        for custom in &self.custom {
            errors.extend(custom(document));
        }
        errors
    }

    /// Checks the input-only fields, before they are expanded.
    pub fn validate_shorthands(&self, document: &Document) -> Result<(), FieldErrors> {
        let mut errors = FieldErrors::default();
        for (name, field) in &self.shorthands {
            if let Some(error) = document.get(*name).and_then(|v| validate::value(field, v)) {
                errors.insert(name, error);
            }
        }
        errors.into_result()
    }
}

/// Returns a document as the Admin API shows it: every field present, unset ones null.
pub fn present(fields: &Fields, mut document: Document) -> Document {
    let mut shown = Map::new();
    for (name, field) in fields.iter() {
        let value = document.remove(name).unwrap_or(Value::Null);
        shown.insert(name.to_owned(), present_value(field, value));
    }
    shown.extend(document);
    shown
}

/// Returns a value as the Admin API shows it: in records every field present, unset ones null,
/// and the old names of renamed fields.
fn present_value(field: &Field, value: Value) -> Value {
    match (&field.ty, value) {
        (Type::Record(fields), Value::Object(object)) => {
            let mut shown = present(fields, object);
            shorthand::show(&field.shorthands, &mut shown);
            Value::Object(shown)
        }
        (Type::Array(element) | Type::Set(element), Value::Array(items)) => {
            items.into_iter().map(|item| present_value(element, item)).collect()
        }
        (Type::Map(_, values), Value::Object(object)) => {
            let shown = object.into_iter().map(|(name, v)| (name, present_value(values, v)));
            Value::Object(shown.collect())
        }
        (_, value) => value,
    }
}
