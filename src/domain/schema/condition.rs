//! Conditions: what a conditional check asks of a field, laid over what its schema asks.

use serde_json::{Value, json};

use super::describe::{self, Place};
use super::{Field, Pattern, Validator, validate};

/// What a conditional asks of a field. Of the field's own rules those hold that it does not
/// replace, and its type.
#[derive(Clone, Default)]
pub struct Match {
    /// Whether null is refused; unsaid, the field says it.
    pub(super) required: Option<bool>,
    /// Rules, each in place of the field's own of the same name.
    pub(super) rules: Vec<Validator>,
    /// What is asked of the items of a list instead.
    pub(super) elements: Option<Box<Field>>,
}

impl Match {
    /// The field is not null.
    pub fn required() -> Self {
        Self { required: Some(true), ..Self::default() }
    }

    /// The field is this; null where nothing may be set.
    pub fn eq(value: impl Into<Value>) -> Self {
        Self::rule(Validator::Eq(value.into()))
    }

    /// The field is not this.
    pub fn ne(value: impl Into<Value>) -> Self {
        Self::rule(Validator::Ne(value.into()))
    }

    /// The field is one of these.
    pub fn one_of<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::rule(Validator::OneOf(values.into_iter().map(Into::into).collect()))
    }

    /// The field is none of these.
    pub fn not_one_of<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::rule(Validator::NotOneOf(values.into_iter().map(Into::into).collect()))
    }

    /// The Lua pattern is found in the field.
    pub fn matches(pattern: &'static str) -> Self {
        Self::rule(Validator::Match(Pattern::new(pattern)))
    }

    /// One of the Lua patterns is found in the field.
    pub fn match_any(patterns: impl IntoIterator<Item = &'static str>) -> Self {
        let patterns = patterns.into_iter().map(Pattern::new).collect();
        Self::rule(Validator::MatchAny { patterns, err: None })
    }

    /// The field is greater than this.
    pub fn gt(bound: f64) -> Self {
        Self::rule(Validator::Gt(bound))
    }

    /// The list holds this.
    pub fn contains(value: impl Into<Value>) -> Self {
        Self::rule(Validator::Contains(value.into()))
    }

    /// The list or text is of this length.
    pub fn len_eq(length: usize) -> Self {
        Self::rule(Validator::LenEq(length))
    }

    /// Every item of the list keeps the rules of `element`.
    pub fn elements(element: Field) -> Self {
        Self { elements: Some(Box::new(element.never_null())), ..Self::default() }
    }

    /// The field keeps this rule.
    pub fn rule(rule: Validator) -> Self {
        Self { rules: vec![rule], ..Self::default() }
    }

    /// Asks for one more rule.
    pub fn and(mut self, rule: Validator) -> Self {
        self.rules.push(rule);
        self
    }

    /// Returns what is wrong with `value`, if anything, under `field` as the schema has it.
    pub(super) fn error(&self, field: Option<&Field>, value: &Value) -> Option<Value> {
        match field {
            Some(field) => validate::value_under(field, Some(self), value),
            None => Some("unknown field".into()),
        }
    }

    /// Returns the condition as Kong's schemas show it.
    pub(super) fn shown(&self) -> Value {
        let mut shown = json!({});
        if let Some(required) = self.required {
            shown["required"] = required.into();
        }
        for (name, value) in self.rules.iter().filter_map(Validator::shown) {
            shown[name] = value;
        }
        if let Some(element) = &self.elements {
            shown["elements"] = describe::field(element, Place::Listed);
        }
        shown
    }
}
