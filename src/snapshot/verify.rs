//! Why bytes from elsewhere did not become a snapshot.

use serde_json::Value;

use crate::domain::entity::{EntityError, Key};
use crate::domain::hash::{ConfigHash, NodeHash};
use crate::domain::rejection::Rejection;

/// Why received or stored bytes are not the snapshot that they should be. Texts name entities and
/// fields, never the values of unique fields: those can be credentials.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Written by a newer release: nothing is wrong with it, but it cannot be read here.
    #[error("newer format {0}; this release reads up to format 1")]
    NewerFormat(u32),
    /// Not what this format says.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A node's bytes are not the ones that its name stands for.
    #[error("the bytes received for node {0} have another hash")]
    NodeMismatch(NodeHash),
    /// A node that was not asked for, or one that stands twice in a tree.
    #[error("node {0} was not expected here")]
    UnexpectedNode(NodeHash),
    /// Nodes are still missing.
    #[error("{0} nodes are missing")]
    Incomplete(usize),
    /// The content is another than the one that was promised.
    #[error("expected config {expected}, the content hashes to {actual}")]
    RootMismatch {
        /// What was promised.
        expected: ConfigHash,
        /// What it is.
        actual: ConfigHash,
    },
    /// A kind that this release does not have.
    #[error("unknown kind {0:?}")]
    UnknownKind(String),
    /// A document that cannot be read.
    #[error("a document cannot be read")]
    Entity(#[from] EntityError),
    /// Entities that are not valid here.
    #[error("{first}{}", others(.count))]
    Rejected {
        /// How many rejections there are.
        count: usize,
        /// The first: entity, JSON pointer, reason.
        first: String,
    },
    /// More than the reader is ready to unpack.
    #[error("larger than {max} bytes when unpacked")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// The compressed form is damaged.
    #[error("cannot be unpacked")]
    Unpack(#[source] std::io::Error),
}

impl VerifyError {
    /// Returns whether what came is not what was sent, which says nothing of the config: it may be
    /// asked for again.
    pub fn is_damage(&self) -> bool {
        use VerifyError::{Incomplete, NodeMismatch, UnexpectedNode, Unpack};
        matches!(self, NodeMismatch(_) | UnexpectedNode(_) | Incomplete(_) | Unpack(_))
    }

    /// Makes an error of what the domain refused; `rejections` is not empty.
    pub(super) fn rejected(rejections: Vec<(Key, Rejection)>) -> Self {
        let first = rejections.first().map(|(key, rejection)| line(*key, rejection));
        Self::Rejected { count: rejections.len(), first: first.unwrap_or_default() }
    }
}

fn others(count: &usize) -> String {
    match count {
        0 | 1 => String::new(),
        more => format!(" (and {} more)", more - 1),
    }
}

fn line(key: Key, rejection: &Rejection) -> String {
    match rejection {
        Rejection::NotUnique(fields) => {
            let names: Vec<_> = fields.keys().map(String::as_str).collect();
            let names = names.join(", ");
            format!("{key} at /{names}: another entity has the same value")
        }
        rejection => {
            let (pointer, reason) = innermost(&rejection.fields(), rejection);
            format!("{key} at {pointer}: {reason}")
        }
    }
}

/// Follows the first error down to where it stands.
fn innermost(fields: &Value, rejection: &Rejection) -> (String, String) {
    let mut pointer = String::new();
    let mut value = fields;
    loop {
        let (step, inner) = match value {
            Value::Object(object) => match object.iter().min_by_key(|(name, _)| name.as_str()) {
                Some((name, inner)) => (name.clone(), inner),
                None => break,
            },
            Value::Array(items) => match items.iter().enumerate().find(|(_, item)| !item.is_null())
            {
                Some((i, inner)) => (i.to_string(), inner),
                None => break,
            },
            _ => break,
        };
        pointer.push('/');
        pointer.push_str(&step);
        value = inner;
    }
    match (rejection, value) {
        (Rejection::Schema(_), Value::String(reason)) => (pointer, reason.clone()),
        _ => (pointer, rejection.message()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::domain::catalog::{Catalog, PluginSchema};
    use crate::domain::config::Config;
    use crate::domain::entity::Entity;
    use crate::domain::kinds::plugin;
    use crate::domain::schema::Field;
    use crate::snapshot::{Snapshot, pack};

    fn catalog(fields: &[&'static str]) -> Catalog {
        let fields = fields.iter().map(|name| (*name, Field::string()));
        let config = Field::record([("inner", Field::record(fields))]);
        Catalog::new(vec![PluginSchema::new("marker", "1.0.0", 1).config(config)])
    }

    /// What a newer control plane made, as a data plane reads it.
    fn received(inner: Value) -> Result<(), String> {
        let document = json!({
            "id": Uuid::nil(), "name": "marker", "created_at": 1, "updated_at": 1,
            "config": {"inner": inner}, "protocols": ["http"], "enabled": true,
        });
        let entity = Entity::new(plugin::KIND, document.as_object().unwrap()).unwrap();
        let snapshot = Snapshot::of(Config::of(&catalog(&["old", "new"]), [entity]));
        let packed = pack::encode(&snapshot);
        let back = pack::decode(&catalog(&["old"]), snapshot.hash(), &packed);
        back.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_field_that_is_unknown_here_is_ignored_if_it_is_null_and_named_if_it_is_not() {
        assert_eq!(received(json!({"old": "a", "new": null})), Ok(()));
        assert_eq!(
            received(json!({"old": "a", "new": "b"})).unwrap_err(),
            "plugins 00000000-0000-0000-0000-000000000000 at /config/inner/new: unknown field"
        );
    }
}
