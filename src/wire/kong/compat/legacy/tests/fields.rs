//! Every field of every schema that both have, with every sort of value: what 2.8.5 would refuse
//! is never sent.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::{LEGACY, known};
use crate::domain::catalog::Catalog;
use crate::domain::schema::{Field, Fields, Mark, Type, Validator};
use crate::plugins;
use crate::wire::kong::compat::downgrade::{Downgrade, Said};
use crate::wire::kong::compat::legacy;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| plugins::catalog(|_| true));

/// Returns a record with nothing set but what sets itself.
fn unset(fields: &Fields) -> Map<String, Value> {
    let value = |field: &Field| match (&field.default, &field.ty) {
        (Some(Value::Object(_)) | None, Type::Record(fields)) if field.required => {
            unset(fields).into()
        }
        (Some(default), _) => default.clone(),
        (None, _) => Value::Null,
    };
    let kept = fields.iter().filter(|(_, field)| !field.is(Mark::Transient));
    kept.map(|(name, field)| (name.to_owned(), value(field))).collect()
}

/// Returns a record for each value of each field.
fn records(fields: &Fields) -> Vec<Map<String, Value>> {
    let unset = unset(fields);
    let kept = fields.iter().filter(|(name, _)| unset.contains_key(*name));
    let each = kept.flat_map(|(name, field)| {
        values(field).into_iter().map(|value| {
            let mut record = unset.clone();
            record.insert(name.to_owned(), value);
            record
        })
    });
    std::iter::once(unset.clone()).chain(each).collect()
}

/// Returns values of every sort that a field may have.
fn values(field: &Field) -> Vec<Value> {
    let listed = |element: &Field| values(element).into_iter().map(|it| json!([it])).collect();
    let one_of = field.validators.iter().find_map(|validator| match validator {
        Validator::OneOf(values) => Some(values.clone()),
        _ => None,
    });
    match (&field.ty, one_of) {
        (_, Some(values)) => values,
        (Type::String, _) => vec!["/x".into()],
        (Type::Integer | Type::Number, _) => vec![7.into()],
        (Type::Boolean, _) => vec![true.into(), false.into()],
        (Type::Array(element) | Type::Set(element), _) => listed(element),
        (Type::Map(_, element), _) => {
            values(element).into_iter().map(|it| json!({"x": it})).collect()
        }
        (Type::Record(fields), _) => records(fields).into_iter().map(Value::from).collect(),
        (Type::Foreign { .. } | Type::Abstract | Type::Json(_), _) => Vec::new(),
    }
}

/// Says a row to 2.8.5 and returns what it does not take; nothing if it is not sent.
fn faults(kind: &str, mut row: Map<String, Value>) -> Option<Vec<String>> {
    let downgrade = Downgrade::new("3.9.1", "2.8.5").unwrap();
    let mut said = Said::default();
    let mut says = downgrade.says(&mut said);
    if legacy::leaves_out(kind, &mut says) {
        return None;
    }
    LEGACY.translate(kind, &mut row, &mut says).ok()?;
    downgrade.run(kind, &mut row, &mut said);
    Some(known::faults(&json!({kind: [row]})))
}

#[test]
fn each_field_of_an_entity_is_one_that_2_8_has_or_is_not_sent() {
    // Plugins are below; what control planes keep is never sent.
    let others = ["plugins", "sessions", "oauth2_authorization_codes"];
    let schemas = CATALOG.schemas().filter(|schema| !others.contains(&schema.kind.name()));
    for schema in schemas {
        let kind = schema.kind.name();
        for row in records(&schema.fields) {
            let faults = faults(kind, row.clone());
            assert!(faults.is_none_or(|faults| faults.is_empty()), "{kind} {row:?}");
        }
    }
}

#[test]
fn each_field_of_a_plugin_is_one_that_2_8_has_or_is_not_sent() {
    let known: BTreeSet<_> = known::plugins().into_iter().map(|(name, _)| name).collect();
    let both: Vec<_> = CATALOG.plugins().filter(|it| known.contains(it.name)).collect();
    assert_eq!(both.len(), known.len(), "all plugins of 2.8 are here");
    let mut wrong = BTreeSet::new();
    for plugin in both {
        let Type::Record(fields) = &plugin.config.ty else { panic!("{}", plugin.name) };
        for (nth, config) in records(fields).into_iter().enumerate() {
            let row = json!({"name": plugin.name, "protocols": ["http"], "config": config});
            match faults("plugins", row.as_object().unwrap().clone()) {
                Some(faults) => wrong.extend(faults),
                None => assert_ne!(nth, 0, "{}: its defaults are not sent", plugin.name),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
