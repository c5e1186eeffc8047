//! One outlet against data planes of every kind.

use std::sync::Arc;

use super::*;
use crate::domain::event::Seq;
use crate::writer::Head;

const HELLO: &[u8] = br#"{"type":"basic_info","plugins":[]}"#;

fn offer(seq: u64) -> Offer {
    let config_hash = ConfigHash([seq as u8; 32]);
    let head = Arc::new(Head { seq: Seq(seq), config_hash, ..Head::empty() });
    Offer { revision: 0, head, hold: None }
}

fn hash(seq: u64) -> String {
    config_hash(offer(seq).head.config_hash)
}

fn ping(hash: &str) -> Frame {
    Frame::Ping(Bytes::copy_from_slice(hash.as_bytes()))
}

/// What is to be done, in a word each.
fn words(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Judge(_) => "judge".to_owned(),
        Action::Push(offer) => format!("push {}", offer.head.seq.0),
        Action::Pong => "pong".to_owned(),
        Action::Pinged { served: Some(offer), lag, .. } => {
            format!("serves {}{}", offer.head.seq.0, if lag.is_some() { " now" } else { "" })
        }
        Action::Pinged { hash, served: None, .. } => {
            format!("pinged {}", hash.chars().take(2).collect::<String>())
        }
        Action::Failed(failure) => format!("failed: {}", failure.reason),
        Action::Close(reason) => format!("close: {reason}"),
    };
    actions.iter().map(word).collect()
}

/// Returns a session whose data plane was accepted and is being sent the first config.
fn accepted(now: Instant) -> Outlet {
    let mut outlet = Outlet::new(Timing::default(), now);
    assert!(outlet.offer(offer(1), now).is_empty(), "nothing before the introduction");
    assert_eq!(words(&outlet.frame(Frame::Binary(HELLO.into()), now)), ["judge"]);
    assert!(outlet.offer(offer(1), now).is_empty(), "nothing before the judgement");
    assert_eq!(words(&outlet.accepted(now)), ["push 1"]);
    outlet
}

#[test]
fn first_frames_that_are_no_introduction_end_the_session() {
    let now = Instant::now();
    let empty = Bytes::new();
    for (frame, text) in [
        (Frame::Text(empty.clone()), "basic info frame: unexpected text frame"),
        (Frame::Ping(empty.clone()), "basic info frame: unexpected ping frame"),
        (Frame::Pong(empty.clone()), "basic info frame: unexpected pong frame"),
        (Frame::Close, "basic info frame: unexpected close frame"),
        (Frame::Binary(empty), "basic info data"),
    ] {
        let actions = Outlet::new(Timing::default(), now).frame(frame, now);
        assert_eq!(words(&actions), [format!("close: failed to receive websocket {text}")]);
    }
    let mut outlet = Outlet::new(Timing::default(), now);
    assert!(outlet.tick(now + Duration::from_secs(5)).is_empty());
    let late = outlet.tick(now + Duration::from_millis(5001));
    assert_eq!(words(&late), ["close: failed to receive websocket basic info frame: timeout"]);
}

#[test]
fn a_pong_waits_for_the_end_of_a_configuration_and_there_is_one_a_ping() {
    let now = Instant::now();
    let mut outlet = accepted(now);
    assert_eq!(words(&outlet.frame(ping(ZERO_HASH), now)), ["pinged 00"]);
    assert_eq!(words(&outlet.frame(ping(""), now)), ["pinged 00"], "an old data plane's");
    assert_eq!(words(&outlet.sent(now)), ["pong"]);
    assert_eq!(words(&outlet.sent(now)), ["pong"]);
    assert!(outlet.sent(now).is_empty());
    assert_eq!(words(&outlet.frame(ping(&hash(1)), now)), ["serves 1 now", "pong"]);
    outlet.sent(now);
    assert_eq!(words(&outlet.frame(ping(&hash(1)), now)), ["serves 1", "pong"]);
}

#[test]
fn a_slow_data_plane_gets_the_newest_only() {
    let now = Instant::now();
    let mut outlet = accepted(now);
    for seq in 2..10 {
        assert!(outlet.offer(offer(seq), now).is_empty(), "one is under way");
    }
    assert_eq!(words(&outlet.sent(now)), ["push 9"]);
    assert!(outlet.sent(now).is_empty(), "and nothing waits");
}

#[test]
fn the_first_change_goes_out_at_once_and_the_next_four_together() {
    let mut now = Instant::now();
    let mut outlet = accepted(now);
    outlet.sent(now);
    assert_eq!(words(&outlet.offer(offer(2), now)), ["push 2"]);
    outlet.sent(now);
    for seq in 3..7 {
        now += Duration::from_secs(1);
        assert!(outlet.offer(offer(seq), now).is_empty());
        assert!(outlet.tick(now).is_empty());
    }
    now += Duration::from_secs(1);
    assert_eq!(words(&outlet.tick(now)), ["push 6"]);
}

#[test]
fn an_offer_of_what_was_sent_sends_nothing() {
    let now = Instant::now();
    let mut outlet = accepted(now);
    outlet.sent(now);
    assert!(outlet.offer(offer(1), now).is_empty());
    assert_eq!(words(&outlet.offer(offer(2), now)), ["push 2"]);
    assert!(outlet.withheld(now).is_empty());
    assert!(outlet.offer(offer(2), now).is_empty(), "nor what was withheld");
}

#[test]
fn what_a_data_plane_does_not_take_is_sent_ever_more_seldom() {
    // One that serves nothing is in greater need.
    let older = hash(9);
    for (serves, pinged, wanted) in [
        (older.as_str(), "pinged 09", vec![90, 240, 510, 1020]),
        (ZERO_HASH, "pinged 00", vec![30, 90, 180, 360, 690]),
    ] {
        let mut now = Instant::now();
        let mut outlet = accepted(now);
        outlet.sent(now);
        let (start, mut at) = (now, Vec::new());
        for _ in 0..40 {
            now += Duration::from_secs(30);
            assert_eq!(words(&outlet.frame(ping(serves), now)), [pinged, "pong"]);
            if words(&outlet.sent(now)) == ["push 1"] {
                at.push(now.duration_since(start).as_secs());
                outlet.sent(now);
            }
        }
        assert_eq!(at, wanted);
        outlet.frame(ping(&hash(1)), now);
        outlet.sent(now);
        outlet.frame(ping(serves), now + Duration::from_secs(30));
        assert!(outlet.sent(now).is_empty(), "what was served once is its own affair");
    }
}

#[test]
fn a_report_of_an_error_is_taken_and_the_configuration_not_sent_again() {
    let mut now = Instant::now();
    let mut outlet = accepted(now);
    outlet.sent(now);
    let report = format!(
        r#"{{"type":"error","error":{{"name":"n","message":"m","config_hash":"{}"}}}}"#,
        hash(1)
    );
    let actions = outlet.frame(Frame::Binary(report.clone().into()), now);
    let [Action::Failed(failure)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(failure.refused, Some((ConfigHash([1; 32]), 0)));
    assert_eq!(failure.reason, "n: m");
    for _ in 0..10 {
        now += Duration::from_secs(30);
        outlet.frame(ping(ZERO_HASH), now);
        assert!(outlet.sent(now).is_empty());
    }
    assert_eq!(words(&outlet.offer(offer(2), now)), ["push 2"]);
    outlet.sent(now);
    let actions = outlet.frame(Frame::Binary(report.into()), now);
    let [Action::Failed(failure)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(failure.refused, None, "it is of another configuration");
}

#[test]
fn whoever_does_not_ping_or_not_read_is_given_up() {
    let now = Instant::now();
    let mut outlet = accepted(now);
    assert!(outlet.tick(now + Duration::from_secs(45)).is_empty());
    let late = words(&outlet.tick(now + Duration::from_millis(45_001)));
    assert_eq!(late, ["close: did not receive ping frame from data plane within 45 seconds"]);

    let mut outlet = accepted(now);
    let mut later = now;
    for _ in 0..10 {
        later += Duration::from_secs(30);
        assert_eq!(words(&outlet.frame(ping(ZERO_HASH), later)), ["pinged 00"]);
        assert!(outlet.tick(later).is_empty());
    }
    let late = outlet.tick(later + Duration::from_secs(1));
    assert_eq!(words(&late), ["close: data plane does not read what it is sent"]);
}

#[test]
fn nonsense_ends_the_session_in_kongs_words() {
    let now = Instant::now();
    let invalid = "close: invalid websocket frame received from data plane: ";
    let bad_hash = "close: received a ping frame from the data plane with an invalid hash: ";
    for (frame, text) in [
        (Frame::Close, "close: closed".to_owned()),
        (Frame::Text(Bytes::new()), format!("{invalid}text")),
        (Frame::Pong(Bytes::new()), format!("{invalid}pong")),
        (Frame::Binary(Bytes::new()), format!("{invalid}binary")),
        (Frame::Binary(HELLO.into()), format!("{invalid}binary")),
        (ping(&"a".repeat(31)), format!("{bad_hash}'{}'", "a".repeat(31))),
        (ping(&"a".repeat(33)), format!("{bad_hash}'{}'", "a".repeat(33))),
    ] {
        assert_eq!(words(&accepted(now).frame(frame, now)), [text]);
    }
    let any = Frame::Ping(Bytes::from_static(&[0xff; 32]));
    assert_eq!(words(&accepted(now).frame(any, now)).len(), 1, "any 32 bytes are a hash");
}

#[test]
fn a_report_that_comes_while_the_configuration_waits_to_be_repeated_stops_it() {
    let mut now = Instant::now();
    let mut outlet = accepted(now);
    outlet.sent(now);
    now += Duration::from_secs(61);
    assert_eq!(words(&outlet.frame(ping(ZERO_HASH), now)), ["pinged 00", "pong"]);
    let report = format!(
        r#"{{"type":"error","error":{{"name":"n","message":"m","config_hash":"{}"}}}}"#,
        hash(1)
    );
    let report = outlet.frame(Frame::Binary(report.into()), now);
    assert_eq!(words(&report), ["failed: n: m"]);
    assert!(outlet.sent(now).is_empty(), "it was refused");
}
