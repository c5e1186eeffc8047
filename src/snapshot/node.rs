//! Nodes of the hash tree and their bytes: what is hashed, stored and sent.
//!
//! A node is text. Its first line names the format and the level: `hybridctl-node 1 0` is a leaf.
//! A leaf goes on with one line per entity, kind and canonical document; an inner node with one
//! line per child, its hash. The format number is read before anything else.

use std::sync::Arc;

use bytes::Bytes;

use super::VerifyError;
use crate::domain::catalog::Catalog;
use crate::domain::entity::{Entity, Key};
use crate::domain::hash::NodeHash;

/// What every node begins with.
const MAGIC: &str = "hybridctl-node ";

/// The format that this binary writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

/// One node of a hash tree. Leaves share the entities of the config, so a tree costs little.
pub struct Node {
    hash: NodeHash,
    first: Option<Key>,
    /// At how many levels the order is cut before `first`.
    cuts: u8,
    level: u8,
    len: usize,
    bytes_len: usize,
    body: Body,
}

pub(super) enum Body {
    Leaf(Vec<Entity>),
    Inner(Vec<Arc<Node>>),
}

impl Node {
    pub(super) fn leaf(entities: Vec<Entity>) -> Arc<Self> {
        let first = entities.first().map(Entity::key);
        let cuts = first.map_or(0, cuts);
        Self::seal(first, cuts, 0, entities.len(), Body::Leaf(entities))
    }

    pub(super) fn inner(level: u8, children: Vec<Arc<Self>>) -> Arc<Self> {
        let first = children.first().and_then(|child| child.first);
        let cuts = children.first().map_or(0, |child| child.cuts);
        let len = children.iter().map(|child| child.len).sum();
        Self::seal(first, cuts, level, len, Body::Inner(children))
    }

    fn seal(first: Option<Key>, cuts: u8, level: u8, len: usize, body: Body) -> Arc<Self> {
        let mut node =
            Self { hash: NodeHash([0; 32]), first, cuts, level, len, bytes_len: 0, body };
        // In one piece: blake3 then works on many chunks at once.
        let text = node.text();
        node.bytes_len = text.len();
        node.hash = NodeHash(*blake3::hash(&text).as_bytes());
        Arc::new(node)
    }

    /// Returns whether a node of `level` begins before this one's first key wherever it stands.
    pub(super) fn begins(&self, level: u8) -> bool {
        self.cuts > level
    }

    fn text(&self) -> Vec<u8> {
        let room = match &self.body {
            Body::Leaf(entities) => entities.iter().map(|entity| entity.bytes().len() + 32).sum(),
            Body::Inner(children) => children.len() * 65,
        };
        let mut text = Vec::with_capacity(room + 32);
        self.write(&mut |bytes| text.extend_from_slice(bytes));
        text
    }

    /// Returns the node's name: the blake3 hash of its bytes.
    pub fn hash(&self) -> NodeHash {
        self.hash
    }

    /// Returns how many entities are under the node.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether nothing is under the node: true of the one node of an empty config.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns how many bytes the node has.
    pub fn bytes_len(&self) -> usize {
        self.bytes_len
    }

    /// Returns the canonical bytes.
    pub fn bytes(&self) -> Bytes {
        self.text().into()
    }

    pub(super) fn first(&self) -> Option<Key> {
        self.first
    }

    /// Returns how many levels are below.
    pub fn level(&self) -> u8 {
        self.level
    }

    pub(super) fn body(&self) -> &Body {
        &self.body
    }

    /// Returns the nodes below; none of a leaf.
    pub fn children(&self) -> &[Arc<Self>] {
        match &self.body {
            Body::Leaf(_) => &[],
            Body::Inner(children) => children,
        }
    }

    /// Returns the entities of a leaf; none of an inner node.
    pub(super) fn entities(&self) -> &[Entity] {
        match &self.body {
            Body::Leaf(entities) => entities,
            Body::Inner(_) => &[],
        }
    }

    fn write(&self, out: &mut impl FnMut(&[u8])) {
        out(format!("{MAGIC}{FORMAT} {}\n", self.level).as_bytes());
        match &self.body {
            Body::Leaf(entities) => entities.iter().for_each(|entity| write_line(entity, out)),
            Body::Inner(children) => {
                for child in children {
                    out(&child.hash.hex());
                    out(b"\n");
                }
            }
        }
    }
}

/// Zero bits that a key's hash needs to be cut at, for each level: about 32 keys a node.
const BITS_PER_LEVEL: u32 = 5;

/// Returns at how many levels the order is cut before a key.
pub(super) fn cuts(key: Key) -> u8 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key.kind.name().as_bytes()).update(b" ").update(key.id.as_bytes());
    let hash = hasher.finalize();
    let mut word = [0; 8];
    word.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    // 64 bits give 12 levels at most.
    (u64::from_be_bytes(word).leading_zeros() / BITS_PER_LEVEL) as u8
}

/// Writes an entity as one line: its kind, a space, its canonical document.
pub(super) fn write_line(entity: &Entity, out: &mut impl FnMut(&[u8])) {
    out(entity.kind().name().as_bytes());
    out(b" ");
    out(entity.bytes());
    out(b"\n");
}

/// Reads what [`write_line`] wrote, without the line's end.
pub(super) fn read_line(catalog: &Catalog, line: &str) -> Result<Entity, VerifyError> {
    let (name, document) =
        line.split_once(' ').ok_or(VerifyError::Malformed("expected a kind and a document"))?;
    let kind = catalog.kind(name).ok_or_else(|| VerifyError::UnknownKind(name.to_owned()))?;
    Ok(Entity::parse(kind, document.as_bytes())?)
}

/// The parts of a node's bytes.
pub(super) enum Parts<'a> {
    /// The lines of a leaf.
    Leaf(Vec<&'a str>),
    /// The level of an inner node and the hashes of its children.
    Inner(u8, Vec<NodeHash>),
}

impl<'a> Parts<'a> {
    /// Takes the bytes of a node apart; the format number is read before anything else.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, VerifyError> {
        let text = std::str::from_utf8(bytes).map_err(|_| VerifyError::Malformed("not text"))?;
        let (level, rest) = read_head(MAGIC, text)?;
        let level: u8 = level.parse().map_err(|_| VerifyError::Malformed("bad level of a node"))?;
        let lines = rest.lines();
        if level == 0 {
            return Ok(Self::Leaf(lines.collect()));
        }
        let hashes: Result<Vec<_>, _> = lines.map(str::parse).collect();
        match hashes {
            Ok(hashes) if !hashes.is_empty() => Ok(Self::Inner(level, hashes)),
            _ => Err(VerifyError::Malformed("expected the hashes of a node's children")),
        }
    }
}

/// Reads a first line `{magic}{format} {rest}`; returns its rest and what follows the line.
pub(super) fn read_head<'a>(magic: &str, text: &'a str) -> Result<(&'a str, &'a str), VerifyError> {
    let (head, body) =
        text.split_once('\n').ok_or(VerifyError::Malformed("expected a first line"))?;
    let head = head.strip_prefix(magic);
    let head = head.ok_or(VerifyError::Malformed("the first line names no format"))?;
    let (format, rest) = head.split_once(' ').unwrap_or((head, ""));
    match format.parse() {
        Ok(FORMAT) => Ok((rest, body)),
        Ok(newer) if newer > FORMAT => Err(VerifyError::NewerFormat(newer)),
        _ => Err(VerifyError::Malformed("the first line names no known format")),
    }
}

/// Returns the level of the node in these bytes, 0 for a leaf, and the hashes of the nodes that it
/// refers to, which are one level lower; for stores that follow them.
///
/// # Errors
///
/// Bytes that are no node, or one of a newer format.
pub fn children(bytes: &[u8]) -> Result<(u8, Vec<NodeHash>), VerifyError> {
    match Parts::read(bytes)? {
        Parts::Leaf(_) => Ok((0, Vec::new())),
        Parts::Inner(level, hashes) => Ok((level, hashes)),
    }
}
