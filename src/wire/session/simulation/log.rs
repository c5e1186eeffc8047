//! The log that all control planes share, and what each of them has seen of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use serde_json::json;
use uuid::Uuid;

use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::entity::Entity;
use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;
use crate::domain::kinds::consumer;
use crate::log::promotions::PromotionRow;
use crate::pki::ed25519::SigningKey;
use crate::promotion::decision::{Decision, Peer};
use crate::promotion::view::{Offer, View};
use crate::snapshot::Snapshot;
use crate::snapshot::head::{SignedHead, Signer};
use crate::wire::frame::Pin;
use crate::writer::Head;

pub(super) static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::new(Vec::new()));

/// What is published: a few configs again and again, the first of them empty.
pub(super) static CONFIGS: LazyLock<Vec<Arc<Snapshot>>> = LazyLock::new(|| {
    let consumer = |i: u128| {
        let document = json!({
            "id": Uuid::from_u128(i), "created_at": 1, "updated_at": 1, "username": format!("u{i}"),
        });
        Entity::new(consumer::KIND, document.as_object().unwrap()).unwrap()
    };
    let config = |n: u128| {
        Config::of(&CATALOG, (0..5).filter(|bit| n & (1 << bit) != 0).map(|bit| consumer(bit + 1)))
    };
    (0..32).map(|n| Arc::new(Snapshot::of(config(n)))).collect()
});

/// Returns the config of this name.
pub(super) fn config(hash: ConfigHash) -> Option<&'static Arc<Snapshot>> {
    CONFIGS.iter().find(|snapshot| snapshot.hash() == hash)
}

/// Returns whether no data plane can put a config in force: every seventh.
pub(super) fn is_poison(hash: ConfigHash) -> bool {
    CONFIGS.iter().position(|snapshot| snapshot.hash() == hash).is_some_and(|n| n % 7 == 6)
}

/// The log, the decisions beside it, and the key that signs what they lead to.
pub(super) struct Log {
    pub(super) epoch: u64,
    /// By position.
    pub(super) heads: Vec<Arc<Head>>,
    pub(super) rows: Vec<PromotionRow>,
    /// All that ever was in force, in any epoch.
    pub(super) published: HashSet<(u64, Seq, ConfigHash)>,
    cluster_id: Uuid,
    key: SigningKey,
    /// What was signed, by epoch, revision and position.
    signed: HashMap<(u64, u64, Seq), SignedHead>,
}

impl Log {
    pub(super) fn new() -> Self {
        let empty = Arc::new(Head::empty());
        Self {
            epoch: 0,
            published: HashSet::from([(0, empty.seq, empty.config_hash)]),
            heads: vec![empty],
            rows: Vec::new(),
            cluster_id: Uuid::from_u128(1),
            key: SigningKey::generate().unwrap(),
            signed: HashMap::new(),
        }
    }

    pub(super) fn pin(&self) -> Pin {
        Pin { cluster_id: self.cluster_id, public_key: self.key.verify_key().to_string() }
    }

    pub(super) fn newest(&self) -> &Arc<Head> {
        self.heads.last().unwrap()
    }

    pub(super) fn append(&mut self, snapshot: &Arc<Snapshot>) {
        let (seq, config_hash) = (self.newest().seq.next(), snapshot.hash());
        let head = Head { seq, config_hash, snapshot: snapshot.clone(), ..Head::empty() };
        self.published.insert((self.epoch, seq, config_hash));
        self.heads.push(Arc::new(head));
    }

    pub(super) fn decide(&mut self, decision: &Decision) {
        self.rows.push(PromotionRow {
            id: self.rows.len() as u64 + 1,
            at: Default::default(),
            actor: String::new(),
            source: String::new(),
            reason: None,
            decision: serde_json::to_string(decision).unwrap(),
        });
    }

    /// The database comes back from an older copy, and its operator begins a new epoch.
    pub(super) fn restore(&mut self, heads: usize, rows: usize) {
        self.heads.truncate(heads);
        self.rows.truncate(rows);
        self.epoch += 1;
        let epoch = self.epoch;
        self.published.extend(self.heads.iter().map(|head| (epoch, head.seq, head.config_hash)));
    }

    pub(super) fn sign(&mut self, revision: u64, head: &Head) -> SignedHead {
        let (epoch, cluster_id) = (self.epoch, self.cluster_id);
        let make = || {
            let signer = Signer { cluster_id, epoch, key: self.key.clone() };
            signer.sign_revised(revision, head.seq, head.config_hash).unwrap()
        };
        *self.signed.entry((epoch, revision, head.seq)).or_insert_with(make)
    }
}

/// One control plane.
#[derive(Default)]
pub(super) struct Control {
    /// What it has seen of the log; nothing before it starts.
    heads: Vec<Arc<Head>>,
    rows: usize,
    view: View,
}

impl Control {
    /// Sees so many more heads and decisions.
    pub(super) fn tail(&mut self, log: &Log, heads: usize, rows: usize) {
        let heads = (self.heads.len() + heads).min(log.heads.len());
        for head in &log.heads[self.heads.len()..heads] {
            self.view.heads.insert(head.seq, head.clone());
            self.heads.push(head.clone());
        }
        let rows = (self.rows + rows).min(log.rows.len());
        log.rows[self.rows..rows].iter().for_each(|row| self.view.state.fold(row));
        self.rows = rows;
    }

    /// Starts anew, from the whole log.
    pub(super) fn start(log: &Log) -> Self {
        let mut control = Self::default();
        control.tail(log, usize::MAX >> 1, usize::MAX >> 1);
        control
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    pub(super) fn newest(&self) -> &Arc<Head> {
        self.heads.last().unwrap()
    }

    pub(super) fn knows(&self, hash: ConfigHash) -> bool {
        self.heads.iter().any(|head| head.config_hash == hash)
    }

    pub(super) fn offer(&self, id: Uuid, labels: &BTreeMap<String, String>) -> Option<Offer> {
        self.view.offer(&Peer { id, labels: labels.clone() }, self.newest(), None)
    }
}
