//! Statements: one text for every database, and the values that go into it.

use std::borrow::Cow;
use std::fmt::Write as _;

use sqlx::query::Query;
use sqlx::{Encode, Type};

/// A statement with its values; `$1` is the first of them.
#[derive(Clone)]
pub struct Statement<'a> {
    text: Cow<'static, str>,
    values: Vec<Value<'a>>,
}

/// What the columns of the log hold.
#[derive(Clone, Copy)]
enum Value<'a> {
    Integer(Option<i64>),
    Text(Option<&'a str>),
    Bytes(&'a [u8]),
}

impl<'a> Statement<'a> {
    /// Begins a statement; its values follow in the order of their numbers.
    pub fn new(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), values: Vec::new() }
    }

    /// Adds a number, or none.
    pub fn integer(self, value: impl Into<Option<i64>>) -> Self {
        self.value(Value::Integer(value.into()))
    }

    /// Adds a number that no database has a type for; seqs do not come near the end of `i64`.
    pub fn unsigned(self, value: u64) -> Self {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// Adds a text, or none.
    pub fn text(self, value: impl Into<Option<&'a str>>) -> Self {
        self.value(Value::Text(value.into()))
    }

    /// Adds bytes.
    pub fn bytes(self, value: &'a [u8]) -> Self {
        self.value(Value::Bytes(value))
    }

    /// Writes `VALUES` with a row for each item; `values` adds those of one item.
    pub fn rows<T>(mut self, items: &'a [T], values: impl Fn(Self, &'a T) -> Self) -> Self {
        self = self.then("VALUES ");
        for (index, item) in items.iter().enumerate() {
            let first = self.values.len() + 1;
            self = values(self, item);
            let last = self.values.len();
            let text = self.text.to_mut();
            text.push_str(if index == 0 { "(" } else { ", (" });
            for number in first..=last {
                let comma = if number == first { "" } else { ", " };
                // Writing to a string cannot fail.
                let _ = write!(text, "{comma}${number}");
            }
            text.push(')');
        }
        self
    }

    /// Goes on with the text.
    pub fn then(mut self, text: &str) -> Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Goes on with the place of the value that is added next.
    pub fn then_place(mut self) -> Self {
        let number = self.values.len() + 1;
        let _ = write!(self.text.to_mut(), "${number}");
        self
    }

    fn value(mut self, value: Value<'a>) -> Self {
        self.values.push(value);
        self
    }

    /// Returns the statement as the library takes it for a database.
    pub(in crate::log) fn query<'q, D>(
        &'q self,
    ) -> Query<'q, D, <D as sqlx::Database>::Arguments<'q>>
    where
        D: sqlx::Database,
        Option<i64>: Encode<'q, D> + Type<D>,
        Option<&'q str>: Encode<'q, D> + Type<D>,
        &'q [u8]: Encode<'q, D> + Type<D>,
    {
        let query = sqlx::query(&self.text);
        self.values.iter().fold(query, |query, value| match *value {
            Value::Integer(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbered_through_rows_and_after_them() {
        let items = [(1, "a"), (2, "b")];
        let statement = Statement::new("INSERT INTO t ")
            .rows(&items, |row, (number, text)| row.unsigned(*number).text(*text))
            .then(" WHERE x = ")
            .then_place()
            .bytes(b"x");
        assert_eq!(statement.text, "INSERT INTO t VALUES ($1, $2), ($3, $4) WHERE x = $5");
        assert_eq!(statement.values.len(), 5);
    }
}
