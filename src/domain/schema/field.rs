//! Fields: a type, its validators, and what happens when the field is absent.

use serde_json::{Map, Value};

use super::{Check, Deprecation, Shorthand, Validator};
use crate::domain::entity::Kind;

/// What kind of JSON value a field holds.
#[derive(Clone)]
pub enum Type {
    /// Text; not empty unless `len_min` says so.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// A list, order kept.
    Array(Box<Field>),
    /// A list without duplicates, order kept.
    Set(Box<Field>),
    /// An object with free keys.
    Map(Box<Field>, Box<Field>),
    /// An object with declared fields.
    Record(Fields),
    /// A reference `{"id": …}` to an entity of another kind.
    Foreign {
        /// The kind referred to.
        kind: Kind,
        /// What a deletion there does here.
        on_delete: OnDelete,
    },
    /// A record whose fields depend on another field: a plugin's `config`.
    Abstract,
    /// Any JSON value, under a JSON schema that is shown in this form.
    Json(Value),
}

/// What a deletion does to the entities that refer to the deleted one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDelete {
    /// The deletion is refused.
    Restrict,
    /// They are deleted too.
    Cascade,
    /// They are part of it and go with it, though its schema does not say so.
    Owned,
}

/// How a field gets its value by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auto {
    /// A fresh id.
    Id,
    /// Seconds since 1970 when the entity was made.
    CreatedAt,
    /// Seconds since 1970 of the last write.
    UpdatedAt,
    /// 32 random letters and digits.
    Secret,
}

/// What a field says about itself beside its type, default and rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// A secret, as Kong Enterprise would store it encrypted.
    Encrypted,
    /// A text that may be a reference into a vault, which the rules do not look into.
    Referenceable,
    /// A field that is not stored.
    Transient,
    /// Unique in all workspaces, of which there is one.
    UniqueAcrossWorkspaces,
    /// A field that Kong has without declaring it, such as `ttl`.
    Hidden,
}

/// One field.
#[derive(Clone)]
pub struct Field {
    /// What it holds.
    pub ty: Type,
    /// Whether null is refused.
    pub required: bool,
    /// What was declared about [`Field::required`], which descriptions show.
    pub declared_required: Option<bool>,
    /// The value when the field is absent.
    pub default: Option<Value>,
    /// Whether and how it fills itself.
    pub auto: Option<Auto>,
    /// Whether no two entities may share a value.
    pub unique: bool,
    /// Whether times carry milliseconds.
    pub milliseconds: bool,
    /// What it says about itself.
    pub marks: Vec<Mark>,
    /// What is said in place of whatever a rule would say.
    pub err: Option<&'static str>,
    /// Why it should not be used any more.
    pub deprecation: Option<Deprecation>,
    /// The rules, in the order in which they are tried.
    pub validators: Vec<Validator>,
    /// The rules over several fields of a record.
    pub checks: Vec<Check>,
    /// Fields of a record that are accepted as input and expanded into others.
    pub shorthands: Vec<Shorthand>,
}

impl Field {
    fn new(ty: Type) -> Self {
        // Kong makes every record field of an entity required, so an absent one is filled.
        let required = matches!(ty, Type::Record(_) | Type::Abstract);
        Self {
            ty,
            required,
            declared_required: None,
            default: None,
            auto: None,
            unique: false,
            milliseconds: false,
            marks: Vec::new(),
            err: None,
            deprecation: None,
            validators: Vec::new(),
            checks: Vec::new(),
            shorthands: Vec::new(),
        }
    }

    /// Text.
    pub fn string() -> Self {
        Self::new(Type::String)
    }

    /// A whole number.
    pub fn integer() -> Self {
        Self::new(Type::Integer)
    }

    /// Any number.
    pub fn number() -> Self {
        Self::new(Type::Number)
    }

    /// True or false.
    pub fn boolean() -> Self {
        Self::new(Type::Boolean)
    }

    /// A list of `element`, none of which is null.
    pub fn array(element: Self) -> Self {
        Self::new(Type::Array(Box::new(element.never_null())))
    }

    /// A list of `element` without duplicates.
    pub fn set(element: Self) -> Self {
        Self::new(Type::Set(Box::new(element.never_null())))
    }

    /// An object with free keys.
    pub fn map(keys: Self, values: Self) -> Self {
        Self::new(Type::Map(Box::new(keys), Box::new(values.never_null())))
    }

    /// An object with declared fields.
    pub fn record(fields: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        Self::new(Type::Record(Fields(fields.into_iter().collect())))
    }

    /// A reference to an entity of `kind`.
    pub fn foreign(kind: Kind, on_delete: OnDelete) -> Self {
        Self::new(Type::Foreign { kind, on_delete })
    }

    /// A record whose fields the catalog knows.
    pub fn abstract_record() -> Self {
        Self::new(Type::Abstract)
    }

    /// Any JSON value; `schema` is what Kong shows as `json_schema`.
    pub fn json(schema: Value) -> Self {
        Self::new(Type::Json(schema))
    }

    /// Refuses null.
    pub fn required(mut self) -> Self {
        (self.required, self.declared_required) = (true, Some(true));
        self
    }

    /// Accepts null, also for a record.
    pub fn optional(mut self) -> Self {
        (self.required, self.declared_required) = (false, Some(false));
        self
    }

    /// Refuses null for where the field stands; its description does not say so.
    pub(super) fn never_null(mut self) -> Self {
        self.required = true;
        self
    }

    /// Sets the value for an absent field.
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Makes the defaults of a record's fields the record's own default, so that they are shown.
    pub fn default_of_fields(self) -> Self {
        let defaults = self.fields().map(Fields::defaults).unwrap_or_default();
        self.default(Value::Object(defaults))
    }

    /// Lets the field fill itself.
    pub fn auto(mut self, auto: Auto) -> Self {
        self.auto = Some(auto);
        match auto {
            Auto::CreatedAt | Auto::UpdatedAt => self.rule(Validator::Timestamp),
            Auto::Id | Auto::Secret => self,
        }
    }

    /// Makes values unique.
    pub fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// Makes an automatic time carry milliseconds.
    pub fn milliseconds(mut self) -> Self {
        self.milliseconds = true;
        self
    }

    /// Makes the field a secret.
    pub fn encrypted(self) -> Self {
        self.mark(Mark::Encrypted)
    }

    /// Lets a text be a reference into a vault, such as `{vault://env/name}`.
    pub fn referenceable(self) -> Self {
        self.mark(Mark::Referenceable)
    }

    /// Keeps the field out of what is stored.
    pub fn transient(self) -> Self {
        self.mark(Mark::Transient)
    }

    /// Makes values unique in all workspaces.
    pub fn unique_across_workspaces(self) -> Self {
        self.mark(Mark::UniqueAcrossWorkspaces)
    }

    /// Keeps the field out of descriptions.
    pub fn hidden(self) -> Self {
        self.mark(Mark::Hidden)
    }

    fn mark(mut self, mark: Mark) -> Self {
        self.marks.push(mark);
        self
    }

    /// Says `text` whenever a rule refuses a value.
    pub fn err(mut self, text: &'static str) -> Self {
        self.err = Some(text);
        self
    }

    /// Says why the field should not be used any more.
    pub fn deprecated(mut self, deprecation: Deprecation) -> Self {
        self.deprecation = Some(deprecation);
        self
    }

    /// Adds a rule over several fields of a record; their names start from the record.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds an input-only field to a record.
    pub fn shorthand(mut self, shorthand: Shorthand) -> Self {
        self.shorthands.push(shorthand);
        self
    }

    /// Returns whether the field says this about itself.
    pub fn is(&self, mark: Mark) -> bool {
        self.marks.contains(&mark)
    }

    /// Returns the fields of a record.
    pub fn fields(&self) -> Option<&Fields> {
        match &self.ty {
            Type::Record(fields) => Some(fields),
            _ => None,
        }
    }
}

/// Fields in order of declaration.
#[derive(Clone, Default)]
pub struct Fields(Vec<(&'static str, Field)>);

impl Fields {
    /// Adds a field, or replaces the one of the same name.
    pub fn push(&mut self, name: &'static str, field: Field) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = field,
            None => self.0.push((name, field)),
        }
    }

    /// Returns the field called `name`.
    pub fn find(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, field)| field)
    }

    /// Returns the field at a dotted name, through records.
    pub fn find_path(&self, path: &str) -> Option<&Field> {
        match path.split_once('.') {
            None => self.find(path),
            Some((head, rest)) => self.find(head)?.fields()?.find_path(rest),
        }
    }

    /// Returns the defaults of all fields that have one, those of records gathered.
    pub fn defaults(&self) -> Map<String, Value> {
        let default = |field: &Field| match (&field.default, &field.ty) {
            (Some(default), _) => Some(default.clone()),
            (None, Type::Record(fields)) if field.required => Some(fields.defaults().into()),
            _ => None,
        };
        let named =
            |(name, field): (&'static str, &Field)| Some((name.to_owned(), default(field)?));
        self.iter().filter_map(named).collect()
    }

    /// Returns all fields.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Field)> {
        self.0.iter().map(|(name, field)| (*name, field))
    }
}
