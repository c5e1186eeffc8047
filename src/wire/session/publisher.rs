//! The control plane's side of one session: what to send to one data plane, and when.
//!
//! Invariants:
//! - at most one head is under way to a data plane; newer heads replace each other in one slot;
//! - a delta starts from the config that the data plane said it serves;
//! - a config that was rejected is not sent again, until another one was served;
//! - a config whose plugins a data plane cannot run is not sent; what it serves stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::CloseReason;
use super::compared::{Compared, Withheld};
use crate::domain::hash::ConfigHash;
use crate::promotion::view::Offer;
use crate::wire::frame::{FromData, Hello, PROTOCOL, Position, Rejected};
use crate::wire::kong::compat::{Line, Ours, SyncStatus, version};

/// When a peer is given up. All are settable so that tests need not wait.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How often we say that we are here.
    pub heartbeat: Duration,
    /// How long a peer may be silent.
    pub silence_max: Duration,
    /// How long a peer may take to answer a head.
    pub lag_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(15),
            silence_max: Duration::from_secs(45),
            lag_max: Duration::from_secs(300),
        }
    }
}

/// What the driver has to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send the welcome.
    Welcome,
    /// Send a head: as a delta from this config if the driver can, else by hash.
    Announce {
        /// The head.
        offer: Offer,
        /// What the data plane serves.
        from: Option<ConfigHash>,
    },
    /// Send a heartbeat.
    Heartbeat,
    /// The data plane told who it is, and whether it can be served.
    Joined(Box<Hello>, SyncStatus),
    /// Whether it can be served has changed.
    Judged(SyncStatus),
    /// A head is not sent, because the data plane cannot run it; for the fleet.
    Withheld(Withheld),
    /// Write a line about the data plane to the log.
    Say(Line),
    /// The data plane serves this, and how long the head took; none for what it had anyway.
    Applied(Option<Position>, Option<Duration>),
    /// The data plane refused a head of this revision; for the fleet.
    Rejected(Rejected, u64),
    /// The data plane refuses a config from before, which it may or may not be about to get; with the
    /// revision under which heads are announced to it.
    Refuses(Rejected, u64),
    /// The data plane would not believe a head that it is to get, because it serves a newer one of
    /// the same revision: heads have to be signed anew.
    Restate(u64),
    /// End the session.
    Close(CloseReason),
}

/// One session.
#[derive(Debug)]
pub struct Publisher {
    timing: Timing,
    epoch: u64,
    compared: Compared,
    joined: bool,
    applied: Option<Position>,
    rejected: Vec<ConfigHash>,
    /// What the data plane is to get; nothing before that is known, or while it is to stay.
    newest: Option<Offer>,
    /// Whether that has yet to be sent: the one slot.
    waiting: bool,
    /// The head that was sent and not answered, and when it was sent.
    under_way: Option<(Offer, Instant)>,
    heard_at: Instant,
    spoke_at: Instant,
}

impl Publisher {
    /// Begins a session with nothing in its slot.
    pub fn new(timing: Timing, now: Instant) -> Self {
        Self {
            timing,
            epoch: 0,
            compared: Compared::default(),
            joined: false,
            applied: None,
            rejected: Vec::new(),
            newest: None,
            waiting: false,
            under_way: None,
            heard_at: now,
            spoke_at: now,
        }
    }

    /// Returns the session as one that sends heads of this epoch.
    pub fn in_epoch(self, epoch: u64) -> Self {
        Self { epoch, ..self }
    }

    /// Returns the session as one that compares data planes with this control plane.
    pub fn comparing(self, ours: Arc<Ours>) -> Self {
        Self { compared: Compared::with(ours), ..self }
    }

    /// The data plane is to get this now.
    pub fn offer(&mut self, offer: Offer, now: Instant) -> Vec<Action> {
        self.newest = Some(offer);
        self.waiting = true;
        self.announce(now)
    }

    /// The data plane is to stay where it is.
    pub fn withdraw(&mut self) {
        self.newest = None;
    }

    /// Returns what the data plane serves, as it said last.
    pub fn applied(&self) -> Option<Position> {
        self.applied
    }

    /// A frame came.
    pub fn frame(&mut self, frame: FromData, now: Instant) -> Vec<Action> {
        self.heard_at = now;
        match (frame, self.joined) {
            (FromData::Hello(hello), false) => self.hello(hello, now),
            (FromData::Hello(_), true) => violation("a second hello"),
            (_, false) => violation("the first frame is no hello"),
            (FromData::Applied(position), true) => self.settled(Some(position), None, now),
            (FromData::Rejected(rejected), true) => self.settled(None, Some(rejected), now),
            (FromData::Heartbeat { applied }, true) => self.heartbeat(applied, now),
            (FromData::Unknown, true) => Vec::new(),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        if now.duration_since(self.heard_at) > self.timing.silence_max {
            return vec![Action::Close(CloseReason::Silent)];
        }
        if self
            .under_way
            .as_ref()
            .is_some_and(|(_, at)| now.duration_since(*at) > self.timing.lag_max)
        {
            return vec![Action::Close(CloseReason::Lagging)];
        }
        if self.joined && now.duration_since(self.spoke_at) >= self.timing.heartbeat {
            self.spoke_at = now;
            return vec![Action::Heartbeat];
        }
        Vec::new()
    }

    fn hello(&mut self, hello: Box<Hello>, now: Instant) -> Vec<Action> {
        if hello.protocol != PROTOCOL {
            let reason = CloseReason::Protocol { theirs: hello.protocol, ours: PROTOCOL };
            return vec![Action::Close(reason)];
        }
        let said = match self.compared.hello(&hello) {
            Ok(said) => said,
            Err(line) => return refusal(hello, line),
        };
        self.joined = true;
        self.applied = hello.applied;
        let rejected = hello.rejected.clone();
        let mut actions = vec![Action::Joined(hello, SyncStatus::Normal), Action::Welcome];
        actions.extend(said.into_iter().map(Action::Say));
        for rejected in rejected {
            self.rejected.push(rejected.config_hash);
            let revision = self.newest.as_ref().map_or(0, |offer| offer.revision);
            actions.push(Action::Refuses(rejected, revision));
        }
        actions.extend(self.announce(now));
        actions
    }

    fn settled(
        &mut self,
        applied: Option<Position>,
        rejected: Option<Rejected>,
        now: Instant,
    ) -> Vec<Action> {
        let answered = applied
            .map(|position| position.config_hash)
            .or_else(|| rejected.as_ref().map(|rejected| rejected.config_hash));
        let mut lag = None;
        let mut revision = 0;
        // An answer to a head of before it was replaced leaves the newer one under way.
        if let Some((offer, at)) = &self.under_way
            && answered == Some(offer.head.config_hash)
        {
            lag = Some(now.duration_since(*at));
            revision = offer.revision;
            self.under_way = None;
        }
        let mut actions = Vec::new();
        if let Some(position) = applied {
            self.applied = Some(position);
            self.rejected.clear();
            actions.push(Action::Applied(self.applied, lag));
        }
        if let Some(rejected) = rejected {
            self.rejected.push(rejected.config_hash);
            actions.push(Action::Rejected(rejected, revision));
        }
        actions.extend(self.announce(now));
        actions
    }

    /// A data plane that serves something else than we thought is brought back into line.
    fn heartbeat(&mut self, applied: Option<Position>, now: Instant) -> Vec<Action> {
        self.applied = applied;
        self.waiting = true;
        let mut actions = vec![Action::Applied(applied, None)];
        actions.extend(self.announce(now));
        actions
    }

    fn announce(&mut self, now: Instant) -> Vec<Action> {
        if !self.joined || self.under_way.is_some() || !self.waiting {
            return Vec::new();
        }
        let Some(offer) = self.newest.clone() else { return Vec::new() };
        self.waiting = false;
        let (may, mut actions) = self.compared.judge(&offer);
        if !may {
            return actions;
        }
        let (seq, config_hash) = (offer.head.seq, offer.head.config_hash);
        let (epoch, revision) = (self.epoch, offer.revision);
        let served = Position { epoch, seq, config_hash, revision };
        if self.applied == Some(served) || self.rejected.contains(&config_hash) {
            return actions;
        }
        let is_behind = |applied: Position| {
            (applied.epoch, applied.revision) == (served.epoch, served.revision)
                && (applied.seq > seq || (applied.seq == seq && applied.config_hash != config_hash))
        };
        // A newest head that is behind is this control plane's: it has yet to hear of the newer one.
        if offer.hold.is_some() && self.applied.is_some_and(is_behind) {
            actions.push(Action::Restate(offer.revision));
            return actions;
        }
        self.under_way = Some((offer.clone(), now));
        self.spoke_at = now;
        let from = self.applied.map(|position| position.config_hash);
        actions.push(Action::Announce { offer, from });
        actions
    }
}

/// Closes the session of a data plane that cannot be served; its row says why, if it may have one.
fn refusal(hello: Box<Hello>, line: Line) -> Vec<Action> {
    let reason = CloseReason::Incompatible(line.text.clone());
    let row = version::is_recordable(&hello.version)
        .then_some(Action::Joined(hello, SyncStatus::KongVersionIncompatible));
    row.into_iter().chain([Action::Say(line), Action::Close(reason)]).collect()
}

fn violation(what: &str) -> Vec<Action> {
    vec![Action::Close(CloseReason::Violation(what.to_owned()))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Seq;
    use crate::promotion::state::Hold;
    use crate::writer::Head;
    use std::sync::Arc;
    use uuid::Uuid;

    fn head(seq: u64) -> Offer {
        let config_hash = ConfigHash([seq as u8; 32]);
        let head = Arc::new(Head { seq: Seq(seq), config_hash, ..Head::empty() });
        Offer { revision: 0, head, hold: None }
    }

    fn position(seq: u64) -> Position {
        Position { epoch: 0, seq: Seq(seq), config_hash: ConfigHash([seq as u8; 32]), revision: 0 }
    }

    fn hello(applied: Option<Position>) -> FromData {
        FromData::Hello(Box::new(Hello {
            protocol: PROTOCOL,
            node_id: Uuid::nil(),
            hostname: String::new(),
            version: String::new(),
            program_version: String::new(),
            labels: Default::default(),
            plugins: Default::default(),
            applied,
            rejected: Vec::new(),
        }))
    }

    fn announced(actions: &[Action]) -> Option<u64> {
        actions.iter().find_map(|action| match action {
            Action::Announce { offer, .. } => Some(offer.head.seq.0),
            _ => None,
        })
    }

    fn joined(applied: Option<Position>, now: Instant) -> (Publisher, Option<u64>) {
        let mut publisher = Publisher::new(Timing::default(), now);
        assert_eq!(announced(&publisher.offer(head(1), now)), None, "before the hello");
        let actions = publisher.frame(hello(applied), now);
        (publisher, announced(&actions))
    }

    #[test]
    fn a_data_plane_that_is_current_is_sent_nothing() {
        let now = Instant::now();
        assert_eq!(joined(None, now).1, Some(1));
        assert_eq!(joined(Some(position(1)), now).1, None);
    }

    #[test]
    fn a_data_plane_of_an_earlier_epoch_is_told_of_the_new_one() {
        let now = Instant::now();
        let mut publisher = Publisher::new(Timing::default(), now).in_epoch(1);
        publisher.offer(head(1), now);
        assert_eq!(announced(&publisher.frame(hello(Some(position(1))), now)), Some(1));
        let position = Position { epoch: 1, ..position(1) };
        assert_eq!(announced(&publisher.frame(FromData::Applied(position), now)), None);
        let heartbeat = FromData::Heartbeat { applied: Some(position) };
        assert_eq!(announced(&publisher.frame(heartbeat, now)), None);
    }

    #[test]
    fn newer_heads_replace_each_other_while_one_is_under_way() {
        let now = Instant::now();
        let (mut publisher, _) = joined(None, now);
        assert_eq!(announced(&publisher.offer(head(2), now)), None);
        assert_eq!(announced(&publisher.offer(head(3), now)), None);
        assert_eq!(announced(&publisher.frame(FromData::Applied(position(1)), now)), Some(3));
    }

    #[test]
    fn a_rejected_head_is_not_sent_again_but_the_next_one_is() {
        let now = Instant::now();
        let (mut publisher, _) = joined(None, now);
        let rejected = FromData::Rejected(Rejected {
            config_hash: head(1).head.config_hash,
            phase: "compile".into(),
            entity: None,
            pointer: None,
            reason: String::new(),
        });
        assert_eq!(announced(&publisher.frame(rejected, now)), None);
        let heartbeat = FromData::Heartbeat { applied: None };
        assert_eq!(announced(&publisher.frame(heartbeat, now)), None);
        assert_eq!(announced(&publisher.offer(head(2), now)), Some(2));
    }

    #[test]
    fn what_a_data_plane_refuses_from_before_is_not_sent() {
        let now = Instant::now();
        let mut publisher = Publisher::new(Timing::default(), now);
        publisher.offer(head(2), now);
        let FromData::Hello(mut hello) = hello(Some(position(1))) else { panic!("a hello") };
        hello.rejected = vec![Rejected {
            config_hash: head(2).head.config_hash,
            phase: "crash".into(),
            entity: None,
            pointer: None,
            reason: String::new(),
        }];
        let actions = publisher.frame(FromData::Hello(hello), now);
        assert_eq!(announced(&actions), None);
        assert!(matches!(&actions[..], [.., Action::Refuses(it, 0)] if it.phase == "crash"));
        assert_eq!(announced(&publisher.offer(head(3), now)), Some(3));
    }

    #[test]
    fn nothing_is_sent_to_a_data_plane_that_is_to_stay() {
        let now = Instant::now();
        let (mut publisher, _) = joined(Some(position(1)), now);
        publisher.withdraw();
        let heartbeat = FromData::Heartbeat { applied: Some(position(9)) };
        assert_eq!(announced(&publisher.frame(heartbeat, now)), None);
        assert_eq!(announced(&publisher.offer(head(2), now)), Some(2));
    }

    #[test]
    fn a_heartbeat_that_tells_of_another_config_is_corrected() {
        let now = Instant::now();
        let (mut publisher, _) = joined(Some(position(1)), now);
        let heartbeat = |p| FromData::Heartbeat { applied: Some(p) };
        assert_eq!(announced(&publisher.frame(heartbeat(position(1)), now)), None);
        assert_eq!(announced(&publisher.frame(heartbeat(position(9)), now)), Some(1));
    }

    #[test]
    fn a_data_plane_goes_back_only_under_a_new_revision() {
        let now = Instant::now();
        let held = |revision| Offer { revision, hold: Some(Hold::Freeze), ..head(5) };
        let mut publisher = Publisher::new(Timing::default(), now);
        publisher.offer(held(0), now);
        let actions = publisher.frame(hello(Some(position(9))), now);
        assert!(matches!(actions.last(), Some(Action::Restate(0))), "{actions:?}");
        assert_eq!(announced(&publisher.offer(held(1), now)), Some(5));
    }

    #[test]
    fn silence_and_lag_end_a_session() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let closes = |actions: Vec<Action>| match actions.first() {
            Some(Action::Close(reason)) => Some(reason.clone()),
            _ => None,
        };
        let (mut publisher, _) = joined(None, now);
        assert!(matches!(publisher.tick(later(16))[..], [Action::Heartbeat]));
        assert_eq!(closes(publisher.tick(later(46))), Some(CloseReason::Silent));
        publisher.frame(FromData::Unknown, later(299));
        assert_eq!(closes(publisher.tick(later(301))), Some(CloseReason::Lagging));
        let mut early = Publisher::new(Timing::default(), now);
        let reason = closes(early.frame(FromData::Unknown, now));
        assert!(matches!(reason, Some(CloseReason::Violation(_))));
    }
}
