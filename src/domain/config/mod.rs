//! The configuration: every entity, with the indexes that writes and lookups need.
//!
//! A persistent map: a clone is cheap and shares structure, so each log position can keep its own.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde_json::Value;
use uuid::Uuid;

use super::canonical::{Document, encode_value};
use super::catalog::{Catalog, Referrer};
use super::entity::{Entity, Key, Kind};
use super::event::Change;
use super::schema::{Schema, Type};

/// The ordered set of entities that a log position stands for.
#[derive(Clone, Default)]
pub struct Config {
    entities: OrdMap<Key, Entity>,
    /// (kind, index, value) to id; the index is a unique field or [`CACHE_KEY`].
    unique: OrdMap<(Kind, &'static str, Arc<str>), Uuid>,
    /// (entity referred to, who refers, through which field, its id).
    references: OrdSet<(Key, Kind, &'static str, Uuid)>,
    /// (tag, entity).
    tags: OrdSet<(Arc<str>, Key)>,
}

/// The name of the index over a schema's `cache_key` fields.
const CACHE_KEY: &str = "@cache_key";

impl Config {
    /// Builds a config of entities that are known to fit together.
    pub fn of(catalog: &Catalog, entities: impl IntoIterator<Item = Entity>) -> Self {
        let mut config = Self::default();
        for entity in entities {
            config.apply(catalog, &Change::Upserted(entity));
        }
        config
    }

    /// Returns how many entities there are.
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// Returns an entity.
    pub fn find(&self, key: Key) -> Option<&Entity> {
        self.entities.get(&key)
    }

    /// Returns all entities in (kind, id) order.
    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        self.entities.values()
    }

    /// Returns the entities of a kind in id order, starting after `after`.
    pub fn of_kind(&self, kind: Kind, after: Option<Uuid>) -> impl Iterator<Item = &Entity> {
        use std::ops::Bound::{Excluded, Included};
        let start = match after {
            Some(id) => Excluded(Key { kind, id }),
            None => Included(Key { kind, id: Uuid::nil() }),
        };
        let end = Included(Key { kind, id: Uuid::max() });
        let empty = after == Some(Uuid::max());
        let range = (!empty).then(|| self.entities.range((start, end)));
        range.into_iter().flatten().map(|(_, entity)| entity)
    }

    /// Returns the id of the entity whose unique `field` has this value.
    pub fn by_unique(&self, kind: Kind, field: &'static str, value: &Value) -> Option<Uuid> {
        self.unique.get(&(kind, field, index_value(value)?)).copied()
    }

    /// Returns the id of the entity that has the same `cache_key` fields as `document`.
    pub fn by_cache_key(&self, schema: &Schema, document: &Document) -> Option<Uuid> {
        self.unique.get(&(schema.kind, CACHE_KEY, cache_key(schema, document)?)).copied()
    }

    /// Returns the entities that refer to `target` through a field, in id order.
    pub fn referring(
        &self,
        target: Key,
        referrer: Referrer,
        after: Option<Uuid>,
    ) -> impl Iterator<Item = &Entity> {
        use std::ops::Bound::{Excluded, Included};
        let Referrer { kind, field, .. } = referrer;
        let start = match after {
            Some(id) => Excluded((target, kind, field, id)),
            None => Included((target, kind, field, Uuid::nil())),
        };
        let end = Included((target, kind, field, Uuid::max()));
        let range = (after != Some(Uuid::max())).then(|| self.references.range((start, end)));
        let ids = range.into_iter().flatten().map(|(_, _, _, id)| *id);
        ids.filter_map(move |id| self.entities.get(&Key { kind, id }))
    }

    /// Returns the entities that carry a tag, in (kind, id) order.
    pub fn tagged(&self, tag: &str) -> impl Iterator<Item = &Entity> {
        let tag: Arc<str> = tag.into();
        let least = Key { kind: Kind::new(""), id: Uuid::nil() };
        let range = self.tags.range((tag.clone(), least)..);
        range
            .take_while(move |(other, _)| *other == tag)
            .filter_map(|(_, key)| self.entities.get(key))
    }

    /// Returns the entities of a kind that carry a tag, in id order, starting after `after`.
    pub fn tagged_of(
        &self,
        tag: &Arc<str>,
        kind: Kind,
        after: Option<Uuid>,
    ) -> impl Iterator<Item = &Entity> + use<'_> {
        use std::ops::Bound::{Excluded, Included};
        let key = |id| (tag.clone(), Key { kind, id });
        let start = match after {
            Some(id) => Excluded(key(id)),
            None => Included(key(Uuid::nil())),
        };
        let end = Included(key(Uuid::max()));
        let range = (after != Some(Uuid::max())).then(|| self.tags.range((start, end)));
        range.into_iter().flatten().filter_map(|(_, key)| self.entities.get(key))
    }

    /// Returns each tag with an entity that carries it, in (tag, kind, id) order, starting after
    /// `after`; of one tag `only`, if it is given.
    pub fn tags(
        &self,
        only: Option<&str>,
        after: Option<(&str, Key)>,
    ) -> impl Iterator<Item = (Arc<str>, Key)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let least = Key { kind: Kind::new(""), id: Uuid::nil() };
        let first = only.map(|tag| (Arc::from(tag), least));
        let after = after.map(|(tag, key)| (Arc::from(tag), key));
        let start = match (first, after) {
            (Some(first), Some(after)) if first > after => Included(first),
            (_, Some(after)) => Excluded(after),
            (Some(first), None) => Included(first),
            (None, None) => Unbounded,
        };
        let only: Option<Arc<str>> = only.map(Arc::from);
        self.tags
            .range((start, Unbounded))
            .take_while(move |(tag, _)| only.as_ref().is_none_or(|only| only == tag))
            .cloned()
    }

    /// Applies one change and returns the entity that it replaced or removed.
    pub fn apply(&mut self, catalog: &Catalog, change: &Change) -> Option<Entity> {
        let old = match change {
            Change::Upserted(entity) => self.entities.insert(entity.key(), entity.clone()),
            Change::Deleted(key) => self.entities.remove(key),
        };
        if let Some(old) = &old {
            if matches!(change, Change::Upserted(entity) if entity == old) {
                return Some(old.clone());
            }
            self.unindex(catalog, old);
        }
        if let Change::Upserted(entity) = change {
            self.index(catalog, entity);
        }
        old
    }

    /// Returns the changes that lead from this config to `target`: deletions of those who refer
    /// come before deletions of those referred to, upserts the other way round.
    pub fn diff(&self, catalog: &Catalog, target: &Self) -> Vec<Change> {
        use imbl::ordmap::DiffItem;
        let mut deleted = Vec::new();
        let mut upserted = Vec::new();
        for item in self.entities.diff(&target.entities) {
            match item {
                DiffItem::Add(_, entity) => upserted.push(entity.clone()),
                DiffItem::Update { new: (_, entity), .. } => upserted.push(entity.clone()),
                DiffItem::Remove(key, _) => deleted.push(*key),
            }
        }
        let rank = |kind: Kind| catalog.schemas().position(|schema| schema.kind == kind);
        deleted.sort_by_key(|key| (std::cmp::Reverse(rank(key.kind)), *key));
        upserted.sort_by_key(|entity| (rank(entity.kind()), entity.key()));
        let deleted = deleted.into_iter().map(Change::Deleted);
        deleted.chain(upserted.into_iter().map(Change::Upserted)).collect()
    }

    /// Returns each entity that is not the same in `target`, as it is here and as it is there, in
    /// (kind, id) order. Costs about what changed, where the two share their structure.
    pub fn changed<'c>(
        &'c self,
        target: &'c Self,
    ) -> impl Iterator<Item = (Option<&'c Entity>, Option<&'c Entity>)> {
        use imbl::ordmap::DiffItem;
        self.entities.diff(&target.entities).map(|item| match item {
            DiffItem::Add(_, new) => (None, Some(new)),
            DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
            DiffItem::Remove(_, old) => (Some(old), None),
        })
    }

    fn index(&mut self, catalog: &Catalog, entity: &Entity) {
        let marks = Marks::of(catalog, entity);
        let id = entity.id();
        self.unique.extend(marks.unique.into_iter().map(|key| (key, id)));
        self.references.extend(marks.references);
        self.tags.extend(marks.tags);
    }

    fn unindex(&mut self, catalog: &Catalog, entity: &Entity) {
        let marks = Marks::of(catalog, entity);
        for key in &marks.unique {
            // A value may have moved to another entity earlier in the same event.
            if self.unique.get(key) == Some(&entity.id()) {
                self.unique.remove(key);
            }
        }
        for reference in &marks.references {
            self.references.remove(reference);
        }
        for tag in &marks.tags {
            self.tags.remove(tag);
        }
    }
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.entities == other.entities
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entities.keys()).finish()
    }
}

/// What one entity adds to the indexes.
struct Marks {
    unique: Vec<(Kind, &'static str, Arc<str>)>,
    references: Vec<(Key, Kind, &'static str, Uuid)>,
    tags: Vec<(Arc<str>, Key)>,
}

impl Marks {
    fn of(catalog: &Catalog, entity: &Entity) -> Self {
        let schema = catalog.schema(entity.kind());
        let document = entity.document();
        let Key { kind, id } = entity.key();
        let unique = schema
            .unique_fields()
            .filter_map(|field| Some((kind, field, index_value(document.get(field)?)?)));
        let composite = cache_key(schema, &document).into_iter().map(|key| (kind, CACHE_KEY, key));
        let references = schema.foreign_fields().filter_map(|(field, target, _)| {
            let target = Key { kind: target, id: reference(document.get(field)?)? };
            Some((target, kind, field, id))
        });
        let tags = document.get("tags").and_then(Value::as_array).into_iter().flatten();
        let tags = tags.filter_map(Value::as_str).map(|tag| (Arc::from(tag), entity.key()));
        Self {
            unique: unique.chain(composite).collect(),
            references: references.collect(),
            tags: tags.collect(),
        }
    }
}

/// Returns the id in a reference `{"id": …}`.
pub fn reference(value: &Value) -> Option<Uuid> {
    value.get("id")?.as_str()?.parse().ok()
}

fn index_value(value: &Value) -> Option<Arc<str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.as_str().into()),
        other => Some(encode_value(other).into()),
    }
}

/// The value of a schema's composite key: null counts, so two global plugins of a name collide.
fn cache_key(schema: &Schema, document: &Document) -> Option<Arc<str>> {
    // A key of one field is a unique field, which has an index already.
    if schema.cache_key.len() < 2 {
        return None;
    }
    let parts = schema.cache_key.iter().map(|name| {
        let value = document.get(*name).unwrap_or(&Value::Null);
        match schema.fields.find(name).map(|field| &field.ty) {
            Some(Type::Foreign { .. }) => {
                reference(value).map_or(Value::Null, |id| id.to_string().into())
            }
            _ => value.clone(),
        }
    });
    Some(encode_value(&parts.collect()).into())
}

#[cfg(test)]
mod tests;
