//! Checks: rules over several fields of one document or record, in the order of its schema
//! (reference gateway-1, section A.1).

use serde_json::Value;

use super::validator::quoted;
use super::{Custom, Fields, Mark, Match, Type};
use crate::domain::canonical::Document;
use crate::domain::rejection::FieldErrors;

/// Names of fields; dotted ones reach into records.
pub type Names = &'static [&'static str];

/// A rule over several fields.
#[derive(Clone)]
pub enum Check {
    /// One or more must be set.
    AtLeastOneOf(Names),
    /// Exactly one must be set.
    OnlyOneOf(Names),
    /// The values that are set must differ.
    Distinct(Names),
    /// All or none must be set.
    MutuallyRequired(Names),
    /// One at most may be set.
    MutuallyExclusive(Names),
    /// Fields of one set at most may be set.
    MutuallyExclusiveSets(Names, Names),
    /// If one field matches, another must.
    Conditional {
        /// The field looked at.
        if_field: &'static str,
        /// What makes the rule apply.
        if_match: Match,
        /// The field ruled.
        then_field: &'static str,
        /// What it must be.
        then_match: Match,
        /// What is said of the entity in place of Kong's usual sentence.
        then_err: Option<&'static str>,
    },
    /// If a field matches, one or more of others must be set.
    ConditionalAtLeastOneOf {
        /// The field looked at.
        if_field: &'static str,
        /// What makes the rule apply.
        if_match: Match,
        /// The fields of which one must be set.
        then_at_least_one_of: Names,
        /// What is said instead; `%s` stands for the fields.
        then_err: Option<&'static str>,
    },
    /// A rule in code.
    Custom {
        /// The fields that it reads.
        field_sources: Names,
        /// Whether it runs while some of them are absent.
        run_with_missing_fields: bool,
        /// Whether it runs while some of them are in error.
        run_with_invalid_fields: bool,
        /// The rule; it sees the whole document or record.
        rule: Custom,
    },
}

impl Check {
    /// If `if_field` matches, `then_field` must.
    pub fn conditional(
        if_field: &'static str,
        if_match: Match,
        then_field: &'static str,
        then_match: Match,
    ) -> Self {
        Self::Conditional { if_field, if_match, then_field, then_match, then_err: None }
    }

    /// If `if_field` matches, one or more of `names` must be set.
    pub fn conditional_at_least_one_of(
        if_field: &'static str,
        if_match: Match,
        names: Names,
    ) -> Self {
        Self::ConditionalAtLeastOneOf {
            if_field,
            if_match,
            then_at_least_one_of: names,
            then_err: None,
        }
    }

    /// A rule in code that reads `field_sources`.
    pub fn custom(field_sources: Names, rule: Custom) -> Self {
        Self::Custom {
            field_sources,
            run_with_missing_fields: false,
            run_with_invalid_fields: false,
            rule,
        }
    }

    /// Sets what a conditional says of the entity.
    pub fn err(mut self, text: &'static str) -> Self {
        if let Self::Conditional { then_err, .. } | Self::ConditionalAtLeastOneOf { then_err, .. } =
            &mut self
        {
            *then_err = Some(text);
        }
        self
    }

    /// Runs a rule in code also while fields are absent.
    pub fn with_missing_fields(mut self) -> Self {
        if let Self::Custom { run_with_missing_fields, .. } = &mut self {
            *run_with_missing_fields = true;
        }
        self
    }

    /// Runs a rule in code also while fields are in error.
    pub fn with_invalid_fields(mut self) -> Self {
        if let Self::Custom { run_with_invalid_fields, .. } = &mut self {
            *run_with_invalid_fields = true;
        }
        self
    }

    /// Adds what the document does wrong to `errors`.
    pub(super) fn run(&self, fields: &Fields, document: &Document, errors: &mut FieldErrors) {
        let view = View { fields, document };
        if !self.applies(&view, errors) {
            return;
        }
        if let Some(text) = self.error(&view, errors) {
            errors.entity(text);
        }
    }

    /// Returns whether the check may run, having said which fields it lacks.
    fn applies(&self, view: &View<'_>, errors: &mut FieldErrors) -> bool {
        let (sources, required) = self.sources();
        let values: Vec<_> = sources.iter().map(|name| view.value(name)).collect();
        if sources.iter().zip(&values).any(|(name, value)| view.is_reference(name, *value)) {
            return false;
        }
        if !self.runs_with_invalid_fields() && sources.iter().any(|name| errors.has_top(name)) {
            return false;
        }
        if self.runs_with_missing_fields() {
            return true;
        }
        if values.iter().all(Option::is_none) {
            return false;
        }
        let mut complete = true;
        for (name, value) in sources.iter().zip(values) {
            if value.is_none() && required.contains(name) {
                errors.set_path(name, "field required for entity check".into());
                complete = false;
            }
        }
        complete
    }

    /// Returns the fields that the check reads, and those of them that must not be absent.
    fn sources(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        match self {
            Self::AtLeastOneOf(names)
            | Self::OnlyOneOf(names)
            | Self::Distinct(names)
            | Self::MutuallyRequired(names)
            | Self::MutuallyExclusive(names)
            | Self::Custom { field_sources: names, .. } => (names.to_vec(), names.to_vec()),
            Self::MutuallyExclusiveSets(first, second) => ([*first, *second].concat(), Vec::new()),
            Self::Conditional { if_field, then_field, .. } => {
                (vec![*if_field, *then_field], vec![*if_field])
            }
            Self::ConditionalAtLeastOneOf { if_field, then_at_least_one_of, .. } => {
                ([&[*if_field], *then_at_least_one_of].concat(), Vec::new())
            }
        }
    }

    fn runs_with_missing_fields(&self) -> bool {
        match self {
            Self::OnlyOneOf(_) | Self::Distinct(_) | Self::Conditional { .. } => false,
            Self::Custom { run_with_missing_fields, .. } => *run_with_missing_fields,
            _ => true,
        }
    }

    fn runs_with_invalid_fields(&self) -> bool {
        match self {
            Self::MutuallyRequired(_)
            | Self::MutuallyExclusive(_)
            | Self::MutuallyExclusiveSets(..) => false,
            Self::Custom { run_with_invalid_fields, .. } => *run_with_invalid_fields,
            _ => true,
        }
    }

    /// Returns what is said of the entity; errors of single fields go to `errors`.
    fn error(&self, view: &View<'_>, errors: &mut FieldErrors) -> Option<String> {
        let said =
            |broken: bool, text: &str, names| broken.then(|| text.to_owned() + &quoted(names));
        match self {
            Self::AtLeastOneOf(names) => said(view.count(names) == 0, AT_LEAST_ONE, names),
            Self::OnlyOneOf(names) => said(
                view.count(names) != 1,
                "exactly one of these fields must be non-empty: ",
                names,
            ),
            Self::Distinct(names) => {
                let text = "values of these fields must be distinct: ";
                said(!view.are_distinct(names), text, names)
            }
            Self::MutuallyRequired(names) => {
                let set = view.count(names);
                let text = "all or none of these fields must be set: ";
                said(set != 0 && set != names.len(), text, names)
            }
            Self::MutuallyExclusive(names) => {
                said(view.count(names) > 1, "only one or none of these fields must be set: ", names)
            }
            Self::MutuallyExclusiveSets(first, second) => {
                let [first, second] = [first, second].map(|names| view.set(names));
                (!first.is_empty() && !second.is_empty()).then(|| {
                    let (first, second) = (quoted(&first), quoted(&second));
                    format!("these sets are mutually exclusive: ({first}), ({second})")
                })
            }
            Self::Conditional { if_field, if_match, then_field, then_match, then_err } => {
                if !view.matches(if_field, if_match) {
                    return None;
                }
                let value = view.value(then_field).unwrap_or(&Value::Null);
                let error = then_match.error(view.fields.find_path(then_field), value)?;
                errors.set_path(then_field, error);
                Some(then_err.map_or_else(
                    || format!("failed conditional validation given value of field '{if_field}'"),
                    |text| text.replace("%s", if_field),
                ))
            }
            Self::ConditionalAtLeastOneOf {
                if_field,
                if_match,
                then_at_least_one_of,
                then_err,
            } => {
                let applies = view.value(if_field).is_some() && view.matches(if_field, if_match);
                let names = then_at_least_one_of;
                (applies && view.count(names) == 0).then(|| match then_err {
                    Some(text) => text.replace("%s", &quoted(names)),
                    None => AT_LEAST_ONE.to_owned() + &quoted(names),
                })
            }
            Self::Custom { rule, .. } => {
                errors.extend(rule(view.document));
                None
            }
        }
    }
}

const AT_LEAST_ONE: &str = "at least one of these fields must be non-empty: ";

/// A document under its fields, as checks see it.
struct View<'a> {
    fields: &'a Fields,
    document: &'a Document,
}

impl<'a> View<'a> {
    /// Returns the value of a field: null when it is unset, nothing when it is required and
    /// absent or when what it is in is unset.
    fn value(&self, name: &str) -> Option<&'a Value> {
        lookup(self.document, name).or_else(|| {
            let is_reachable = name.rsplit_once('.').is_none_or(|(record, _)| {
                lookup(self.document, record).is_some_and(Value::is_object)
            });
            let may_be_unset = self.fields.find_path(name).is_some_and(|field| !field.required);
            (is_reachable && may_be_unset).then_some(&Value::Null)
        })
    }

    fn matches(&self, name: &str, condition: &Match) -> bool {
        let value = self.value(name).unwrap_or(&Value::Null);
        condition.error(self.fields.find_path(name), value).is_none()
    }

    /// Returns those of the fields that are set and not empty.
    fn set(&self, names: Names) -> Vec<&'static str> {
        names.iter().copied().filter(|name| !is_empty(lookup(self.document, name))).collect()
    }

    fn count(&self, names: Names) -> usize {
        self.set(names).len()
    }

    fn are_distinct(&self, names: Names) -> bool {
        let set = self.set(names);
        let values: Vec<_> = set.iter().map(|name| lookup(self.document, name)).collect();
        values.iter().enumerate().all(|(i, value)| !values.iter().take(i).any(|v| v == value))
    }

    /// Returns whether a field's text stands for something else that is not known yet.
    fn is_reference(&self, name: &str, value: Option<&Value>) -> bool {
        let text = value.and_then(Value::as_str).is_some_and(super::is_reference);
        text && self
            .fields
            .find_path(name)
            .is_some_and(|field| matches!(field.ty, Type::String) && field.is(Mark::Referenceable))
    }
}

/// Returns the value at a dotted name.
pub(super) fn lookup<'a>(document: &'a Document, name: &str) -> Option<&'a Value> {
    match name.split_once('.') {
        None => document.get(name),
        Some((head, rest)) => lookup(document.get(head)?.as_object()?, rest),
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(object)) => object.is_empty(),
        Some(_) => false,
    }
}
