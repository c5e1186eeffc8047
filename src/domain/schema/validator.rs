//! Validators: rules over one value, in Kong's order and with Kong's texts
//! (reference gateway-1, section A.1).

use std::sync::Arc;

use serde_json::{Value, json};

use super::Pattern;
use crate::domain::canonical::encode_value;

/// A rule in code; the error is the text shown.
pub type Rule = Arc<dyn Fn(&Value) -> Result<(), String> + Send + Sync>;

/// A pattern, and the text for those whom it refuses.
#[derive(Clone)]
pub struct Refusal {
    /// The pattern.
    pub pattern: Pattern,
    /// What is said.
    pub err: &'static str,
}

/// A rule over one value. The variants stand in the order in which Kong tries them.
#[derive(Clone)]
pub enum Validator {
    /// Equal to this.
    Eq(Value),
    /// Not equal to this.
    Ne(Value),
    /// None of these.
    NotOneOf(Vec<Value>),
    /// One of these.
    OneOf(Vec<Value>),
    /// Greater than this.
    Gt(f64),
    /// A time after 1970 began.
    Timestamp,
    /// A hyphenated UUID.
    Uuid,
    /// A regular expression that compiles.
    IsRegex,
    /// Between these, both included.
    Between(f64, f64),
    /// Exactly this many bytes or items.
    LenEq(usize),
    /// At least this many.
    LenMin(usize),
    /// At most this many.
    LenMax(usize),
    /// Begins with this text.
    StartsWith(&'static str),
    /// The pattern is not found.
    NotMatch(Pattern),
    /// None of the patterns is found.
    MatchNone(Vec<Refusal>),
    /// The pattern is found.
    Match(Pattern),
    /// All patterns are found.
    MatchAll(Vec<Refusal>),
    /// One of the patterns is found.
    MatchAny {
        /// The patterns.
        patterns: Vec<Pattern>,
        /// The text when none is found.
        err: Option<&'static str>,
    },
    /// A list holds this.
    Contains(Value),
    /// A rule in code, which descriptions do not show.
    Custom(Rule),
    /// At most one of these groups may be present in a set.
    ExclusiveSubsets(&'static [&'static [&'static str]]),
}

impl Validator {
    /// Makes a rule of code.
    pub fn code(rule: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(rule))
    }

    /// Returns the rule's place in Kong's order.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Eq(_) => 0,
            Self::Ne(_) => 1,
            Self::NotOneOf(_) => 2,
            Self::OneOf(_) => 3,
            Self::Gt(_) => 4,
            Self::Timestamp => 5,
            Self::Uuid => 6,
            Self::IsRegex => 7,
            Self::Between(..) => 8,
            Self::LenEq(_) => 9,
            Self::LenMin(_) => 10,
            Self::LenMax(_) => 11,
            Self::StartsWith(_) => 12,
            Self::NotMatch(_) => 13,
            Self::MatchNone(_) => 14,
            Self::Match(_) => 15,
            Self::MatchAll(_) => 16,
            Self::MatchAny { .. } => 17,
            Self::Contains(_) => 18,
            Self::Custom(_) => 19,
            Self::ExclusiveSubsets(_) => 20,
        }
    }

    /// Returns the rule as Kong's schemas show it; code is not shown.
    pub(super) fn shown(&self) -> Option<(&'static str, Value)> {
        let refusals = |list: &[Refusal]| {
            list.iter().map(|r| json!({"pattern": r.pattern.text(), "err": r.err})).collect()
        };
        Some(match self {
            Self::Eq(wanted) => ("eq", wanted.clone()),
            Self::Ne(refused) => ("ne", refused.clone()),
            Self::NotOneOf(refused) => ("not_one_of", refused.clone().into()),
            Self::OneOf(allowed) => ("one_of", allowed.clone().into()),
            Self::Gt(bound) => ("gt", number(*bound)),
            Self::Timestamp => ("timestamp", true.into()),
            Self::Uuid => ("uuid", true.into()),
            Self::IsRegex => ("is_regex", true.into()),
            Self::Between(low, high) => ("between", vec![number(*low), number(*high)].into()),
            Self::LenEq(length) => ("len_eq", (*length).into()),
            Self::LenMin(length) => ("len_min", (*length).into()),
            Self::LenMax(length) => ("len_max", (*length).into()),
            Self::StartsWith(head) => ("starts_with", (*head).into()),
            Self::NotMatch(pattern) => ("not_match", pattern.text().into()),
            Self::MatchNone(list) => ("match_none", refusals(list)),
            Self::Match(pattern) => ("match", pattern.text().into()),
            Self::MatchAll(list) => ("match_all", refusals(list)),
            Self::MatchAny { patterns, err } => {
                let patterns: Vec<_> = patterns.iter().map(Pattern::text).collect();
                let mut shown = json!({"patterns": patterns});
                if let Some(err) = err {
                    shown["err"] = (*err).into();
                }
                ("match_any", shown)
            }
            Self::Contains(wanted) => ("contains", wanted.clone()),
            Self::Custom(_) => return None,
            Self::ExclusiveSubsets(groups) => ("mutually_exclusive_subsets", json!(groups)),
        })
    }

    /// Returns what is wrong with a value that is not null and of the right type.
    pub(super) fn error(&self, value: &Value) -> Option<String> {
        let found = |values: &[Value]| values.iter().any(|other| same(value, other));
        let number = value.as_f64().unwrap_or(f64::NAN);
        let length = || length_of(value);
        match self {
            Self::Eq(wanted) => {
                unless(same(value, wanted), || format!("value must be {}", plain(wanted)))
            }
            Self::Ne(refused) => {
                unless(!same(value, refused), || format!("value must not be {}", plain(value)))
            }
            Self::NotOneOf(list) => {
                unless(!found(list), || format!("must not be one of: {}", joined(list)))
            }
            Self::OneOf(list) => {
                unless(found(list), || format!("expected one of: {}", joined(list)))
            }
            Self::Gt(bound) => {
                unless(number > *bound, || format!("value must be greater than {bound}"))
            }
            Self::Timestamp => unless(number > 0.0, || "expected a valid timestamp".to_owned()),
            Self::Between(low, high) => unless(number >= *low && number <= *high, || {
                // Kong prints the bounds as whole numbers, also those that are not.
                format!("value should be between {} and {}", low.trunc(), high.trunc())
            }),
            Self::LenEq(wanted) => {
                unless(length() == *wanted, || format!("length must be {wanted}"))
            }
            Self::LenMin(least) => {
                unless(length() >= *least, || format!("length must be at least {least}"))
            }
            Self::LenMax(most) => {
                unless(length() <= *most, || format!("length must be at most {most}"))
            }
            Self::Contains(wanted) => {
                let items = value.as_array();
                let held = items.is_some_and(|items| items.iter().any(|item| same(item, wanted)));
                unless(held, || format!("expected to contain: {}", plain(wanted)))
            }
            Self::Custom(rule) => rule(value).err(),
            Self::ExclusiveSubsets(groups) => exclusive(groups, value),
            _ => self.text_error(value.as_str().unwrap_or_default()),
        }
    }

    /// Returns what is wrong with a text under a rule about texts.
    fn text_error(&self, text: &str) -> Option<String> {
        let invalid = || format!("invalid value: {text}");
        let refused = |refusal: &Refusal| refusal.err.to_owned();
        match self {
            Self::Uuid => unless(is_uuid(text), || "expected a valid UUID".to_owned()),
            Self::IsRegex => {
                unless(regex::Regex::new(text).is_ok(), || format!("not a valid regex: {text}"))
            }
            Self::StartsWith(head) => {
                unless(text.starts_with(head), || format!("should start with: {head}"))
            }
            Self::NotMatch(pattern) => unless(!pattern.is_match(text), invalid),
            Self::MatchNone(list) => list.iter().find(|r| r.pattern.is_match(text)).map(refused),
            Self::Match(pattern) => unless(pattern.is_match(text), invalid),
            Self::MatchAll(list) => list.iter().find(|r| !r.pattern.is_match(text)).map(refused),
            Self::MatchAny { patterns, err } => {
                let found = patterns.iter().any(|pattern| pattern.is_match(text));
                unless(found, || err.map_or_else(invalid, str::to_owned))
            }
            _ => None,
        }
    }
}

fn unless(good: bool, text: impl FnOnce() -> String) -> Option<String> {
    (!good).then(text)
}

/// The groups that the set touches are named in the order of its values.
fn exclusive(groups: &[&[&str]], value: &Value) -> Option<String> {
    let mut touched: Vec<&[&str]> = Vec::new();
    for name in value.as_array()?.iter().filter_map(Value::as_str) {
        if let Some(group) = groups.iter().find(|group| group.contains(&name))
            && !touched.contains(group)
        {
            touched.push(group);
        }
    }
    if touched.len() < 2 {
        return None;
    }
    let groups: Vec<_> = touched.into_iter().map(|names| format!("({})", quoted(names))).collect();
    Some(format!("these sets are mutually exclusive: {}", groups.join(", ")))
}

/// Returns names as Kong's messages list them.
pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

/// Returns a value as Lua's `tostring` has it.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| encode_value(value), str::to_owned)
}

fn joined(values: &[Value]) -> String {
    values.iter().map(plain).collect::<Vec<_>>().join(", ")
}

/// Returns whether values are equal as Lua compares them: `1.0` is `1`.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

/// Returns a number as JSON, whole when it is whole.
fn number(value: f64) -> Value {
    super::describe::whole(&value.into())
}

/// Returns whether a text is a UUID as Kong reads them: hyphenated, any case, any version.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

fn length_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(object) => object.len(),
        _ => 0,
    }
}
