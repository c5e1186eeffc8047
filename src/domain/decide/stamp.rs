//! What a write fills in by itself: ids, secrets, times.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::domain::canonical::Document;
use crate::domain::fresh::Fresh;
use crate::domain::lifetime;
use crate::domain::schema::{Auto, Fields, Schema};

/// Which automatic times are set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    Created,
    Updated,
    Declared,
}

/// Whose the creation time of a written entity is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// Ours: a new one alone is no change.
    Ours,
    /// The client's, who asked for it.
    Given,
}

impl Times {
    /// Returns whose the creation time of a body is.
    pub(super) fn of(body: &Document) -> Self {
        match body.get("created_at").is_some_and(|time| !time.is_null()) {
            true => Self::Given,
            false => Self::Ours,
        }
    }

    /// Removes the times that make no difference to an entity.
    pub(super) fn strip(self, schema: &Schema, mut document: Document) -> Document {
        // What ends at a time from its creation is another one when that moves.
        let ours = self == Self::Ours && !document.contains_key(lifetime::FIELD);
        for (name, field) in schema.fields.iter() {
            if field.auto == Some(Auto::UpdatedAt) || field.auto == Some(Auto::CreatedAt) && ours {
                document.remove(name);
            }
        }
        document
    }
}

/// Fills in automatic fields, those of records too: a plugin's `config` may hold a secret.
pub(super) fn stamp(fields: &Fields, document: &mut Document, fresh: &mut Fresh<'_>, when: Stamp) {
    for (name, field) in fields.iter() {
        if let (Some(inner), Some(Value::Object(record))) = (field.fields(), document.get_mut(name))
        {
            stamp(inner, record, fresh, when);
            continue;
        }
        let absent = document.get(name).is_none_or(Value::is_null);
        let value = match field.auto {
            Some(Auto::Id) if absent => (fresh.id)().to_string().into(),
            Some(Auto::Secret) if absent && when != Stamp::Updated => secret(fresh).into(),
            Some(Auto::CreatedAt) if absent => seconds(fresh.at, field.milliseconds),
            Some(Auto::UpdatedAt) if absent || when != Stamp::Declared => {
                seconds(fresh.at, field.milliseconds)
            }
            _ => continue,
        };
        document.insert(name.to_owned(), value);
    }
}

fn seconds(at: DateTime<Utc>, milliseconds: bool) -> Value {
    match milliseconds {
        true => (at.timestamp_millis() as f64 / 1000.0).into(),
        false => at.timestamp().into(),
    }
}

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 32 letters and digits out of 244 random bits.
fn secret(fresh: &mut Fresh<'_>) -> String {
    let mut text = String::with_capacity(32);
    for _ in 0..2 {
        let mut number = (fresh.id)().as_u128();
        for _ in 0..16 {
            let index = usize::try_from(number % 62).unwrap_or_default();
            text.push(char::from(LETTERS.get(index).copied().unwrap_or(b'0')));
            number /= 62;
        }
    }
    text
}

/// Ids are kept in lower case, so that one id has one text.
pub(super) fn lower_case_ids(schema: &Schema, document: &mut Document) {
    let lower = |value: &mut Value| {
        if let Value::String(text) = value {
            text.make_ascii_lowercase();
        }
    };
    document.get_mut("id").into_iter().for_each(lower);
    for (field, _, _) in schema.foreign_fields() {
        document.get_mut(field).and_then(|value| value.get_mut("id")).into_iter().for_each(lower);
    }
}
