//! One data plane: what it has on disk and in memory, its session, and what it puts in force.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::log::{CATALOG, CONFIGS, config, is_poison};
use crate::domain::event::decode_changes;
use crate::domain::hash::ConfigHash;
use crate::snapshot::head::SignedHead;
use crate::snapshot::{Snapshot, VerifyError, pack};
use crate::wire::frame::{Delta, Hello, PROTOCOL, Pin, Position, Rejected};
use crate::wire::session::follower::{Follower, Memory};
use crate::wire::session::publisher::Publisher;

/// One data plane.
pub(super) struct Plane {
    pub(super) id: Uuid,
    pub(super) labels: BTreeMap<String, String>,
    /// On disk: the cluster's pin, and the cache.
    pin: Option<Pin>,
    cache: Option<(SignedHead, Arc<Snapshot>)>,
    /// In memory, while there is no session.
    memory: Memory,
    pub(super) snapshot: Arc<Snapshot>,
    /// What it rejected last, if it has served nothing new since.
    pub(super) refused: Option<ConfigHash>,
    /// Where it was when somebody looked last.
    watched: Option<Position>,
    pub(super) link: Option<Link>,
}

/// A session, and what is under way in it.
pub(super) struct Link {
    /// Which control plane.
    pub(super) control: usize,
    pub(super) publisher: Publisher,
    pub(super) follower: Follower,
    pub(super) up: VecDeque<String>,
    pub(super) down: VecDeque<String>,
    pub(super) work: Option<Work>,
}

/// A head that is being obtained.
pub(super) struct Work {
    pub(super) head: SignedHead,
    pub(super) delta: Option<Box<Delta>>,
    /// Its content, once that is there.
    pub(super) fetched: Option<Arc<Snapshot>>,
}

impl Plane {
    pub(super) fn new(id: u128) -> Self {
        Self {
            id: Uuid::from_u128(id),
            labels: BTreeMap::new(),
            pin: None,
            cache: None,
            memory: Memory::default(),
            snapshot: CONFIGS[0].clone(),
            refused: None,
            watched: None,
            link: None,
        }
    }

    pub(super) fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            node_id: self.id,
            hostname: "h".into(),
            version: "3.9.1".into(),
            program_version: "0".into(),
            labels: self.labels.clone(),
            plugins: Default::default(),
            applied: None,
            rejected: Vec::new(),
        }
    }

    pub(super) fn memory(&self) -> Memory {
        self.link.as_ref().map_or_else(|| self.memory.clone(), |link| link.follower.memory.clone())
    }

    pub(super) fn keep_pin(&mut self, pin: Pin) {
        assert!(self.pin.is_none(), "a pin is for ever");
        self.pin = Some(pin);
    }

    /// What is served has another position: the cache says so.
    pub(super) fn keep(&mut self, head: SignedHead) {
        if let Some((cached, _)) = &mut self.cache {
            *cached = head;
        }
    }

    /// The session ends. What is being put in force comes into force.
    pub(super) fn disconnect(&mut self, now: std::time::Instant) {
        let Some(mut link) = self.link.take() else { return };
        if let Some(work) = link.work.take()
            && let Some(snapshot) = &work.fetched
        {
            if is_poison(work.head.config_hash) {
                self.refused = Some(work.head.config_hash);
                link.follower.rejected(work.rejected(), now);
            } else {
                self.serve(work.head, snapshot.clone());
                link.follower.applied(work.head, now);
            }
        }
        self.memory = link.follower.memory;
    }

    /// The process is killed and starts again, with what is left on its disk.
    pub(super) fn crash(&mut self, loses_cache: bool, loses_pin: bool) {
        self.link = None;
        self.cache = self.cache.take().filter(|_| !loses_cache);
        self.pin = self.pin.take().filter(|_| !(loses_cache && loses_pin));
        let cached = self.cache.clone();
        let applied = cached.as_ref().map(|(head, _)| Position::from(*head));
        self.snapshot = cached.map_or_else(|| CONFIGS[0].clone(), |(_, snapshot)| snapshot);
        self.memory = Memory { pin: self.pin.clone(), applied, rejected: Vec::new() };
        (self.refused, self.watched) = (None, applied);
    }

    /// A config comes into force, and into the cache.
    pub(super) fn serve(&mut self, head: SignedHead, snapshot: Arc<Snapshot>) {
        assert_eq!(snapshot.hash(), head.config_hash, "not what was verified");
        self.cache = Some((head, snapshot.clone()));
        (self.snapshot, self.refused) = (snapshot, None);
    }

    /// Returns the position if it is another one since the last time; it must not fall.
    pub(super) fn moved(&mut self) -> Option<Position> {
        let now = self.link.as_ref()?.follower.memory.applied?;
        let before = self.watched.replace(now);
        let order = |p: Position| (p.epoch, p.revision, p.seq);
        assert!(before.is_none_or(|before| order(before) <= order(now)), "{before:?} to {now:?}");
        assert_eq!(now.config_hash, self.snapshot.hash(), "it says what it does not serve");
        Some(now).filter(|_| before != Some(now))
    }
}

impl Work {
    /// Makes the content of what came: a delta, else a pack, `damage` being done to its bytes.
    pub(super) fn content(
        &self,
        current: &Snapshot,
        damage: impl Fn(&mut Vec<u8>),
    ) -> Result<Arc<Snapshot>, VerifyError> {
        let wanted = self.head.config_hash;
        let by_delta = |delta: &Delta| {
            let changes = decode_changes(&CATALOG, &delta.changes).ok()?;
            current.verify_delta(&CATALOG, &changes, wanted).ok()
        };
        if let Some(snapshot) = self.delta.as_deref().and_then(by_delta) {
            return Ok(Arc::new(snapshot));
        }
        let mut packed = pack::encode(config(wanted).expect("only published heads are obtained"));
        damage(&mut packed);
        pack::decode(&CATALOG, wanted, &packed).map(Arc::new)
    }

    pub(super) fn rejected(&self) -> Rejected {
        Rejected {
            config_hash: self.head.config_hash,
            phase: "compile".into(),
            entity: None,
            pointer: None,
            reason: "no".into(),
        }
    }
}
