//! What fields say about their values: one method for each validator.

use serde_json::Value;

use super::{Field, Pattern, Refusal, Validator};

impl Field {
    /// Adds a rule, at its place in Kong's order.
    pub fn rule(mut self, validator: Validator) -> Self {
        let at = self.validators.partition_point(|known| known.rank() <= validator.rank());
        self.validators.insert(at, validator);
        self
    }

    /// Asks for one value; null where nothing may be set.
    pub fn eq(self, value: impl Into<Value>) -> Self {
        self.rule(Validator::Eq(value.into()))
    }

    /// Refuses one value.
    pub fn ne(self, value: impl Into<Value>) -> Self {
        self.rule(Validator::Ne(value.into()))
    }

    /// Restricts to these values.
    pub fn one_of<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Self {
        self.rule(Validator::OneOf(values.into_iter().map(Into::into).collect()))
    }

    /// Refuses these values.
    pub fn not_one_of<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Self {
        self.rule(Validator::NotOneOf(values.into_iter().map(Into::into).collect()))
    }

    /// Restricts to numbers above `bound`.
    pub fn gt(self, bound: f64) -> Self {
        self.rule(Validator::Gt(bound))
    }

    /// Asks for seconds since 1970.
    pub fn timestamp(self) -> Self {
        self.rule(Validator::Timestamp)
    }

    /// Asks for a hyphenated UUID.
    pub fn uuid(self) -> Self {
        self.rule(Validator::Uuid)
    }

    /// Asks for a regular expression that the data plane can compile.
    pub fn is_regex(self) -> Self {
        self.rule(Validator::IsRegex)
    }

    /// Restricts to a range of whole bounds, both included.
    pub fn between(self, low: i64, high: i64) -> Self {
        self.within(low as f64, high as f64)
    }

    /// Restricts to a range, both ends included.
    pub fn within(self, low: f64, high: f64) -> Self {
        self.rule(Validator::Between(low, high))
    }

    /// Asks for exactly `length` bytes or items.
    pub fn len_eq(self, length: usize) -> Self {
        self.rule(Validator::LenEq(length))
    }

    /// Asks for at least `length` bytes or items; a text may be empty only with 0 here.
    pub fn len_min(self, length: usize) -> Self {
        self.rule(Validator::LenMin(length))
    }

    /// Asks for at most `length` bytes or items.
    pub fn len_max(self, length: usize) -> Self {
        self.rule(Validator::LenMax(length))
    }

    /// Asks for a text that begins with `head`.
    pub fn starts_with(self, head: &'static str) -> Self {
        self.rule(Validator::StartsWith(head))
    }

    /// Asks for a text in which the Lua pattern is found.
    pub fn matches(self, pattern: &'static str) -> Self {
        self.rule(Validator::Match(Pattern::new(pattern)))
    }

    /// Refuses texts in which the Lua pattern is found.
    pub fn not_match(self, pattern: &'static str) -> Self {
        self.rule(Validator::NotMatch(Pattern::new(pattern)))
    }

    /// Asks for all Lua patterns; each has the text for those that lack it.
    pub fn match_all(self, list: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        self.rule(Validator::MatchAll(refusals(list)))
    }

    /// Refuses all Lua patterns; each has the text for those that have it.
    pub fn match_none(self, list: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        self.rule(Validator::MatchNone(refusals(list)))
    }

    /// Asks for one of the Lua patterns, and says `err` otherwise.
    pub fn match_any(
        self,
        patterns: impl IntoIterator<Item = &'static str>,
        err: &'static str,
    ) -> Self {
        let patterns = patterns.into_iter().map(Pattern::new).collect();
        self.rule(Validator::MatchAny { patterns, err: Some(err) })
    }

    /// Asks for a list that holds `value`.
    pub fn contains(self, value: impl Into<Value>) -> Self {
        self.rule(Validator::Contains(value.into()))
    }

    /// Refuses a set that touches more than one of the groups.
    pub fn exclusive_subsets(self, groups: &'static [&'static [&'static str]]) -> Self {
        self.rule(Validator::ExclusiveSubsets(groups))
    }

    /// Adds a rule in code, which descriptions do not show.
    pub fn custom(
        self,
        rule: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.rule(Validator::code(rule))
    }
}

fn refusals(list: impl IntoIterator<Item = (&'static str, &'static str)>) -> Vec<Refusal> {
    let refusal = |(pattern, err)| Refusal { pattern: Pattern::new(pattern), err };
    list.into_iter().map(refusal).collect()
}
