//! Writing a `reconfigure` message. Every field of a schema is there, unset ones null; references
//! are ids; what is disabled is left out (reference hybrid.md, section 8.3; the fields: captured
//! from Kong 3.9, which sends no `ws_id` and refuses one).

use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Left, ZERO_HASH, config_hash};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::reference;
use crate::domain::entity::Entity;
use crate::domain::lifetime;
use crate::domain::schema::{Field, Fields, Mark, Schema, Type};
use crate::snapshot::Snapshot;
use crate::snapshot::gzip::{Packer, ShortName};
use crate::wire::kong::compat::downgrade::{Downgrade, Said};
use crate::wire::kong::compat::legacy::{self, Legacy};
use crate::wire::kong::compat::older::Older;
use crate::wire::kong::compat::{Line, Obstacles, Unsayable};

/// The kinds whose entities have a name of their own in the message, so that a data plane can
/// leave the rest as it is.
const SECTIONS: [&str; 5] = ["routes", "services", "plugins", "upstreams", "targets"];

/// Kinds that Kong keeps to its control planes.
const KEPT: [&str; 2] = ["oauth2_authorization_codes", "sessions"];

/// The id of the one workspace, as that of Kong without a database.
const WORKSPACE_ID: &str = "0dc6f45b-8f8d-40d2-a504-473544ee190b";

/// The workspace is as old as time: there is none of ours to tell, and zero is no time for Kong.
const WORKSPACE_MADE_AT: u64 = 1;

/// Where and when a message is made.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The cluster.
    pub cluster_id: Uuid,
    /// Seconds since 1970, with milliseconds.
    pub timestamp: f64,
}

/// A message, ready to be sent.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The gzip of the message.
    pub bytes: Bytes,
    /// How many bytes the message has when it is unpacked.
    pub unpacked_len: u64,
    /// The name of the config.
    pub config_hash: String,
    /// What is to be said about what was left out for an older data plane.
    pub lines: Vec<Line>,
}

/// Writes the message for a snapshot, for data planes of one version.
///
/// # Errors
///
/// Data planes of this version cannot be told all of it.
pub fn reconfigure(
    catalog: &Catalog,
    snapshot: &Snapshot,
    origin: &Origin,
    downgrade: Option<&Downgrade>,
) -> Result<Payload, Unsayable> {
    let legacy = downgrade
        .filter(|downgrade| downgrade.is_legacy())
        .map(|_| Legacy::of(catalog, snapshot.config()));
    let older = downgrade
        .filter(|downgrade| !downgrade.is_legacy())
        .map(|downgrade| Older::of(downgrade, snapshot.config()));
    let said = Said::default();
    let (packer, obstacles) = (Packer::new(), Obstacles::default());
    let mut writer = Writer { packer, downgrade, legacy, older, said, obstacles };
    let hash = config_hash(snapshot.hash());
    writer.packer.write(b"{\"type\":\"reconfigure\",\"timestamp\":");
    writer.json(&origin.timestamp.into());
    writer.packer.write(b",\"config_hash\":");
    writer.json(&hash.as_str().into());
    writer.packer.write(b",\"config_table\":{\"_format_version\":");
    writer.json(&legacy.map_or("3.0", |_| legacy::FORMAT_VERSION).into());
    writer.packer.write(b",\"_transform\":false");
    writer.list("workspaces", [workspace()]);
    let cluster_id = origin.cluster_id.to_string();
    writer.list(
        "parameters",
        [object(json!({
            "key": "cluster_id", "value": cluster_id, "created_at": null,
        }))],
    );
    let mut hashes = Document::new();
    hashes.insert("config".into(), hash.as_str().into());
    hashes.extend(SECTIONS.map(|name| (name.to_owned(), ZERO_HASH.into())));
    let left = Left::out_of(snapshot.config());
    for schema in catalog.schemas().filter(|schema| !KEPT.contains(&schema.kind.name())) {
        let entities = snapshot.config().of_kind(schema.kind, None);
        let rows = entities.filter(|entity| left.keeps(entity));
        let name = writer.list(schema.kind.name(), rows.map(|it| row(catalog, schema, it)));
        if let (Some(slot), Some(name)) = (hashes.get_mut(schema.kind.name()), name) {
            *slot = name.into();
        }
    }
    if let Some(all) = writer.obstacles.all() {
        return Err(all);
    }
    writer.packer.write(b"},\"hashes\":");
    writer.json(&hashes.into());
    writer.packer.write(b"}");
    let unpacked_len = writer.packer.len();
    Ok(Payload {
        bytes: writer.packer.finish().into(),
        unpacked_len,
        config_hash: hash,
        lines: writer.said.into_lines(),
    })
}

/// What is written of a message, piece by piece.
struct Writer<'a> {
    packer: Packer,
    downgrade: Option<&'a Downgrade>,
    legacy: Option<Legacy>,
    older: Option<Older>,
    said: Said,
    obstacles: Obstacles,
}

impl Writer<'_> {
    /// Writes the list of a kind; returns its name, or nothing for an empty one, which is not
    /// written. What cannot be said is noted.
    fn list(&mut self, kind: &str, rows: impl IntoIterator<Item = Document>) -> Option<String> {
        let mut name: Option<ShortName> = None;
        let mut bytes = Vec::new();
        for mut row in rows {
            match self.adapt(kind, &mut row) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(obstacle) => {
                    self.obstacles.add(obstacle);
                    continue;
                }
            }
            bytes.clear();
            match &name {
                Some(_) => bytes.push(b','),
                None => self.packer.write(format!(",\"{kind}\":[").as_bytes()),
            }
            serde_json::to_writer(&mut bytes, &row).expect("writing to memory cannot fail");
            name.get_or_insert_default().update(&bytes);
            self.packer.write(&bytes);
        }
        let name = name?;
        self.packer.write(b"]");
        Some(name.hex())
    }

    /// Changes an entity to what the data plane knows; returns whether it knows the kind.
    fn adapt(&mut self, kind: &str, row: &mut Document) -> Result<bool, Unsayable> {
        let Some(downgrade) = self.downgrade else { return Ok(true) };
        if let Some(legacy) = self.legacy {
            let mut says = downgrade.says(&mut self.said);
            if legacy::leaves_out(kind, &mut says) {
                return Ok(false);
            }
            legacy.translate(kind, row, &mut says)?;
        }
        if let Some(older) = &self.older {
            let mut says = downgrade.says(&mut self.said);
            if older.leaves_out(kind, &mut says) {
                return Ok(false);
            }
            older.translate(kind, row, &mut says)?;
        }
        downgrade.run(kind, row, &mut self.said);
        Ok(true)
    }

    fn json(&mut self, value: &Value) {
        self.packer.write(value.to_string().as_bytes());
    }
}

fn workspace() -> Document {
    object(json!({
        "id": WORKSPACE_ID, "name": "default", "comment": null, "meta": {}, "config": {},
        "created_at": WORKSPACE_MADE_AT, "updated_at": WORKSPACE_MADE_AT,
    }))
}

fn object(value: Value) -> Document {
    match value {
        Value::Object(object) => object,
        _ => Document::new(),
    }
}

/// Returns an entity as it is sent.
fn row(catalog: &Catalog, schema: &Schema, entity: &Entity) -> Document {
    let mut row = entity.document();
    if schema.ttl {
        lifetime::put_end(&mut row);
    }
    fill(catalog.fields(schema.kind, &row), &mut row);
    for (field, _, _) in schema.foreign_fields() {
        if let Some(id) = row.get(field).and_then(reference) {
            row.insert(field.to_owned(), id.to_string().into());
        }
    }
    row
}

/// Puts null where nothing is, in records too.
fn fill(fields: &Fields, document: &mut Document) {
    for (name, field) in fields.iter() {
        match document.get_mut(name) {
            Some(value) => fill_value(field, value),
            // What certificates have for the input alone.
            None if field.is(Mark::Transient) => {}
            None => drop(document.insert(name.to_owned(), Value::Null)),
        }
    }
}

fn fill_value(field: &Field, value: &mut Value) {
    match (&field.ty, value) {
        (Type::Record(fields), Value::Object(object)) => fill(fields, object),
        (Type::Array(element) | Type::Set(element), Value::Array(items)) => {
            items.iter_mut().for_each(|item| fill_value(element, item));
        }
        (Type::Map(_, values), Value::Object(object)) => {
            object.values_mut().for_each(|value| fill_value(values, value));
        }
        _ => {}
    }
}
