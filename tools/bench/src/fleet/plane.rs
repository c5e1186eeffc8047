//! A simulated data plane: the product's session rules over a socket of its own.
//!
//! It keeps what it serves as a name only. The content is in one place for all ([`World`]): the first
//! one that obtains a config verifies it and the others believe that, because this machine has to be
//! a thousand machines. Whatever goes over the wire, each one fetches for itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{SinkExt as _, StreamExt as _};
use hybridctl::clock::Clock;
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::event::decode_changes;
use hybridctl::domain::hash::ConfigHash;
use hybridctl::snapshot::assembly::Assembly;
use hybridctl::snapshot::{Snapshot, pack};
use hybridctl::wire::frame::{Delta, FromControl, Hello};
use hybridctl::wire::session::follower::{Action, Follower, Memory};
use hybridctl::wire::session::publisher::Timing;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;

use super::link::{Count, Socket, Way};

/// How often a session looks at the time.
const TICK: Duration = Duration::from_secs(1);

/// The pauses between attempts: as for a data plane.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Configs that are kept for all.
const CONFIGS_MAX: usize = 256;

/// A data plane serves a config now, or has connected and serves it still.
pub(super) struct Report {
    pub(super) plane: usize,
    pub(super) serves: ConfigHash,
    pub(super) at: Instant,
}

/// What all simulated data planes share.
pub(super) struct World {
    pub(super) catalog: Arc<Catalog>,
    pub(super) way: Way,
    pub(super) hello: Hello,
    /// Whether changes are fetched by hash though a delta came.
    pub(super) pulls: AtomicBool,
    /// How many of them, the first ones, do not read.
    pub(super) stalled: watch::Receiver<usize>,
    pub(super) configs: Mutex<VecDeque<Arc<Snapshot>>>,
    /// Why sessions ended, and how many.
    pub(super) ends: Mutex<BTreeMap<String, usize>>,
}

impl World {
    fn configs(&self) -> MutexGuard<'_, VecDeque<Arc<Snapshot>>> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, hash: ConfigHash) -> Option<Arc<Snapshot>> {
        self.configs().iter().rev().find(|it| it.hash() == hash).cloned()
    }

    /// Makes a config unless it is there, one at a time.
    fn make(
        &self,
        hash: ConfigHash,
        make: impl FnOnce(Option<&Snapshot>) -> anyhow::Result<Snapshot>,
        from: Option<ConfigHash>,
    ) -> anyhow::Result<()> {
        let mut configs = self.configs();
        if configs.iter().rev().any(|it| it.hash() == hash) {
            return Ok(());
        }
        let base = configs.iter().rev().find(|it| Some(it.hash()) == from).cloned();
        let made = make(base.as_deref())?;
        if configs.len() >= CONFIGS_MAX {
            configs.pop_front();
        }
        configs.push_back(Arc::new(made));
        Ok(())
    }

    fn ended(&self, error: &anyhow::Error) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        *ends.entry(format!("{error:#}")).or_default() += 1;
    }
}

/// One simulated data plane.
pub(super) struct Plane {
    pub(super) number: usize,
    pub(super) world: Arc<World>,
    pub(super) came: Count,
    pub(super) reports: Sender<Report>,
}

impl Plane {
    /// Follows the control plane until the task is dropped.
    pub(super) async fn run(self, mut memory: Memory) {
        let mut failures = 0_u32;
        let hello = Hello { node_id: Clock::System.id(), ..self.world.hello.clone() };
        loop {
            match self.world.way.socket(&hello, &self.came).await {
                Ok(socket) => {
                    failures = 0;
                    if let Err(error) = self.session(&hello, &mut memory, socket).await {
                        self.world.ended(&error);
                    }
                }
                Err(error) => self.world.ended(&error),
            }
            failures += 1;
            tokio::time::sleep(pause(failures)).await;
        }
    }

    async fn session(
        &self,
        hello: &Hello,
        memory: &mut Memory,
        mut socket: Socket,
    ) -> anyhow::Result<()> {
        let now = Instant::now();
        let (mut follower, first) =
            Follower::new(Timing::default(), memory.clone(), hello.clone(), now);
        let mut actions = vec![first];
        let mut ticks = tokio::time::interval(TICK);
        let mut stalled = self.world.stalled.clone();
        loop {
            let mut todo = VecDeque::from(actions);
            while let Some(action) = todo.pop_front() {
                todo.extend(self.perform(action, &mut follower, &mut socket).await?);
            }
            memory.clone_from(&follower.memory);
            let number = self.number;
            stalled.wait_for(|stalled| number >= *stalled).await?;
            actions = tokio::select! {
                message = socket.next() => {
                    match message.context("closed by the control plane")?.context("broken")? {
                        Message::Text(text) => {
                            let frame = serde_json::from_str(&text)?;
                            let is_welcome = matches!(frame, FromControl::Welcome(_));
                            let actions = follower.frame(frame, Instant::now());
                            if is_welcome {
                                self.report(&follower);
                            }
                            actions
                        }
                        Message::Close(_) => anyhow::bail!("closed by the control plane"),
                        _ => Vec::new(),
                    }
                }
                _ = ticks.tick() => follower.tick(Instant::now()),
                changed = stalled.changed() => {
                    changed?;
                    Vec::new()
                }
            };
        }
    }

    async fn perform(
        &self,
        action: Action,
        follower: &mut Follower,
        socket: &mut Socket,
    ) -> anyhow::Result<Vec<Action>> {
        match action {
            Action::Send(frame) => {
                let text = serde_json::to_string(&frame)?;
                socket.send(Message::text(text)).await.context("cannot send")?;
            }
            Action::Obtain { head, delta } => {
                let serves = follower.memory.applied.map(|it| it.config_hash);
                self.obtain(serves, head.config_hash, delta).await?;
                let actions = follower.applied(head, Instant::now());
                self.report(follower);
                return Ok(actions);
            }
            Action::Keep(_) => self.report(follower),
            Action::Pin(_) => {}
            Action::Distrust(why, _) => anyhow::bail!("head refused: {why}"),
            Action::Close(reason) => anyhow::bail!("{reason}"),
        }
        Ok(Vec::new())
    }

    fn report(&self, follower: &Follower) {
        if let Some(position) = follower.memory.applied {
            let (plane, serves) = (self.number, position.config_hash);
            // Whoever listened has ended when nobody does.
            let _ = self.reports.send(Report { plane, serves, at: Instant::now() });
        }
    }

    async fn obtain(
        &self,
        serves: Option<ConfigHash>,
        wanted: ConfigHash,
        delta: Option<Box<Delta>>,
    ) -> anyhow::Result<()> {
        let world = &self.world;
        if let Some(delta) = delta.filter(|_| !world.pulls.load(Ordering::Relaxed)) {
            let by_delta = |base: Option<&Snapshot>| {
                let changes = decode_changes(&world.catalog, &delta.changes)?;
                let base = base.context("a delta from an unknown config")?;
                Ok(base.verify_delta(&world.catalog, &changes, wanted)?)
            };
            return world.make(wanted, by_delta, Some(delta.from));
        }
        let mut content = world.way.content(&self.came).await?;
        let Some(base) = serves.and_then(|hash| world.find(hash)) else {
            let packed = content.ask(&format!("/v1/snapshots/{wanted}")).await?;
            let unpack = |_: Option<&Snapshot>| Ok(pack::decode(&world.catalog, wanted, &packed)?);
            return world.make(wanted, unpack, None);
        };
        let mut assembly = Assembly::new(wanted, Some(&base));
        drop(base);
        loop {
            let missing = assembly.missing();
            let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
            let nodes = match names.as_slice() {
                [] => break,
                [_] => vec![content.ask(&format!("/v1/nodes/{}", names.join(","))).await?],
                _ => pack::split(&content.ask(&format!("/v1/nodes/{}", names.join(","))).await?)?,
            };
            for (hash, bytes) in missing.into_iter().zip(nodes) {
                assembly.feed(hash, bytes)?;
            }
        }
        world.make(wanted, |_| Ok(assembly.finish(&world.catalog)?), None)
    }
}

fn pause(failures: u32) -> Duration {
    let longest = RETRY_MIN.saturating_mul(1 << failures.min(10)).min(RETRY_MAX);
    let part = (Clock::System.random() % 1000) as u32;
    RETRY_MIN + (longest - RETRY_MIN) * part / 1000
}
