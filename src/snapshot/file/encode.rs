//! Writes the file form.
//!
//! The text is packed in pieces: what stands of one kind in one leaf of the hash tree. What a piece is
//! depends on its leaf alone, so of a config that differs little from the one before, little is written
//! and packed anew; the bytes are the same with and without the one before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{FORMAT, HEADER, Header, KongOrigin};
use crate::domain::catalog::Catalog;
use crate::domain::declarative;
use crate::domain::entity::{Entity, Kind};
use crate::domain::hash::NodeHash;
use crate::snapshot::Snapshot;
use crate::snapshot::gzip::{Joiner, Piece, PiecePacker};
use crate::snapshot::head::SignedHead;

/// Writes snapshots in the file form, and keeps the pieces of the last.
pub struct Encoder {
    catalog: Arc<Catalog>,
    /// Taken out while somebody writes: another one that writes meanwhile does without them.
    pieces: Mutex<Pieces>,
}

/// By the leaf, the kind, and whether the kind begins there.
type Pieces = HashMap<(NodeHash, Kind, bool), Arc<Piece>>;

impl Encoder {
    /// Starts without pieces.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog, pieces: Mutex::default() }
    }

    /// Returns the file form of a snapshot, for the head that it was served for.
    pub fn encode(&self, snapshot: &Snapshot, origin: Option<(SignedHead, String)>) -> Vec<u8> {
        self.write(snapshot, signed(snapshot, origin))
    }

    /// Returns the file form of a snapshot that came from a control plane of Kong.
    pub fn encode_unsigned(&self, snapshot: &Snapshot, kong: KongOrigin) -> Vec<u8> {
        self.write(snapshot, Header { kong: Some(kong), ..signed(snapshot, None) })
    }

    fn write(&self, snapshot: &Snapshot, header: Header) -> Vec<u8> {
        // Pieces are put in whole or not at all, so a poisoned lock is still good.
        let pieces = || self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *pieces());
        let (bytes, after) = write(&self.catalog, snapshot, header, &before);
        *pieces() = after;
        bytes
    }
}

/// Returns the file form of a snapshot, for the head that it was served for.
pub fn encode(
    catalog: &Catalog,
    snapshot: &Snapshot,
    origin: Option<(SignedHead, String)>,
) -> Vec<u8> {
    write(catalog, snapshot, signed(snapshot, origin), &Pieces::new()).0
}

fn signed(snapshot: &Snapshot, origin: Option<(SignedHead, String)>) -> Header {
    let (head, public_key) = origin.unzip();
    Header { format: FORMAT, config_hash: snapshot.hash(), head, public_key, kong: None }
}

fn write(
    catalog: &Catalog,
    snapshot: &Snapshot,
    header: Header,
    before: &Pieces,
) -> (Vec<u8>, Pieces) {
    let mut preamble = declarative::preamble();
    let header = serde_json::to_value(header).expect("a header is plain data");
    preamble.insert(HEADER.to_owned(), header);
    let mut text = serde_json::to_vec(&preamble).expect("a tree of values is JSON");
    // The object goes on.
    text.pop();

    let (mut packer, mut joiner, mut pieces) = (PiecePacker::new(), Joiner::new(), Pieces::new());
    joiner.add(&packer.pack(&text));
    let mut open = None;
    for leaf in snapshot.tree().nodes() {
        for run in leaf.entities().chunk_by(|one, next| one.kind() == next.kind()) {
            let Some(kind) = run.first().map(Entity::kind) else { continue };
            let begins = open != Some(kind);
            if begins && open.is_some() {
                joiner.add(&packer.pack(b"]"));
            }
            open = Some(kind);
            let place = (leaf.hash(), kind, begins);
            let piece = before.get(&place).cloned().unwrap_or_else(|| {
                text.clear();
                write_run(catalog, kind, begins, run, &mut text);
                Arc::new(packer.pack(&text))
            });
            joiner.add(&piece);
            pieces.insert(place, piece);
        }
    }
    let end: &[u8] = if open.is_some() { b"]}" } else { b"}" };
    joiner.add(&packer.pack(end));
    (joiner.finish(), pieces)
}

/// Writes entities of a kind, up to where the next ones stand or the list ends.
fn write_run(catalog: &Catalog, kind: Kind, begins: bool, run: &[Entity], text: &mut Vec<u8>) {
    if begins {
        text.extend_from_slice(b",\"");
        text.extend_from_slice(kind.name().as_bytes());
        text.extend_from_slice(b"\":[");
    }
    for (number, entity) in run.iter().enumerate() {
        if number > 0 || !begins {
            text.push(b',');
        }
        let flat = declarative::flat(catalog, entity);
        serde_json::to_writer(&mut *text, &flat).expect("a tree of values is JSON");
    }
}
