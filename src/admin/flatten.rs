//! The errors of a declarative configuration by entity instead of by place
//! (`flatten_errors`, reference gateway-2, section B.6).

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::catalog::Catalog;
use crate::domain::entity::Kind;
use crate::domain::schema::Schema;

/// The member that holds errors over several fields.
const ENTITY: &str = "@entity";

/// Returns what is no entity's error, and the errors of each entity of `tree`.
pub(super) fn flatten(
    catalog: &Catalog,
    tree: &Value,
    errors: &Map<String, Value>,
) -> (Map<String, Value>, Vec<Value>) {
    let mut flat = Flat { catalog, found: Vec::new() };
    let mut left = Map::new();
    for (name, section) in errors {
        let rest = match (catalog.find(name), section, tree.get(name)) {
            (Some(schema), Value::Array(errors), Some(Value::Array(entities))) => {
                flat.list(schema, entities, errors, None)
            }
            _ => Some(section.clone()),
        };
        left.extend(rest.map(|rest| (name.clone(), rest)));
    }
    (left, flat.found)
}

struct Flat<'a> {
    catalog: &'a Catalog,
    found: Vec<Value>,
}

/// The field by which an entity refers to the one that it is nested in, and that one's id.
type Parent = (&'static str, Option<Uuid>);

impl Flat<'_> {
    /// Takes the errors of a list of entities; returns those of items that are no entities.
    fn list(
        &mut self,
        schema: &Schema,
        entities: &[Value],
        errors: &[Value],
        parent: Option<Parent>,
    ) -> Option<Value> {
        let mut left = vec![Value::Null; errors.len()];
        for ((entity, error), left) in entities.iter().zip(errors).zip(&mut left) {
            match (entity, error) {
                (Value::Object(entity), Value::Object(error)) => {
                    self.entity(schema, entity.clone(), error.clone(), parent);
                }
                (_, error) => *left = error.clone(),
            }
        }
        left.iter().any(|error| !error.is_null()).then_some(Value::Array(left))
    }

    fn entity(
        &mut self,
        schema: &Schema,
        mut entity: Map<String, Value>,
        mut errors: Map<String, Value>,
        parent: Option<Parent>,
    ) {
        if let Some((field, Some(id))) = parent {
            entity.entry(field).or_insert_with(|| json!({"id": id}));
        }
        let id = entity.get("id").and_then(Value::as_str).and_then(|id| Uuid::try_parse(id).ok());
        let catalog = self.catalog;
        for referrer in catalog.referrers(schema.kind) {
            let name = referrer.kind.name();
            if schema.fields.find(name).is_some() {
                continue;
            }
            let Some(Value::Array(children)) = entity.remove(name) else { continue };
            let Some(Value::Array(wrong)) = errors.remove(name) else { continue };
            let nested = catalog.schema(referrer.kind);
            if let Some(rest) = self.list(nested, &children, &wrong, Some((referrer.field, id))) {
                errors.insert(name.to_owned(), rest);
            }
        }
        let mut list = Vec::new();
        categorise(&errors, "", &mut list);
        if !list.is_empty() {
            self.found.push(describe(schema.kind, id, entity, list));
        }
    }
}

/// Makes the description of an entity; what does not identify it is left out.
fn describe(kind: Kind, id: Option<Uuid>, entity: Map<String, Value>, errors: Vec<Value>) -> Value {
    let mut about = Map::new();
    let singular = kind.name().strip_suffix('s').unwrap_or(kind.name());
    about.insert("entity_type".into(), singular.into());
    about.extend(id.map(|id| ("entity_id".into(), id.to_string().into())));
    let name = entity.get("name").filter(|name| name.as_str().is_some_and(|name| !name.is_empty()));
    about.extend(name.map(|name| ("entity_name".into(), name.clone())));
    let all_text = |tags: &Value| tags.as_array().is_some_and(|t| t.iter().all(Value::is_string));
    let tags = entity.get("tags").filter(|tags| all_text(tags));
    about.extend(tags.map(|tags| ("entity_tags".into(), tags.clone())));
    about.insert("entity".into(), Value::Object(entity));
    about.insert("errors".into(), errors.into());
    Value::Object(about)
}

fn categorise(errors: &Map<String, Value>, path: &str, list: &mut Vec<Value>) {
    for (name, error) in errors {
        if name == ENTITY {
            entity_errors(error, list);
        } else {
            field_errors(error, &join(path, name), list);
        }
    }
}

fn entity_errors(error: &Value, list: &mut Vec<Value>) {
    match error {
        Value::Array(errors) => errors.iter().for_each(|error| entity_errors(error, list)),
        Value::Null => {}
        error => list.push(json!({"type": "entity", "message": error})),
    }
}

fn field_errors(error: &Value, field: &str, list: &mut Vec<Value>) {
    match error {
        Value::Null => {}
        Value::Object(errors) => categorise(errors, field, list),
        Value::Array(errors) => {
            for (i, error) in errors.iter().enumerate() {
                field_errors(error, &join(field, &(i + 1).to_string()), list);
            }
        }
        error => list.push(json!({"type": "field", "field": field, "message": error})),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_go_to_the_entity_that_they_are_of() {
        let id = "00000000-0000-4000-8000-000000000001";
        let tree = json!({
            "_format_version": "9.9",
            "services": [
                {"name": "good", "host": "a"},
                {"id": id, "name": "s", "host": "a", "port": 0, "tags": ["t"],
                 "routes": [{"name": "r", "paths": ["/", "x"]}]},
                7,
            ],
        });
        let errors = json!({
            "_format_version": "expected one of: 1.1, 2.1, 3.0",
            "services": [
                null,
                {"port": "value should be between 0 and 65535", "@entity": ["no", "never"],
                 "routes": [{"paths": [null, "should start with: /"]}]},
                "expected a record",
            ],
            "robots": "unknown field",
        });
        let (left, found) = flatten(&Catalog::new(Vec::new()), &tree, errors.as_object().unwrap());
        assert_eq!(
            Value::Object(left),
            json!({
                "_format_version": "expected one of: 1.1, 2.1, 3.0",
                "services": [null, null, "expected a record"],
                "robots": "unknown field",
            })
        );
        assert_eq!(
            Value::Array(found),
            json!([
                {
                    "entity_type": "route", "entity_name": "r",
                    "entity": {"name": "r", "paths": ["/", "x"], "service": {"id": id}},
                    "errors": [
                        {"type": "field", "field": "paths.2", "message": "should start with: /"},
                    ],
                },
                {
                    "entity_type": "service", "entity_id": id, "entity_name": "s",
                    "entity_tags": ["t"],
                    "entity": {"id": id, "name": "s", "host": "a", "port": 0, "tags": ["t"]},
                    "errors": [
                        {"type": "entity", "message": "no"},
                        {"type": "entity", "message": "never"},
                        {"type": "field", "field": "port",
                         "message": "value should be between 0 and 65535"},
                    ],
                },
            ])
        );
    }
}
