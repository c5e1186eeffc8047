//! The data plane's side of one session: what to say of itself, and which configuration to put in
//! force.
//!
//! Invariants:
//! - one configuration is put in force at a time; what comes meanwhile waits in one slot, the
//!   newest alone;
//! - a hash is pinged as soon as it is served, and never before;
//! - nothing but `basic_info` and pings is sent: Kong's control planes close on anything else.

use std::time::Instant;

use bytes::Bytes;

use super::{CloseReason, Timing};
use crate::wire::kong::websocket::Frame;

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a frame.
    Send(Frame),
    /// Unpack this message and put its configuration in force; then call [`Inlet::applied`] or
    /// [`Inlet::kept`].
    Apply(Bytes),
    /// Log that a frame of this type came and is passed over.
    Unknown(&'static str),
    /// End the session.
    Close(CloseReason),
}

/// One session.
#[derive(Debug)]
pub struct Inlet {
    timing: Timing,
    /// What is served, as its control plane named it.
    hash: String,
    applying: bool,
    /// The one slot.
    next: Option<Bytes>,
    heard_at: Instant,
    pinged_at: Instant,
}

impl Inlet {
    /// Begins a session of a data plane that serves the config of this hash; returns what to do
    /// first.
    pub fn new(
        timing: Timing,
        basic_info: Bytes,
        hash: String,
        now: Instant,
    ) -> (Self, Vec<Action>) {
        let mut inlet =
            Self { timing, hash, applying: false, next: None, heard_at: now, pinged_at: now };
        let ping = inlet.ping(now);
        (inlet, vec![Action::Send(Frame::Binary(basic_info)), ping])
    }

    /// Returns the hash of what is served.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// A frame came.
    pub fn frame(&mut self, frame: Frame, now: Instant) -> Vec<Action> {
        self.heard_at = now;
        match frame {
            Frame::Binary(message) if self.applying => {
                self.next = Some(message);
                Vec::new()
            }
            Frame::Binary(message) => self.apply(message),
            Frame::Pong(_) => Vec::new(),
            Frame::Close => vec![Action::Close(CloseReason::Closed)],
            // A ping of a control plane is a sign of life, and Kong answers none either.
            Frame::Ping(_) => Vec::new(),
            other @ Frame::Text(_) => vec![Action::Unknown(other.name())],
        }
    }

    /// What was to be put in force is served, under this hash.
    pub fn applied(&mut self, hash: String, now: Instant) -> Vec<Action> {
        self.hash = hash;
        let mut actions = vec![self.ping(now)];
        actions.extend(self.kept());
        actions
    }

    /// What is served stays: the message was no new configuration, or one that is refused.
    pub fn kept(&mut self) -> Vec<Action> {
        self.applying = false;
        self.next.take().map_or_else(Vec::new, |message| self.apply(message))
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let since = |then: Instant| now.duration_since(then);
        if since(self.heard_at) > self.timing.silence_max {
            return vec![Action::Close(CloseReason::NoPong(self.timing.silence_max.as_secs()))];
        }
        match since(self.pinged_at) >= self.timing.ping_interval {
            true => vec![self.ping(now)],
            false => Vec::new(),
        }
    }

    fn apply(&mut self, message: Bytes) -> Vec<Action> {
        self.applying = true;
        vec![Action::Apply(message)]
    }

    fn ping(&mut self, now: Instant) -> Action {
        self.pinged_at = now;
        Action::Send(Frame::Ping(self.hash.clone().into_bytes().into()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::kong::table::ZERO_HASH;

    fn ping(hash: &str) -> Action {
        Action::Send(Frame::Ping(Bytes::copy_from_slice(hash.as_bytes())))
    }

    fn message(text: &'static str) -> (Frame, Action) {
        let bytes = Bytes::from_static(text.as_bytes());
        (Frame::Binary(bytes.clone()), Action::Apply(bytes))
    }

    fn inlet(now: Instant) -> Inlet {
        Inlet::new(Timing::default(), Bytes::new(), ZERO_HASH.to_owned(), now).0
    }

    #[test]
    fn it_introduces_itself_then_pings_at_once_and_every_thirty_seconds() {
        let mut now = Instant::now();
        let info = Bytes::from_static(b"{}");
        let (mut inlet, first) =
            Inlet::new(Timing::default(), info.clone(), ZERO_HASH.to_owned(), now);
        assert_eq!(first, [Action::Send(Frame::Binary(info)), ping(ZERO_HASH)]);
        let mut pings = 0;
        for _ in 0..120 {
            now += Duration::from_secs(1);
            inlet.frame(Frame::Pong(Bytes::new()), now);
            pings += inlet.tick(now).len();
        }
        assert_eq!(pings, 4);
    }

    #[test]
    fn only_the_newest_of_what_came_meanwhile_is_applied_and_pinged() {
        let now = Instant::now();
        let mut inlet = inlet(now);
        let [one, two, three] = ["1", "2", "3"].map(message);
        assert_eq!(inlet.frame(one.0, now), [one.1]);
        assert_eq!(inlet.frame(two.0, now), []);
        assert_eq!(inlet.frame(three.0, now), []);
        assert_eq!(inlet.applied("a".into(), now), [ping("a"), three.1]);
        assert_eq!(inlet.kept(), [], "what is refused is not pinged");
        assert_eq!(inlet.hash(), "a");
    }

    #[test]
    fn any_frame_is_life_and_silence_is_the_end() {
        let mut now = Instant::now();
        let mut inlet = inlet(now);
        for frame in [Frame::Ping(Bytes::new()), Frame::Pong(Bytes::new())] {
            now += Duration::from_secs(44);
            assert_eq!(inlet.frame(frame, now), [], "and no answer");
        }
        now += Duration::from_secs(45);
        assert!(!inlet.tick(now).iter().any(|it| matches!(it, Action::Close(_))));
        now += Duration::from_secs(1);
        let [Action::Close(reason)] = &inlet.tick(now)[..] else { panic!("it goes on") };
        let text = "did not receive pong frame from control plane within 45 seconds";
        assert_eq!(reason.to_string(), text);
    }

    #[test]
    fn unknown_frames_are_passed_over_and_a_close_is_the_end() {
        let now = Instant::now();
        let mut inlet = inlet(now);
        assert_eq!(inlet.frame(Frame::Text(Bytes::new()), now), [Action::Unknown("text")]);
        assert_eq!(inlet.frame(Frame::Close, now), [Action::Close(CloseReason::Closed)]);
    }
}
