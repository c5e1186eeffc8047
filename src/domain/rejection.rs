//! Rejections: why a write was refused, with Kong's codes, names, texts and fields
//! (reference gateway-2, section B.3).

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::canonical::encode_value;
use super::entity::{Key, Kind};
use super::lua;

/// What is wrong with a document, field by field; `@entity` holds what concerns several fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors(Map<String, Value>);

/// The member that holds errors over several fields.
const ENTITY: &str = "@entity";

impl FieldErrors {
    /// Returns errors with one field in error.
    pub fn one(field: &str, error: impl Into<Value>) -> Self {
        let mut errors = Self::default();
        errors.insert(field, error.into());
        errors
    }

    /// Says what is wrong with a field; the first error of a field stays.
    pub fn insert(&mut self, field: &str, error: Value) {
        self.0.entry(field).or_insert(error);
    }

    /// Says what is wrong with a dotted field.
    pub fn insert_path(&mut self, path: &str, error: Value) {
        match path.split_once('.') {
            None => self.insert(path, error),
            Some((head, rest)) => {
                let inner = self.0.entry(head).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(inner) = inner {
                    let mut nested = Self(std::mem::take(inner));
                    nested.insert_path(rest, error);
                    *inner = nested.0;
                }
            }
        }
    }

    /// Says what is wrong with a dotted field in place of what was said before.
    pub fn set_path(&mut self, path: &str, error: Value) {
        match path.split_once('.') {
            None => drop(self.0.insert(path.to_owned(), error)),
            Some((head, rest)) => {
                let inner = match self.0.remove(head) {
                    Some(Value::Object(inner)) => inner,
                    _ => Map::new(),
                };
                let mut inner = Self(inner);
                inner.set_path(rest, error);
                self.0.insert(head.to_owned(), Value::Object(inner.0));
            }
        }
    }

    /// Adds an error over several fields.
    pub fn entity(&mut self, text: impl Into<String>) {
        let list = self.0.entry(ENTITY).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(Value::String(text.into()));
        }
    }

    /// Returns whether a dotted field is in error already.
    pub fn has(&self, path: &str) -> bool {
        let mut parts = path.split('.');
        let first = parts.next().and_then(|part| self.0.get(part));
        parts.fold(first, |error, part| error.and_then(|e| e.get(part))).is_some()
    }

    /// Returns whether a field of the document itself is in error; `path` is not looked into.
    pub fn has_top(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Adds all errors of `other`.
    pub fn extend(&mut self, other: Self) {
        for (field, error) in other.0 {
            match (self.0.get_mut(&field), error) {
                (Some(Value::Array(mine)), Value::Array(theirs)) if field == ENTITY => {
                    mine.extend(theirs);
                }
                (Some(_), _) => {}
                (None, error) => drop(self.0.insert(field, error)),
            }
        }
    }

    /// Words the errors as those of an update: what must not be empty may be so for what the
    /// update left out.
    pub fn when_updating(mut self) -> Self {
        self.0.values_mut().for_each(reword);
        if let Some(list) = self.0.get_mut(ENTITY) {
            reword_list(list);
        }
        self
    }

    /// Returns `Err` with the errors if there are any.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Returns the errors as JSON, nothing if there are none.
    pub fn into_value(self) -> Option<Value> {
        (!self.0.is_empty()).then_some(Value::Object(self.0))
    }

    /// Returns the errors as the `fields` of an answer.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Returns each error as one line of text: `@entity` first, then by field name.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(Value::Array(list)) = self.0.get(ENTITY) {
            lines.extend(list.iter().filter_map(|text| text.as_str().map(str::to_owned)));
        }
        let mut fields: Vec<_> = self.0.iter().filter(|(name, _)| *name != ENTITY).collect();
        fields.sort_unstable_by_key(|(name, _)| name.as_str());
        for (name, error) in fields {
            push_lines(&mut lines, name, error);
        }
        lines
    }
}

/// Rewords the errors over several fields of a nested record.
fn reword(error: &mut Value) {
    if let Value::Object(inner) = error {
        for (field, error) in inner {
            if field == ENTITY { reword_list(error) } else { reword(error) }
        }
    }
}

fn reword_list(errors: &mut Value) {
    for error in errors.as_array_mut().into_iter().flatten() {
        if let Value::String(text) = error
            && text.starts_with("at least one of these fields must be non-empty")
        {
            text.insert_str(0, "when updating, ");
        }
    }
}

fn push_lines(lines: &mut Vec<String>, name: &str, error: &Value) {
    match error {
        Value::String(text) => lines.push(format!("{name}: {text}")),
        Value::Object(inner) => {
            let mut inner: Vec<_> = inner.iter().collect();
            inner.sort_unstable_by_key(|(field, _)| field.as_str());
            lines.extend(inner.iter().map(|(field, e)| format!("{name}.{field}: {}", text_of(e))));
        }
        Value::Array(items) => {
            let bad = items.iter().enumerate().filter(|(_, error)| !error.is_null());
            lines.extend(bad.map(|(i, e)| format!("{name}.{}: {}", i + 1, text_of(e))));
        }
        other => lines.push(format!("{name}: {}", encode_value(other))),
    }
}

fn text_of(error: &Value) -> String {
    error.as_str().map_or_else(|| lua::block(error), str::to_owned)
}

/// A reference by name that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The foreign field.
    pub field: &'static str,
    /// The kind it refers to.
    pub kind: Kind,
    /// The unique field that was looked for.
    pub name: &'static str,
    /// Its value.
    pub value: Value,
}

impl Unresolved {
    fn line(&self) -> String {
        format!("{}.{}: {}", self.field, self.name, self.why())
    }

    fn why(&self) -> String {
        let (kind, key) = (self.kind, lua::literal(&json!({self.name: self.value})));
        format!("the foreign key cannot be resolved with '{key}' for an existing '{kind}' entity")
    }
}

/// Why a write was refused. All of these are the caller's to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// An id in the path is not a UUID and the kind has no name to try.
    InvalidKey,
    /// The document breaks its schema.
    Schema(FieldErrors),
    /// An entity with this id exists.
    Exists(Uuid),
    /// A reference leads nowhere.
    DanglingReference {
        /// The foreign field.
        field: String,
        /// The kind it refers to.
        kind: Kind,
        /// The id that is not there.
        id: Uuid,
    },
    /// The entity cannot go: others refer to it.
    Referenced {
        /// The entity's kind.
        kind: Kind,
        /// The kind of those who refer to it.
        by: Kind,
    },
    /// Another entity has this unique value, or combination of values.
    NotUnique(Map<String, Value>),
    /// There is no such entity: its id, or its unique field and value.
    NotFound(Map<String, Value>),
    /// References by name lead nowhere.
    Unresolved(Vec<Unresolved>),
    /// An option beside the fields, such as `ttl`, is wrong.
    Option {
        /// Which.
        name: &'static str,
        /// What is wrong.
        error: String,
    },
    /// A CA certificate cannot go: an entity lists its id.
    Listed {
        /// The certificate.
        id: Uuid,
        /// Who lists it.
        by: Key,
    },
    /// A declarative configuration is not valid: the tree of what is wrong.
    Declarative(FieldErrors),
}

impl Rejection {
    /// Returns Kong's error code.
    pub fn code(&self) -> u8 {
        match self {
            Self::InvalidKey => 1,
            Self::Schema(_) => 2,
            Self::Exists(_) => 3,
            Self::DanglingReference { .. } | Self::Referenced { .. } => 4,
            Self::NotUnique(_) => 5,
            Self::NotFound(_) => 6,
            Self::Option { .. } => 11,
            Self::Unresolved(_) => 13,
            Self::Declarative(_) => 14,
            Self::Listed { .. } => 19,
        }
    }

    /// Returns Kong's error name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InvalidKey => "invalid primary key",
            Self::Schema(_) => "schema violation",
            Self::Exists(_) => "primary key violation",
            Self::DanglingReference { .. } | Self::Referenced { .. } => "foreign key violation",
            Self::NotUnique(_) => "unique constraint violation",
            Self::NotFound(_) => "not found",
            Self::Option { .. } => "invalid options",
            Self::Unresolved(_) => "foreign keys unresolved",
            Self::Listed { .. } => "referenced by others",
            Self::Declarative(_) => "invalid declarative configuration",
        }
    }

    /// Returns Kong's message.
    pub fn message(&self) -> String {
        match self {
            Self::InvalidKey => "invalid primary key: '{id=\"expected a valid UUID\"}'".to_owned(),
            Self::Schema(errors) => counted("schema violation", &errors.lines()),
            Self::Exists(_) => {
                format!("primary key violation on key '{}'", lua::literal(&self.fields()))
            }
            Self::DanglingReference { kind, id, .. } => format!(
                "the foreign key '{{id=\"{id}\"}}' does not reference an existing '{kind}' entity."
            ),
            Self::Referenced { kind, by } => {
                format!("an existing '{by}' entity references this '{kind}' entity")
            }
            Self::NotUnique(key) => {
                format!(
                    "UNIQUE violation detected on '{}'",
                    lua::literal(&Value::Object(key.clone()))
                )
            }
            Self::NotFound(key) => {
                let primary = if key.contains_key("id") { "primary key " } else { "" };
                let key = lua::literal(&Value::Object(key.clone()));
                format!("could not find the entity with {primary}'{key}'")
            }
            Self::Unresolved(references) => {
                let lines: Vec<_> = references.iter().map(Unresolved::line).collect();
                match lines.as_slice() {
                    [line] => format!("foreign key unresolved ({line})"),
                    lines => {
                        format!("{} foreign keys unresolved ({})", lines.len(), lines.join("; "))
                    }
                }
            }
            Self::Option { name, error } => format!("invalid option ({name}: {error})"),
            Self::Listed { id, by } => {
                format!("ca certificate {id} is still referenced by {} (id = {})", by.kind, by.id)
            }
            Self::Declarative(errors) => format!(
                "declarative config is invalid: {}",
                lua::literal(&Value::Object(errors.as_map().clone()))
            ),
        }
    }

    /// Returns what the answer's `fields` says.
    pub fn fields(&self) -> Value {
        match self {
            Self::InvalidKey => json!({"id": "expected a valid UUID"}),
            Self::Schema(errors) | Self::Declarative(errors) => {
                Value::Object(errors.as_map().clone())
            }
            Self::Exists(id) => json!({"id": id}),
            Self::DanglingReference { field, id, .. } => json!({field: {"id": id}}),
            Self::Referenced { by, .. } => json!({"@referenced_by": by.name()}),
            Self::NotUnique(key) | Self::NotFound(key) => Value::Object(key.clone()),
            Self::Unresolved(references) => {
                let mut errors = FieldErrors::default();
                for reference in references {
                    let path = format!("{}.{}", reference.field, reference.name);
                    errors.insert_path(&path, reference.why().into());
                }
                Value::Object(errors.0)
            }
            Self::Option { name, error } => json!({*name: error}),
            Self::Listed { .. } => Value::Null,
        }
    }
}

impl From<FieldErrors> for Rejection {
    fn from(errors: FieldErrors) -> Self {
        Self::Schema(errors)
    }
}

/// One line as `what (line)`, several as `N whats (line; line)`.
fn counted(what: &str, lines: &[String]) -> String {
    match lines {
        [line] => format!("{what} ({line})"),
        lines => format!("{} {what}s ({})", lines.len(), lines.join("; ")),
    }
}
