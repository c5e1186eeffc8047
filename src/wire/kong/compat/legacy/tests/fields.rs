//! Every field of every schema that both have, with every sort of value: what 2.8.5 would refuse
//! is never sent.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::{LEGACY, known};
use crate::domain::catalog::Catalog;
use crate::domain::schema::Type;
use crate::plugins;
use crate::wire::kong::compat::downgrade::{Downgrade, Said};
use crate::wire::kong::compat::legacy;
use crate::wire::kong::compat::records::records;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| plugins::catalog(|_| true));

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
