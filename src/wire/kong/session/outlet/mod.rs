//! The control plane's side of one session: when its data plane gets a configuration or a pong,
//! and when it is given up.
//!
//! Invariants:
//! - one frame is being written at a time, so that a pong never stands within a configuration;
//! - newer offers replace each other in one slot, so a slow data plane gets the newest alone;
//! - the first configuration goes out at once, changes at least `push_interval` apart.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;

use super::{CloseReason, Timing};
use crate::domain::hash::ConfigHash;
use crate::promotion::view::Offer;
use crate::wire::kong::HASH_LEN;
use crate::wire::kong::introduction::{Introduction, IntroductionError};
use crate::wire::kong::table::{ZERO_HASH, config_hash};
use crate::wire::kong::websocket::Frame;

/// What the driver has to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// The data plane told what it can run: call [`Outlet::accepted`], or end the session.
    Judge(Introduction),
    /// Send this configuration, then call [`Outlet::sent`], or [`Outlet::withheld`] if the data
    /// plane must not have it.
    Push(Offer),
    /// Send an empty pong, then call [`Outlet::sent`].
    Pong,
    /// The data plane serves this.
    Pinged {
        /// The hash, as it came.
        hash: String,
        /// What it was sent under that hash, if that is what it was sent last.
        served: Option<Offer>,
        /// How long that took; for the first ping that says so.
        lag: Option<Duration>,
    },
    /// The data plane could not serve a configuration.
    Failed(Failure),
    /// End the session.
    Close(CloseReason),
}

/// The error that a data plane reports (reference hybrid.md, section 7.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was refused, if it is what was sent last.
    pub refused: Option<(ConfigHash, u64)>,
    /// What went wrong.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Unknown,
    Judged,
    Accepted,
}

/// What is being written, and since when.
#[derive(Debug)]
struct Writing {
    since: Instant,
    offer: Option<Offer>,
}

/// What was sent last and has yet to be pinged, and when it is sent again.
#[derive(Debug)]
struct Pushed {
    offer: Offer,
    /// When it began to be written, and when it was.
    began_at: Instant,
    at: Instant,
    /// Whether a ping said that it is served.
    is_served: bool,
    /// How often it was sent before.
    repeats: u32,
}

/// One session.
#[derive(Debug)]
pub struct Outlet {
    timing: Timing,
    stage: Stage,
    began_at: Instant,
    pinged_at: Instant,
    /// What the data plane is to get; nothing before that is known.
    newest: Option<Offer>,
    /// Whether that has yet to be sent: the one slot.
    waiting: bool,
    /// What was tried last, sent or withheld.
    tried: Option<ConfigHash>,
    /// When the next change may be sent; any time before the first.
    next_at: Option<Instant>,
    writing: Option<Writing>,
    pongs_due: u32,
    pushed: Option<Pushed>,
    /// What the data plane said that it cannot serve.
    refused: Option<ConfigHash>,
}

impl Outlet {
    /// Begins a session with nothing in its slot.
    pub fn new(timing: Timing, now: Instant) -> Self {
        Self {
            timing,
            stage: Stage::Unknown,
            began_at: now,
            pinged_at: now,
            newest: None,
            waiting: false,
            tried: None,
            next_at: None,
            writing: None,
            pongs_due: 0,
            pushed: None,
            refused: None,
        }
    }

    /// The data plane is to get this now.
    pub fn offer(&mut self, offer: Offer, now: Instant) -> Vec<Action> {
        let hash = Some(offer.head.config_hash);
        self.waiting = self.tried != hash && self.refused != hash;
        self.newest = Some(offer);
        self.next(now)
    }

    /// The data plane may be served.
    pub fn accepted(&mut self, now: Instant) -> Vec<Action> {
        self.stage = Stage::Accepted;
        self.pinged_at = now;
        self.next(now)
    }

    /// What was to be sent is sent.
    pub fn sent(&mut self, now: Instant) -> Vec<Action> {
        if let Some(Writing { offer: Some(offer), since: began_at }) = self.writing.take() {
            let again = self.pushed.take().filter(|pushed| {
                pushed.offer.head.config_hash == offer.head.config_hash && !pushed.is_served
            });
            let repeats = again.map_or(0, |again| again.repeats.saturating_add(1));
            self.pushed = Some(Pushed { offer, began_at, at: now, is_served: false, repeats });
        }
        self.next(now)
    }

    /// What was to be sent is nothing for this data plane.
    pub fn withheld(&mut self, now: Instant) -> Vec<Action> {
        self.writing = None;
        self.next(now)
    }

    /// A frame came.
    pub fn frame(&mut self, frame: Frame, now: Instant) -> Vec<Action> {
        match (self.stage, frame) {
            (Stage::Unknown, Frame::Binary(data)) => match Introduction::parse(&data) {
                Ok(introduction) => {
                    self.stage = Stage::Judged;
                    vec![Action::Judge(introduction)]
                }
                Err(error) => close(error.into()),
            },
            (Stage::Unknown, other) => {
                close(IntroductionError::Frame(format!("unexpected {} frame", other.name())).into())
            }
            (_, Frame::Close) => close(CloseReason::Closed),
            (_, Frame::Ping(hash)) => self.ping(&hash, now),
            (_, Frame::Binary(data)) => match self.failure(&data) {
                Some(failure) => {
                    self.refused = failure.refused.map(|(hash, _)| hash).or(self.refused);
                    vec![Action::Failed(failure)]
                }
                None => close(CloseReason::InvalidFrame("binary")),
            },
            (_, other) => close(CloseReason::InvalidFrame(other.name())),
        }
    }

    /// The connection broke; returns why the session ends if there is more to say than that.
    pub fn broken(&self, error: &dyn std::fmt::Display) -> Option<CloseReason> {
        let error = || IntroductionError::Frame(error.to_string());
        (self.stage == Stage::Unknown).then(|| error().into())
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let since = |then: Instant| now.duration_since(then);
        if self.stage == Stage::Unknown {
            let late = since(self.began_at) > self.timing.introduction_max;
            let error = || IntroductionError::Frame("timeout".to_owned());
            return if late { close(error().into()) } else { Vec::new() };
        }
        if since(self.pinged_at) > self.timing.silence_max {
            return close(CloseReason::NoPing(self.timing.silence_max.as_secs()));
        }
        if self.writing.as_ref().is_some_and(|it| since(it.since) > self.timing.lag_max) {
            return close(CloseReason::Lagging);
        }
        self.next(now)
    }

    fn ping(&mut self, hash: &Bytes, now: Instant) -> Vec<Action> {
        // Data planes before 3.6 send none while they serve nothing.
        let hash = match hash.len() {
            0 => ZERO_HASH.to_owned(),
            HASH_LEN => String::from_utf8_lossy(hash).into_owned(),
            _ => {
                let text = String::from_utf8_lossy(hash).escape_debug().to_string();
                return close(CloseReason::InvalidHash(text));
            }
        };
        self.pinged_at = now;
        self.pongs_due = self.pongs_due.saturating_add(1);
        let mut told = (None, None);
        if let Some(pushed) = &mut self.pushed {
            if config_hash(pushed.offer.head.config_hash) == hash {
                let lag = (!pushed.is_served).then(|| now.duration_since(pushed.began_at));
                pushed.is_served = true;
                self.refused = None;
                told = (Some(pushed.offer.clone()), lag);
            } else if !pushed.is_served
                && self.refused != Some(pushed.offer.head.config_hash)
                && now.duration_since(pushed.at)
                    > self.timing.pause(hash == ZERO_HASH, pushed.repeats)
            {
                self.waiting = true;
            }
        }
        let (served, lag) = told;
        let mut actions = vec![Action::Pinged { hash, served, lag }];
        actions.extend(self.next(now));
        actions
    }

    /// Reads a data plane's report of an error.
    fn failure(&self, data: &[u8]) -> Option<Failure> {
        let value: Value = serde_json::from_slice(data).ok()?;
        if value.get("type")? != "error" {
            return None;
        }
        let error = value.get("error");
        let text = |name| error?.get(name)?.as_str();
        let pushed = self.pushed.as_ref().map(|pushed| &pushed.offer);
        let pushed = pushed.filter(|pushed| {
            text("config_hash").is_none_or(|hash| hash == config_hash(pushed.head.config_hash))
        });
        let name = text("name").unwrap_or("generic or unknown error");
        let reason = text("message").map_or_else(|| name.to_owned(), |it| format!("{name}: {it}"));
        let refused = pushed.map(|offer| (offer.head.config_hash, offer.revision));
        Some(Failure { refused, reason })
    }

    /// Returns what can be sent now, if anything.
    fn next(&mut self, now: Instant) -> Vec<Action> {
        if self.stage != Stage::Accepted || self.writing.is_some() {
            return Vec::new();
        }
        if self.pongs_due > 0 {
            self.pongs_due -= 1;
            self.writing = Some(Writing { since: now, offer: None });
            return vec![Action::Pong];
        }
        let is_due = self.waiting && self.next_at.is_none_or(|at| now >= at);
        let is_new = |offer: &Offer| self.refused != Some(offer.head.config_hash);
        let Some(offer) = self.newest.clone().filter(|offer| is_due && is_new(offer)) else {
            return Vec::new();
        };
        self.waiting = false;
        // What a data plane begins with is no change.
        if self.tried.replace(offer.head.config_hash).is_some() {
            self.next_at = Some(now + self.timing.push_interval);
        }
        self.writing = Some(Writing { since: now, offer: Some(offer.clone()) });
        vec![Action::Push(offer)]
    }
}

fn close(reason: CloseReason) -> Vec<Action> {
    vec![Action::Close(reason)]
}

#[cfg(test)]
mod tests;
