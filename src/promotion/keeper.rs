//! Keeps a control plane in step with the decisions in its database, and makes those of rollouts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::SubsecRound as _;
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use super::decision::{Decision, Peer, Position};
use super::order::{self, Refusal};
use super::quarantine::Quarantine;
use super::rollout::{Conductor, Seen};
use super::state::{Hold, State};
use super::view::View;
use crate::clock::Clock;
use crate::domain::hash::ConfigHash;
use crate::fleet::{DataPlaneRow, Fleet};
use crate::log::StorageError;
use crate::log::moment::Moment;
use crate::log::promotions::{PromotionRow, PromotionStore};
use crate::writer::{Head, Writer};

/// How often the database is asked for decisions of others.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Who decides.
#[derive(Clone, Debug)]
pub struct Who {
    /// Who.
    pub actor: String,
    /// By which way.
    pub source: &'static str,
    /// Why.
    pub reason: Option<String>,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The caller's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed.
    #[error("decisions on promotion cannot be stored")]
    Storage(#[from] StorageError),
}

/// Brings a state up to what the database has.
pub async fn catch_up(store: &dyn PromotionStore, state: &mut State) -> Result<(), StorageError> {
    for row in store.promotions(state.tip).await? {
        state.fold(&row);
    }
    Ok(())
}

/// Returns the positions whose configs must stay at hand, whichever control plane asks: those of
/// pins, of the frozen head and of a rollout. Whoever clears away stored snapshots or moves events
/// away keeps what is needed to rebuild these.
pub async fn held(store: &dyn PromotionStore) -> Result<Vec<Position>, StorageError> {
    let mut state = State::default();
    catch_up(store, &mut state).await?;
    Ok(state.held())
}

/// Decides on what is in force now, stores the decision and takes it in; `order` is asked again
/// when somebody else was faster. Returns whether there was something to decide.
pub async fn decide(
    store: &dyn PromotionStore,
    state: &mut State,
    clock: &Clock,
    who: &Who,
    order: impl Fn(&State) -> Result<Option<Decision>, Refusal> + Send + Sync,
) -> Result<bool, DecideError> {
    loop {
        catch_up(store, state).await?;
        let Some(decision) = order(state)? else { return Ok(false) };
        let row = PromotionRow {
            id: state.tip + 1,
            at: clock.now().trunc_subsecs(3),
            actor: who.actor.clone(),
            source: who.source.to_owned(),
            reason: who.reason.clone(),
            decision: serde_json::to_string(&decision).expect("a decision is plain data"),
        };
        if store.record_promotion(&row).await? {
            state.fold(&row);
            return Ok(true);
        }
    }
}

/// The decisions of one control plane's database, and what follows from them.
#[derive(Debug)]
pub struct Keeper {
    store: Arc<dyn PromotionStore>,
    writer: Writer,
    fleet: Arc<Fleet>,
    clock: Clock,
    view: watch::Sender<Arc<View>>,
    /// Held while the view is brought up to date, so that an older one does not replace a newer.
    conductor: Mutex<Conductor>,
}

impl Keeper {
    /// Reads what is in force.
    ///
    /// # Errors
    ///
    /// The database cannot be read. Without it nobody knows what data planes may get.
    pub async fn open(
        store: Arc<dyn PromotionStore>,
        writer: Writer,
        fleet: Arc<Fleet>,
        clock: Clock,
    ) -> Result<Self, StorageError> {
        let view = watch::Sender::new(Arc::default());
        let keeper = Self { store, writer, fleet, clock, view, conductor: Mutex::default() };
        keeper.refresh().await?;
        Ok(keeper)
    }

    /// Returns what is in force.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Returns a receiver that always holds what is in force.
    pub fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Decides on what is in force, with the newest head; returns whether something was decided, and
    /// what is in force then.
    ///
    /// # Errors
    ///
    /// The order is refused, or cannot be stored.
    pub async fn decide(
        &self,
        who: &Who,
        order: impl Fn(&State, Position) -> Result<Option<Decision>, Refusal> + Send + Sync,
    ) -> Result<(bool, Arc<View>), DecideError> {
        let _turn = self.conductor.lock().await;
        let mut state = self.view().state.clone();
        let newest = Position::of(&self.writer.head());
        let order = |state: &State| order(state, newest);
        let done = decide(&*self.store, &mut state, &self.clock, who, order).await;
        self.publish(state).await;
        Ok((done?, self.view()))
    }

    /// Has heads signed anew, for a data plane that serves something newer than it is to get though
    /// nothing was decided: its labels changed.
    pub async fn restate(&self, node_id: Uuid, revision: u64) {
        let order = |state: &State, _| {
            Ok((state.revision == revision).then_some(Decision::Restated { node_id }))
        };
        let reason = "a data plane serves something newer than what it is to get";
        if let Err(error) = self.decide(&itself(Some(reason)), order).await {
            tracing::error!(%node_id, ?error, "cannot send a data plane back");
        }
    }

    /// Keeps a config that a data plane crashed on from all others. `serves` is what that one went
    /// back to. Of configs that nobody is to get there is nothing to keep.
    pub async fn quarantine(
        &self,
        (node_id, why): (Uuid, &str),
        config_hash: ConfigHash,
        serves: Option<Position>,
    ) {
        let view = self.view();
        let newest = Position::of(&self.writer.head());
        let held = view.state.held();
        if !held.iter().chain([&newest]).any(|it| it.config_hash == config_hash) {
            return;
        }
        let instead = serves.or_else(|| self.served_elsewhere(&view.state, config_hash));
        let order =
            |state: &State, _| Ok(order::quarantine(state, config_hash, (node_id, why), instead));
        match self.decide(&itself(Some(why)), order).await {
            Ok((true, _)) => tracing::error!(%node_id, %config_hash, reason = why,
                instead = instead.map(|it| it.seq.0),
                "[clustering] data plane crashed on a configuration: it is not announced to \
                 others any more; what comes after it is, and `quarantine release` lifts that"),
            Ok((false, _)) => {}
            Err(error) => {
                tracing::error!(%node_id, %config_hash, ?error, "[clustering] cannot keep a \
                    configuration back that a data plane crashed on");
            }
        }
    }

    /// Returns the newest position that a data plane connected here serves beside a config.
    fn served_elsewhere(&self, state: &State, beside: ConfigHash) -> Option<Position> {
        let rows = self.fleet.connected_here().into_iter();
        let served = rows.filter_map(|row| serves(&row));
        let sound = |it: &Position| {
            it.config_hash != beside && state.quarantine.of(it.config_hash).is_none()
        };
        served.filter(sound).max_by_key(|it| it.seq)
    }

    /// Follows the database, and conducts rollouts, until `stop`. While the database fails, what
    /// is known stays in force.
    pub async fn follow(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let looked = self.look().await;
            match &looked {
                Err(error) if !failing => {
                    tracing::error!(?error, "cannot follow the decisions on promotion");
                }
                Ok(()) if failing => tracing::info!("decisions on promotion are followed again"),
                _ => {}
            }
            failing = looked.is_err();
        }
    }

    /// Takes in what others decided, then decides what is due.
    async fn look(&self) -> Result<(), StorageError> {
        self.refresh().await?;
        let mut conductor = self.conductor.lock().await;
        let mut state = self.view().state.clone();
        let Some(rollout) = &state.rollout else { return Ok(()) };
        let mut newest = Position::of(&self.writer.head());
        if state.quarantine.of(newest.config_hash).is_some() {
            // It would get nowhere.
            newest = rollout.good;
        }
        let seen = self.seen(&state);
        let (is_frozen, now) = (state.frozen.is_some(), Instant::now());
        let Some(due) = conductor.step(rollout, is_frozen, newest, &seen, now) else {
            return Ok(());
        };
        match &due {
            Decision::Stopped { node_id, why } => {
                tracing::error!(%node_id, "[clustering] rollout stopped, data plane {why}");
            }
            due => tracing::info!(?due, "[clustering] rollout"),
        }
        // If somebody else decides first, what is due is looked at anew.
        let tip = state.tip;
        let order = |state: &State| Ok((state.tip == tip).then(|| due.clone()));
        let done = decide(&*self.store, &mut state, &self.clock, &itself(None), order).await;
        self.publish(state).await;
        match done {
            Err(DecideError::Storage(error)) => Err(error),
            Ok(_) | Err(DecideError::Refused(_)) => Ok(()),
        }
    }

    async fn refresh(&self) -> Result<(), StorageError> {
        let _turn = self.conductor.lock().await;
        let mut state = self.view().state.clone();
        catch_up(&*self.store, &mut state).await?;
        self.publish(state).await;
        Ok(())
    }

    /// Puts a state in force, with the configs that it holds.
    async fn publish(&self, state: State) {
        let old = self.view();
        let mut heads = BTreeMap::new();
        for held in state.held() {
            let known = old.heads.get(&held.seq).filter(|head| Position::of(head) == held).cloned();
            match known {
                Some(head) => drop(heads.insert(held.seq, head)),
                // Tried again with each look, and told of once.
                None => match self.rebuild(held).await {
                    Ok(head) => drop(heads.insert(held.seq, head)),
                    Err(why) if state.tip != old.state.tip => {
                        tracing::error!(seq = held.seq.0, config_hash = %held.config_hash, %why,
                            "a config that is held is not at hand: data planes stay where they are");
                    }
                    Err(_) => {}
                },
            }
        }
        if state.tip != old.state.tip || heads.len() != old.heads.len() {
            self.view.send_replace(Arc::new(View { state, heads }));
        }
    }

    async fn rebuild(&self, held: Position) -> Result<Arc<Head>, String> {
        let head = self.writer.at(Moment::Seq(held.seq)).await;
        let head = head.map_err(|error| error.to_string())?;
        match Position::of(&head) == held {
            true => Ok(head),
            false => Err(format!("the log has config {} there", head.config_hash)),
        }
    }

    fn seen(&self, state: &State) -> Vec<Seen> {
        self.fleet
            .connected_here()
            .into_iter()
            .map(|row| {
                let peer = peer(&row);
                let is_pinned = state.pin_of(&peer).is_some();
                Seen { peer, applied: row.applied_hash, refused: row.refused, is_pinned }
            })
            .collect()
    }

    /// Returns what a data plane is to get, and why it is not the newest head.
    pub fn assigned(&self, row: &DataPlaneRow) -> (Option<Position>, Option<Hold>) {
        let serves = serves(row);
        let (view, newest, peer) = (self.view(), self.writer.head(), peer(row));
        match view.offer(&peer, &newest, serves) {
            Some(offer) => (Some(Position::of(&offer.head)), offer.hold),
            None if view.quarantine(&peer, &newest, serves).is_some() => {
                (serves, Some(Hold::Quarantine))
            }
            None => (None, None),
        }
    }

    /// Returns what keeps a data plane from what it would get: another one crashed on it.
    pub fn quarantined(&self, row: &DataPlaneRow) -> Option<Quarantine> {
        let view = self.view();
        view.quarantine(&peer(row), &self.writer.head(), serves(row)).cloned()
    }
}

fn serves(row: &DataPlaneRow) -> Option<Position> {
    let serves = row.applied_seq.zip(row.applied_hash);
    serves.map(|(seq, config_hash)| Position { seq, config_hash })
}

/// Returns a data plane as selectors look at it.
pub fn peer(row: &DataPlaneRow) -> Peer {
    Peer { id: row.id, labels: row.labels.clone() }
}

fn itself(reason: Option<&str>) -> Who {
    let reason = reason.map(str::to_owned);
    Who { actor: "hybridctl".to_owned(), source: "control-plane", reason }
}
