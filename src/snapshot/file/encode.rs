//! Writes the file form.
//!
//! The text is packed in pieces: what stands of one kind in one leaf of the hash tree. What a piece is
//! depends on its leaf alone, so of a config that differs little from the one before, little is written
//! and packed anew; the bytes are the same with and without the one before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{FORMAT, HEADER, Header, KongOrigin};
use crate::domain::catalog::Catalog;
use crate::domain::declarative;
use crate::domain::entity::{Entity, Kind};
use crate::domain::hash::NodeHash;
use crate::snapshot::Snapshot;
use crate::snapshot::gzip::{Joiner, Piece, PiecePacker};
use crate::snapshot::head::SignedHead;

/// Up to how many leaves are few: a millisecond of work.
const FEW: usize = 8;

/// How many pieces are copied before the core is given up: some tens of microseconds of work.
const COPIED_MAX: usize = 64;

/// Writes snapshots in the file form, and keeps the pieces of the last.
pub struct Encoder {
    catalog: Arc<Catalog>,
    /// Taken out while somebody writes: another one that writes meanwhile does without it.
    kept: Mutex<Option<Box<Kept>>>,
}

#[derive(Default)]
struct Kept {
    packer: PiecePacker,
    pieces: Pieces,
    /// How long the file was, in bytes.
    length: usize,
}

type Pieces = HashMap<Place, Piece>;

/// What the text of a piece depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    leaf: NodeHash,
    kind: Kind,
    /// Whether the kind begins in this leaf.
    begins: bool,
}

impl Encoder {
    /// Starts without pieces.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog, kept: Mutex::default() }
    }

    /// Returns whether few leaves of a snapshot would be packed anew.
    pub fn has_most_of(&self, snapshot: &Snapshot) -> bool {
        let kept = self.kept();
        let Some(kept) = kept.as_deref() else { return false };
        let mut lacking = 0;
        visit(snapshot, |place, _| lacking += usize::from(!kept.pieces.contains_key(&place)));
        lacking <= FEW
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
        let mut kept = self.kept().take().unwrap_or_default();
        let bytes = write(&self.catalog, snapshot, header, &mut kept);
        *self.kept() = Some(kept);
        bytes
    }

    // It is put in whole or not at all, so a poisoned lock is still good.
    fn kept(&self) -> MutexGuard<'_, Option<Box<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the file form of a snapshot, for the head that it was served for.
pub fn encode(
    catalog: &Catalog,
    snapshot: &Snapshot,
    origin: Option<(SignedHead, String)>,
) -> Vec<u8> {
    write(catalog, snapshot, signed(snapshot, origin), &mut Kept::default())
}

fn signed(snapshot: &Snapshot, origin: Option<(SignedHead, String)>) -> Header {
    let (head, public_key) = origin.unzip();
    Header { format: FORMAT, config_hash: snapshot.hash(), head, public_key, kong: None }
}

fn write(catalog: &Catalog, snapshot: &Snapshot, header: Header, kept: &mut Kept) -> Vec<u8> {
    let Kept { packer, pieces: before, length } = kept;
    let mut preamble = declarative::preamble();
    let header = serde_json::to_value(header).expect("a header is plain data");
    preamble.insert(HEADER.to_owned(), header);
    let mut text = serde_json::to_vec(&preamble).expect("a tree of values is JSON");
    // The object goes on.
    text.pop();

    // It may have become longer.
    let mut joiner = Joiner::with_capacity(*length + *length / 16);
    let (mut pieces, mut copied) = (Pieces::with_capacity(before.len()), 0);
    joiner.add(&packer.pack(&text));
    let mut is_open = false;
    visit(snapshot, |place, run| {
        if place.begins && is_open {
            joiner.add(&packer.pack(b"]"));
        }
        is_open = true;
        copied += 1;
        let piece = before.remove(&place).unwrap_or_else(|| {
            text.clear();
            write_run(catalog, place, run, &mut text);
            copied = COPIED_MAX;
            packer.pack(&text)
        });
        joiner.add(&piece);
        pieces.insert(place, piece);
        // Whoever woke up need not wait for all of it.
        if copied >= COPIED_MAX {
            thread::yield_now();
            copied = 0;
        }
    });
    joiner.add(&packer.pack(if is_open { b"]}" } else { b"}" }));
    let bytes = joiner.finish();
    (kept.pieces, kept.length) = (pieces, bytes.len());
    bytes
}

/// Visits what stands of one kind in one leaf, in the order of the file.
fn visit(snapshot: &Snapshot, mut visitor: impl FnMut(Place, &[Entity])) {
    let mut last = None;
    for leaf in snapshot.tree().nodes() {
        for run in leaf.entities().chunk_by(|one, next| one.kind() == next.kind()) {
            let Some(kind) = run.first().map(Entity::kind) else { continue };
            visitor(Place { leaf: leaf.hash(), kind, begins: last != Some(kind) }, run);
            last = Some(kind);
        }
    }
}

/// Writes entities of a kind, up to where the next ones stand or the list ends.
fn write_run(catalog: &Catalog, place: Place, run: &[Entity], text: &mut Vec<u8>) {
    if place.begins {
        text.extend_from_slice(b",\"");
        text.extend_from_slice(place.kind.name().as_bytes());
        text.extend_from_slice(b"\":[");
    }
    for (number, entity) in run.iter().enumerate() {
        if number > 0 || !place.begins {
            text.push(b',');
        }
        let flat = declarative::flat(catalog, entity);
        serde_json::to_writer(&mut *text, &flat).expect("a tree of values is JSON");
    }
}
