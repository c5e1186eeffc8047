//! The heads of late: what can be sent as a delta, and whose content can be fetched.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::task::JoinError;

use super::frame::{Delta, FromControl};
use super::kong::table::config_hash;
use super::made::Made;
use super::socket::{BATCH_LEN, Text};
use crate::domain::catalog::Catalog;
use crate::domain::event::encode_changes;
use crate::domain::hash::{ConfigHash, NodeHash};
use crate::pki::ed25519::KeyError;
use crate::snapshot::head::{SignedHead, Signer};
use crate::snapshot::node::Node;
use crate::snapshot::pack;
use crate::writer::Head;

/// How many heads are remembered; they share their structure.
const HEADS_MAX: usize = 64;

/// Larger deltas are not sent: the data plane fetches what it lacks, in the bytes of the nodes.
const DELTA_BYTES_MAX: usize = 256 << 10;

/// How many deltas are kept: data planes do not all come from the same config.
const DELTAS_MAX: usize = 16;

/// How many packs are kept: of a head, and of the one before while it is still sent.
const PACKS_MAX: usize = 2;

/// The heads of late and the key that signs them; shared by all sessions.
pub(super) struct Recent {
    catalog: Arc<Catalog>,
    signer: Signer,
    state: Mutex<State>,
    /// By where they begin and where they lead; nothing where the way is too long.
    deltas: Made<(ConfigHash, SignedHead), Option<Text>>,
    packs: Made<ConfigHash, Bytes>,
}

/// Every node of the held heads and of those of late, by hash; made when the first one is asked for.
struct Index {
    nodes: HashMap<NodeHash, Arc<Node>>,
    /// How many heads came since it was made; it still has the nodes of as many that are forgotten.
    added: usize,
}

impl Index {
    fn of<'h>(heads: impl IntoIterator<Item = &'h Arc<Head>>) -> Self {
        let mut index = Self { nodes: HashMap::new(), added: 0 };
        let mut known: Option<&Head> = None;
        for head in heads {
            index.put(head, known);
            known = Some(head);
        }
        index
    }

    /// Adds the nodes of a head that the one before does not have.
    fn put(&mut self, head: &Head, before: Option<&Head>) {
        let tree = head.snapshot.tree();
        let mut add = |node: Arc<Node>| drop(self.nodes.insert(node.hash(), node));
        match before {
            Some(before) => {
                tree.nodes_not_in(before.snapshot.tree()).into_iter().for_each(&mut add);
            }
            None => tree.nodes().for_each(&mut add),
        }
    }
}

#[derive(Default)]
struct State {
    heads: VecDeque<Arc<Head>>,
    /// Older ones that some data planes are to get.
    held: Vec<Arc<Head>>,
    index: Option<Index>,
    signed: Option<SignedHead>,
}

impl State {
    /// Returns all heads, the newest first.
    fn all(&self) -> impl Iterator<Item = &Arc<Head>> {
        self.heads.iter().rev().chain(&self.held)
    }
}

impl Recent {
    pub(super) fn new(catalog: Arc<Catalog>, signer: Signer) -> Self {
        let (deltas, packs) = (Made::keeping(DELTAS_MAX), Made::keeping(PACKS_MAX));
        Self { catalog, signer, state: Mutex::default(), deltas, packs }
    }

    // What is remembered can be made anew, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a head.
    pub(super) fn remember(&self, head: Arc<Head>) {
        let mut state = self.lock();
        if state.heads.back().is_some_and(|newest| newest.seq >= head.seq) {
            return;
        }
        if state.heads.len() >= HEADS_MAX {
            state.heads.pop_front();
        }
        let State { heads, index, .. } = &mut *state;
        match index {
            Some(made) if made.added < HEADS_MAX => {
                made.put(&head, heads.back().map(|head| &**head));
                made.added += 1;
            }
            // Mostly of heads that are forgotten by now.
            _ => *index = None,
        }
        heads.push_back(head);
    }

    /// Remembers heads until others are to be.
    pub(super) fn hold(&self, heads: Vec<Arc<Head>>) {
        let mut state = self.lock();
        let names = |heads: &[Arc<Head>]| heads.iter().map(|it| it.config_hash).collect::<Vec<_>>();
        if names(&state.held) != names(&heads) {
            state.index = None;
        }
        state.held = heads;
    }

    /// Signs a head under a revision.
    pub(super) fn sign(&self, head: &Head, revision: u64) -> Result<SignedHead, KeyError> {
        let mut state = self.lock();
        let is_it = |it: &SignedHead| (it.revision, it.seq) == (revision, head.seq);
        if let Some(signed) = state.signed.filter(is_it) {
            return Ok(signed);
        }
        let signed = self.signer.sign_revised(revision, head.seq, head.config_hash)?;
        state.signed = Some(signed);
        Ok(signed)
    }

    /// Returns the frame with the changes from `from` to a head, unless `from` is forgotten or they
    /// are too many.
    pub(super) async fn delta(
        &self,
        from: ConfigHash,
        head: &Arc<Head>,
        signed: SignedHead,
    ) -> Option<Text> {
        let base = self.find(from)?;
        let (catalog, head) = (self.catalog.clone(), head.clone());
        let make = move || {
            let changes = base.snapshot.config().diff(&catalog, head.snapshot.config());
            let bytes: usize = changes.iter().map(change_bytes).sum();
            if bytes > DELTA_BYTES_MAX {
                return None;
            }
            let delta = Delta { from, head: signed, changes: encode_changes(&changes) };
            Text::of(&FromControl::Delta(delta)).ok()
        };
        self.deltas.of((from, signed), make).await.inspect_err(not_made).ok()?
    }

    fn find(&self, hash: ConfigHash) -> Option<Arc<Head>> {
        self.lock().all().find(|head| head.config_hash == hash).cloned()
    }

    /// Returns the newest head whose config has this name in Kong's dialect.
    pub(super) fn find_short(&self, name: &str) -> Option<Arc<Head>> {
        self.lock().all().find(|head| config_hash(head.config_hash) == name).cloned()
    }

    /// Returns the pack of a recent config.
    pub(super) async fn pack(&self, hash: ConfigHash) -> Option<Bytes> {
        let head = self.find(hash)?;
        let make = move || Bytes::from(pack::encode(&head.snapshot));
        self.packs.of(hash, make).await.inspect_err(not_made).ok()
    }

    /// Returns the nodes of recent configs that a text names: one as it is, many in a row. None if
    /// one is not there.
    pub(super) fn nodes(&self, names: &str) -> Option<Bytes> {
        let hashes = names.split(',').take(BATCH_LEN + 1).map(str::parse);
        let hashes: Vec<NodeHash> = hashes.collect::<Result<_, _>>().ok()?;
        if hashes.len() > BATCH_LEN {
            return None;
        }
        let found: Option<Vec<_>> = {
            let mut state = self.lock();
            let State { heads, index, held, .. } = &mut *state;
            let index = index.get_or_insert_with(|| Index::of(held.iter().chain(&*heads)));
            hashes.iter().map(|hash| index.nodes.get(hash).cloned()).collect()
        };
        let bytes: Vec<_> = found?.iter().map(|node| node.bytes()).collect();
        match bytes.as_slice() {
            [one] if !names.contains(',') => Some(one.clone()),
            many => Some(pack::join(many)),
        }
    }
}

/// A data plane can do without, or asks again.
fn not_made(error: &JoinError) {
    tracing::error!(%error, "[clustering] content for data planes could not be made");
}

fn change_bytes(change: &crate::domain::event::Change) -> usize {
    match change {
        crate::domain::event::Change::Upserted(entity) => entity.bytes().len() + 100,
        crate::domain::event::Change::Deleted(_) => 100,
    }
}
