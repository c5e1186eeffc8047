//! Reading a declarative tree: collect all entities with their places, then kind by kind resolve
//! references, settle ids, and make entities. Everything that is wrong is reported at once.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{FORMAT_VERSIONS, declared_twice, id, invalid_reference};
use crate::domain::canonical::{Document, encode_value};
use crate::domain::catalog::Catalog;
use crate::domain::decide::{self, Fresh};
use crate::domain::entity::{Entity, Key, Kind};
use crate::domain::kinds::{route, typedef};
use crate::domain::rejection::{FieldErrors, Rejection};
use crate::domain::schema::{Field, Mark, Schema, UnknownNull, check_value};

/// Reads a declarative tree into its entities, each valid under its schema and with references
/// that resolve. Absent ids are derived from names; absent times are `fresh`'s.
///
/// # Errors
///
/// [`Rejection::Declarative`] with all errors, each where it stands in the tree.
pub fn parse(
    catalog: &Catalog,
    tree: &Value,
    fresh: &mut Fresh<'_>,
) -> Result<Vec<Entity>, Rejection> {
    read(catalog, tree, Source::File, fresh)
}

/// Reads a tree that a control plane of Kong sent, as [`parse`] does, but that what is unknown here
/// and null is ignored at any depth (reference hybrid.md, section 6.5). The errors tell no secrets:
/// they go to a log.
///
/// # Errors
///
/// [`Rejection::Declarative`] with all errors, each where it stands in the tree.
pub fn receive(
    catalog: &Catalog,
    tree: &Value,
    fresh: &mut Fresh<'_>,
) -> Result<Vec<Entity>, Rejection> {
    read(catalog, tree, Source::ControlPlane, fresh)
}

/// Where a tree comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    File,
    ControlPlane,
}

fn read(
    catalog: &Catalog,
    tree: &Value,
    source: Source,
    fresh: &mut Fresh<'_>,
) -> Result<Vec<Entity>, Rejection> {
    let mut errors = Errors::default();
    let Value::Object(tree) = tree else {
        errors.entity("expected an object");
        return Err(errors.into_rejection());
    };
    check_head(tree, &mut errors);
    let mut reader = Reader {
        catalog,
        source,
        migrate: tree.get("_format_version").and_then(Value::as_str) != Some("3.0"),
        transform: tree.get("_transform") != Some(&Value::Bool(false)),
        drafts: Vec::new(),
        ids: HashSet::new(),
        unique: HashMap::new(),
        errors,
    };
    reader.collect_all(tree);
    let entities = reader.make_all(fresh);
    if reader.errors.0.is_empty() { Ok(entities) } else { Err(reader.errors.into_rejection()) }
}

/// The members of the tree that are not kinds, and in part those of every entity.
fn heads() -> [(&'static str, Field); 4] {
    [
        ("_format_version", Field::string().required().one_of(FORMAT_VERSIONS)),
        ("_transform", Field::boolean()),
        ("_comment", Field::string()),
        ("_ignore", Field::array(Field::abstract_record())),
    ]
}

fn check_head(tree: &Document, errors: &mut Errors) {
    for (name, field) in heads() {
        let value = tree.get(name).unwrap_or(&Value::Null);
        if let Some(error) = check_value(&field, value, UnknownNull::Refuse) {
            errors.insert(&[], name, error);
        }
    }
}

/// One entity of the tree, not yet checked.
struct Draft {
    kind: Kind,
    body: Document,
    /// The draft that it is nested in, and the field by which it refers to it.
    parent: Option<(usize, &'static str)>,
    /// Where it stands.
    path: Vec<Step>,
    /// Known once its kind has been settled.
    id: Option<Uuid>,
}

/// An array of the tree and an index in it.
type Step = (&'static str, usize);

struct Reader<'a> {
    catalog: &'a Catalog,
    source: Source,
    migrate: bool,
    transform: bool,
    drafts: Vec<Draft>,
    ids: HashSet<Key>,
    /// Unique values: the kind, the field or `cache_key`, and the value's text, to the id.
    unique: HashMap<(Kind, &'static str, String), Uuid>,
    errors: Errors,
}

impl Reader<'_> {
    fn collect_all(&mut self, tree: &Document) {
        let catalog = self.catalog;
        for (name, value) in tree {
            // There is one workspace, and Kong inserts it if a file does not have it.
            if name == "workspaces" || heads().iter().any(|(head, _)| head == name) {
                continue;
            }
            let received = self.source == Source::ControlPlane;
            match (catalog.find(name), value) {
                (None, Value::Null) if received => {}
                (None, Value::Array(items)) if received && name == "parameters" => {
                    self.check_parameters(items);
                }
                (None, _) => self.errors.insert(&[], name, "unknown field".into()),
                (Some(_), Value::Null) => {}
                (Some(schema), Value::Array(items)) => {
                    for (i, item) in items.iter().enumerate() {
                        self.collect(schema, item, None, vec![(schema.kind.name(), i)]);
                    }
                }
                (Some(_), _) => self.errors.insert(&[], name, "expected an array".into()),
            }
        }
    }

    /// Checks the parameters of a cluster, such as its id, which are no entities here.
    fn check_parameters(&mut self, items: &[Value]) {
        let Some(schema) = self.catalog.described("parameters") else { return };
        for (i, item) in items.iter().enumerate() {
            let path = [(schema.kind.name(), i)];
            let Value::Object(row) = item else {
                self.errors.replace(&path, "expected a record".into());
                continue;
            };
            let errors = schema.validate(&schema.fields, &[], row, UnknownNull::Ignore);
            for (name, error) in errors.as_map() {
                self.errors.insert(&path, name, error.clone());
            }
        }
    }

    fn collect(
        &mut self,
        schema: &Schema,
        value: &Value,
        parent: Option<(usize, &'static str)>,
        path: Vec<Step>,
    ) {
        let Value::Object(body) = value else {
            self.errors.replace(&path, "expected a record".into());
            return;
        };
        let mut body = body.clone();
        self.strip(&mut body, &path);
        if self.migrate && schema.kind == route::KIND {
            migrate_paths(&mut body);
        }
        let catalog = self.catalog;
        let nested: Vec<_> = catalog
            .referrers(schema.kind)
            .iter()
            .filter(|referrer| {
                // What a transient field lists is declared as entities of its own.
                schema.fields.find(referrer.kind.name()).is_none_or(|f| f.is(Mark::Transient))
            })
            .filter_map(|referrer| Some((referrer, body.remove(referrer.kind.name())?)))
            .collect();
        let index = self.drafts.len();
        self.drafts.push(Draft { kind: schema.kind, body, parent, path: path.clone(), id: None });
        for (referrer, list) in nested {
            let name = referrer.kind.name();
            match list {
                Value::Null => {}
                Value::Array(items) => {
                    for (i, item) in items.iter().enumerate() {
                        let path = path.iter().copied().chain([(name, i)]).collect();
                        let child = catalog.schema(referrer.kind);
                        self.collect(child, item, Some((index, referrer.field)), path);
                    }
                }
                _ => self.errors.insert(&path, name, "expected an array".into()),
            }
        }
    }

    /// Takes out what stands in an entity but is not of it.
    fn strip(&mut self, body: &mut Document, path: &[Step]) {
        for (name, field) in
            heads().into_iter().filter(|(n, _)| matches!(*n, "_comment" | "_ignore"))
        {
            let value = body.remove(name).unwrap_or(Value::Null);
            if let Some(error) = check_value(&field, &value, UnknownNull::Refuse) {
                self.errors.insert(path, name, error);
            }
        }
        body.remove("ws_id");
    }

    /// Makes entities, kind by kind: those referred to come first.
    fn make_all(&mut self, fresh: &mut Fresh<'_>) -> Vec<Entity> {
        let mut by_kind: HashMap<Kind, Vec<usize>> = HashMap::new();
        for (i, draft) in self.drafts.iter().enumerate() {
            by_kind.entry(draft.kind).or_default().push(i);
        }
        let catalog = self.catalog;
        let mut entities = Vec::with_capacity(self.drafts.len());
        for schema in catalog.schemas() {
            for i in by_kind.remove(&schema.kind).unwrap_or_default() {
                entities.extend(self.make(schema, i, fresh));
            }
        }
        entities
    }

    fn make(&mut self, schema: &Schema, index: usize, fresh: &mut Fresh<'_>) -> Option<Entity> {
        let draft = self.drafts.get_mut(index)?;
        let (mut body, path) = (std::mem::take(&mut draft.body), std::mem::take(&mut draft.path));
        let parent = draft.parent;
        if let Some((parent, field)) = parent {
            // Without an id the parent is in error already, and nothing can be said of this one.
            let id = self.drafts.get(parent)?.id?;
            if body.get(field).is_some_and(|value| !value.is_null()) {
                self.errors.insert(&path, field, "value must be null".into());
                return None;
            }
            body.insert(field.to_owned(), json!({"id": id.to_string()}));
        }
        let resolved = self.resolve(schema, &mut body, &path);
        let id = settle_id(schema, &mut body, fresh);
        if let Some(draft) = self.drafts.get_mut(index) {
            draft.id = id;
        }
        if !resolved || !id.is_none_or(|id| self.register(schema, id, &body, &path)) {
            return None;
        }
        let made = match self.source {
            Source::File => decide::declare(self.catalog, schema.kind, body, self.transform, fresh),
            Source::ControlPlane => decide::receive(self.catalog, schema.kind, body, fresh),
        };
        match made {
            Ok(entity) => Some(entity),
            Err(rejection) => {
                if let Value::Object(fields) = rejection.fields() {
                    fields.iter().for_each(|(name, e)| self.errors.insert(&path, name, e.clone()));
                }
                None
            }
        }
    }

    /// Replaces references by name or bare id by `{"id": …}`; returns whether all lead somewhere.
    fn resolve(&mut self, schema: &Schema, body: &mut Document, path: &[Step]) -> bool {
        let mut good = true;
        for (field, kind, _) in schema.foreign_fields() {
            let shown = match body.get(field) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => text.clone(),
                Some(Value::Object(key)) => match key.values().find_map(Value::as_str) {
                    Some(text) if key.len() == 1 => text.to_owned(),
                    // The schema has a text for it.
                    _ => continue,
                },
                Some(_) => continue,
            };
            let by = body.get(field).and_then(Value::as_object).and_then(|key| key.keys().next());
            match self.find(kind, by.map(String::as_str), &shown) {
                Some(id) => drop(body.insert(field.into(), json!({"id": id.to_string()}))),
                None => {
                    let text = invalid_reference(field, &shown, kind);
                    self.errors.insert(path, field, text.into());
                    good = false;
                }
            }
        }
        good
    }

    /// Returns the declared entity of a kind with this id, or this value of its endpoint key or,
    /// if it is named, of another unique field.
    fn find(&self, kind: Kind, by: Option<&str>, text: &str) -> Option<Uuid> {
        let id = Uuid::try_parse(text).ok().filter(|_| by.is_none_or(|by| by == "id"));
        if let Some(id) = id.filter(|id| self.ids.contains(&Key { kind, id: *id })) {
            return Some(id);
        }
        let schema = self.catalog.schema(kind);
        let mut fields = schema.unique_fields();
        let field = fields.find(|name| match by {
            Some(by) => *name == by,
            None => Some(*name) == schema.endpoint_key,
        })?;
        self.unique.get(&(kind, field, text.to_owned())).copied()
    }

    /// Returns a unique value as errors may tell it: those of plugins' kinds can be credentials.
    fn told<'t>(&self, schema: &Schema, text: &'t str) -> &'t str {
        let mut brought = self.catalog.plugins().flat_map(|plugin| &plugin.kinds);
        match self.source == Source::ControlPlane && brought.any(|it| it.kind == schema.kind) {
            true => "******",
            false => text,
        }
    }

    /// Notes an entity's id and unique values; returns whether nobody declared them before.
    fn register(&mut self, schema: &Schema, id: Uuid, body: &Document, path: &[Step]) -> bool {
        let kind = schema.kind;
        let mut good = true;
        for field in schema.unique_fields() {
            let Some(value) = body.get(field).filter(|value| !value.is_null()) else { continue };
            let text = value.as_str().map_or_else(|| encode_value(value), str::to_owned);
            if self.unique.contains_key(&(kind, field, text.clone())) {
                let error = declared_twice(kind, field, self.told(schema, &text));
                self.errors.insert(path, field, error.into());
                good = false;
            } else {
                self.unique.insert((kind, field, text), id);
            }
        }
        if good
            && let Some(key) = id::cache_key(schema, body)
            && self.unique.insert((kind, "cache_key", key.clone()), id).is_some()
        {
            let error = declared_twice(kind, "cache_key", self.told(schema, &key));
            self.errors.entity_at(path, error);
            good = false;
        }
        if !self.ids.insert(Key { kind, id }) && good {
            let error = declared_twice(kind, "primary key", &id.to_string());
            self.errors.insert(path, "id", error.into());
            good = false;
        }
        good
    }
}

/// Fills in an absent id. Returns none for one that is not valid, which the schema then refuses.
fn settle_id(schema: &Schema, body: &mut Document, fresh: &mut Fresh<'_>) -> Option<Uuid> {
    match body.get("id") {
        Some(Value::String(id)) => Uuid::try_parse(id).ok(),
        None | Some(Value::Null) => {
            let id = id::derive(schema, body).unwrap_or_else(|| (fresh.id)());
            body.insert("id".into(), id.to_string().into());
            Some(id)
        }
        Some(_) => None,
    }
}

/// Brings a route of the formats 1.1 and 2.1 to 3.0, where regular expressions stand behind `~`.
fn migrate_paths(body: &mut Document) {
    let Some(Value::Array(paths)) = body.get_mut("paths") else { return };
    for path in paths {
        let Value::String(text) = path else { continue };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~/%".contains(&byte);
        if !text.bytes().all(plain) {
            text.insert(0, '~');
        } else if text.starts_with('/') {
            *text = typedef::normalise_path(text).into_owned();
        }
    }
}

/// Errors as a tree of the shape of what was read: arrays hold null where nothing is wrong.
#[derive(Default)]
struct Errors(Map<String, Value>);

impl Errors {
    fn insert(&mut self, path: &[Step], field: &str, error: Value) {
        self.at(path).entry(field).or_insert(error);
    }

    fn entity(&mut self, text: &str) {
        self.0.insert("@entity".into(), json!([text]));
    }

    fn entity_at(&mut self, path: &[Step], text: String) {
        let list = self.at(path).entry("@entity").or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(text.into());
        }
    }

    /// Puts an error in the place of the entity itself.
    fn replace(&mut self, path: &[Step], error: Value) {
        if let Some(((name, i), parents)) = path.split_last() {
            *slot(self.at(parents), name, *i) = error;
        }
    }

    fn at(&mut self, path: &[Step]) -> &mut Map<String, Value> {
        path.iter().fold(&mut self.0, |map, (name, i)| {
            let slot = slot(map, name, *i);
            if !slot.is_object() {
                *slot = json!({});
            }
            slot.as_object_mut().expect("it was made an object")
        })
    }

    fn into_rejection(self) -> Rejection {
        let mut errors = FieldErrors::default();
        self.0.into_iter().for_each(|(name, error)| errors.insert(&name, error));
        Rejection::Declarative(errors)
    }
}

/// Returns the place of an array's item, made if it is not there.
fn slot<'a>(map: &'a mut Map<String, Value>, name: &str, i: usize) -> &'a mut Value {
    let list = map.entry(name).or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let list = list.as_array_mut().expect("it was made an array");
    if list.len() <= i {
        list.resize(i + 1, Value::Null);
    }
    list.get_mut(i).expect("the list was made long enough")
}
