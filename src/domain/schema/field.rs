//! Fields: a type, its validators, and what happens when the field is absent.

use std::sync::Arc;

use serde_json::Value;

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

/// A rule in code; the error is the text shown.
pub type Rule = Arc<dyn Fn(&Value) -> Result<(), String> + Send + Sync>;

/// A rule over one value. The texts are Kong's (reference gateway-1, section A.1).
#[derive(Clone)]
pub enum Validator {
    /// Equal to this.
    Eq(Value),
    /// One of these.
    OneOf(Vec<Value>),
    /// Greater than this.
    Gt(f64),
    /// Between these, both included.
    Between(i64, i64),
    /// At least this many characters, bytes or items.
    LenMin(usize),
    /// At most this many.
    LenMax(usize),
    /// Begins with this text.
    StartsWith(&'static str),
    /// A rule in code; the error is the text shown.
    Custom(Rule),
    /// At most one of these groups may be present in a set.
    ExclusiveSubsets(&'static [&'static [&'static str]]),
}

impl Validator {
    /// Makes a rule of code.
    pub fn code(rule: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(rule))
    }
}

/// One field.
#[derive(Clone)]
pub struct Field {
    /// What it holds.
    pub ty: Type,
    /// Whether null is refused.
    pub required: bool,
    /// The value when the field is absent.
    pub default: Option<Value>,
    /// Whether and how it fills itself.
    pub auto: Option<Auto>,
    /// Whether no two entities may share a value.
    pub unique: bool,
    /// Whether times carry milliseconds.
    pub milliseconds: bool,
    /// Whether the field is checked but not kept: other entities hold what it says.
    pub transient: bool,
    /// The rules, in the order in which they are tried.
    pub validators: Vec<Validator>,
}

impl Field {
    fn new(ty: Type) -> Self {
        // Kong makes every record field of an entity required, so an absent one is filled.
        let required = matches!(ty, Type::Record(_));
        Self {
            ty,
            required,
            default: None,
            auto: None,
            unique: false,
            milliseconds: false,
            transient: false,
            validators: Vec::new(),
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

    /// A list of `element`.
    pub fn array(element: Self) -> Self {
        Self::new(Type::Array(Box::new(element.required())))
    }

    /// A list of `element` without duplicates.
    pub fn set(element: Self) -> Self {
        Self::new(Type::Set(Box::new(element.required())))
    }

    /// An object with free keys.
    pub fn map(keys: Self, values: Self) -> Self {
        Self::new(Type::Map(Box::new(keys), Box::new(values.required())))
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

    /// Refuses null.
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Accepts null, also for a record.
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// Sets the value for an absent field.
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Lets the field fill itself.
    pub fn auto(mut self, auto: Auto) -> Self {
        self.auto = Some(auto);
        self
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

    /// Checks the field, but does not keep it.
    pub fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// Adds a rule.
    pub fn rule(mut self, validator: Validator) -> Self {
        self.validators.push(validator);
        self
    }

    /// Restricts to these values.
    pub fn one_of<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Self {
        self.rule(Validator::OneOf(values.into_iter().map(Into::into).collect()))
    }

    /// Restricts to a range, both ends included.
    pub fn between(self, low: i64, high: i64) -> Self {
        self.rule(Validator::Between(low, high))
    }

    /// Restricts to numbers above `bound`.
    pub fn gt(self, bound: f64) -> Self {
        self.rule(Validator::Gt(bound))
    }

    /// Asks for at least `length` characters or items.
    pub fn len_min(self, length: usize) -> Self {
        self.rule(Validator::LenMin(length))
    }

    /// Adds a rule in code.
    pub fn custom(
        self,
        rule: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.rule(Validator::code(rule))
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

    /// Returns all fields.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Field)> {
        self.0.iter().map(|(name, field)| (*name, field))
    }
}
