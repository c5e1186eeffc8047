//! What differs between two configs, printed: by entity and field, secrets masked.

use std::fmt::Write as _;

use serde_json::Value;

use crate::domain::canonical::encode_value;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::difference::{Difference, FieldDifference, Verb};
use crate::domain::event::Change;

/// Prints what changes do to a config: one JSON object a line, or text for people.
pub(super) fn print(catalog: &Catalog, before: &Config, changes: &[Change], json: bool) {
    for change in changes {
        let difference = Difference::of(catalog, before, change);
        match json {
            true => println!("{}", difference.to_json()),
            false => print!("{}", text(&difference)),
        }
    }
}

/// Returns a line for the entity and one for each field; of what is deleted, the entity alone.
fn text(difference: &Difference) -> String {
    let Difference { verb, key, name, fields } = difference;
    let sign = match verb {
        Verb::Created => '+',
        Verb::Updated => '~',
        Verb::Deleted => '-',
    };
    let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let mut text = format!("{sign} {key}{name}\n");
    if *verb != Verb::Deleted {
        for FieldDifference { path, from, to } in fields {
            // Writing to memory cannot fail.
            let _ = match from {
                Some(from) => {
                    writeln!(text, "    {path}: {} -> {}", shown(Some(from)), shown(to.as_ref()))
                }
                None => writeln!(text, "    {path}: {}", shown(to.as_ref())),
            };
        }
    }
    text
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "null".to_owned(), encode_value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::Entity;
    use crate::domain::kinds::service;
    use serde_json::json;

    #[test]
    fn differences_read_as_lines() {
        let catalog = Catalog::new(Vec::new());
        let id = "00000000-0000-4000-8000-000000000001";
        let entity = |document: Value| Entity::new(service::KIND, document.as_object().unwrap());
        let old = entity(json!({"id": id, "name": "s", "host": "a", "path": "/x"})).unwrap();
        let new = entity(json!({"id": id, "name": "s", "host": "b", "port": 80})).unwrap();
        let before = Config::of(&catalog, [old.clone()]);
        let line = |before: &Config, change| text(&Difference::of(&catalog, before, &change));
        assert_eq!(
            line(&before, Change::Upserted(new)),
            format!(
                "~ services {id} s\n    host: \"a\" -> \"b\"\n    path: \"/x\" -> null\n    port: 80\n"
            )
        );
        assert_eq!(line(&before, Change::Deleted(old.key())), format!("- services {id} s\n"));
        assert!(line(&Config::default(), Change::Upserted(old)).starts_with("+ services "));
    }
}
