//! Rules of RFC 9113 for frames, blocks and streams, one a line.

use proptest::prelude::*;

use super::*;

#[test]
fn a_client_begins_with_the_preface_and_settings() {
    assert_eq!(told(b"PRI * HTTP/2.0\r\n\r\nXM\r\n\r\n"), "away 1");
    assert_eq!(told(&[PREFACE, &get(1, "/")].concat()), "away 1");
    assert_eq!(told(&[PREFACE, &frame(kind::SETTINGS, flag::ACK, 0, &[])].concat()), "away 1");
    assert_eq!(told(&begin()), "");
}

#[test]
fn frames_have_their_lengths_and_their_places() {
    use kind::*;
    let ping = [0; 8];
    check(&[
        ("an unknown type", &[frame(0x16, 0xff, 9, b"x"), get(1, "/")], "1 200 end"),
        ("a ping", &[frame(PING, 0, 0, &ping)], "ping 1"),
        ("an answer to a ping", &[frame(PING, flag::ACK, 0, &ping)], ""),
        ("a ping of a stream", &[frame(PING, 0, 1, &ping)], "away 1"),
        ("a short ping", &[frame(PING, 0, 0, &ping[1..])], "away 6"),
        ("settings of a stream", &[frame(SETTINGS, 0, 1, &[])], "away 1"),
        ("half a setting", &[frame(SETTINGS, 0, 0, &[0; 5])], "away 6"),
        ("an acknowledgement with settings", &[frame(SETTINGS, 1, 0, &[0; 6])], "away 6"),
        ("push is yes or no", &[frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])], "away 1"),
        ("a window too large", &[frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])], "away 3"),
        ("frames too short", &[frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff])], "away 1"),
        ("frames too long", &[frame(SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0])], "away 1"),
        ("an unknown setting", &[frame(SETTINGS, 0, 0, &[0, 99, 1, 0, 0, 0])], ""),
        ("data of no stream", &[frame(DATA, 0, 0, b"x")], "away 1"),
        ("headers of no stream", &[frame(HEADERS, END, 0, &request("GET", "/"))], "away 1"),
        ("headers of our stream", &[get(2, "/")], "away 1"),
        ("a promise", &[frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])], "away 1"),
        ("a reset of no stream", &[frame(RST_STREAM, 0, 0, &[0; 4])], "away 1"),
        ("a short reset", &[post(1, "/wait"), frame(RST_STREAM, 0, 1, &[0; 3])], "away 6"),
        ("a priority of no stream", &[frame(PRIORITY, 0, 0, &[0; 5])], "away 1"),
        ("a short priority", &[frame(PRIORITY, 0, 1, &[0; 4])], "away 6"),
        ("a priority", &[frame(PRIORITY, 0, 1, &[0; 5]), get(1, "/")], "1 200 end"),
        ("a farewell of a stream", &[frame(GOAWAY, 0, 1, &[0; 8])], "away 1"),
        ("a short farewell", &[frame(GOAWAY, 0, 0, &[0; 7])], "away 6"),
        ("a frame too long", &[frame(PING, 0, 0, &[0; 16385])], "away 6"),
        ("a window that grows by nothing", &[frame(WINDOW_UPDATE, 0, 0, &[0; 4])], "away 1"),
        ("a short window", &[frame(WINDOW_UPDATE, 0, 0, &[0; 3])], "away 6"),
        (
            "a window that overflows",
            &[frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255])],
            "away 3",
        ),
        (
            "the same of a stream",
            &[post(1, "/wait"), frame(WINDOW_UPDATE, 0, 1, &[0; 4])],
            "1 reset 1",
        ),
        (
            "a stream's window that overflows",
            &[post(1, "/wait"), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255])],
            "1 reset 3",
        ),
        (
            "windows that overflow together",
            &[
                get(1, "/wait"),
                frame(WINDOW_UPDATE, 0, 1, &[0x7f, 255, 0, 0]),
                frame(SETTINGS, 0, 0, &[0, 4, 0, 2, 0, 0]),
            ],
            "away 3",
        ),
    ]);
}

#[test]
fn header_blocks_are_whole_and_in_the_coding() {
    use kind::*;
    let whole = request("GET", "/");
    let (one, two) = whole.split_at(9);
    let part = || frame(HEADERS, flag::END_STREAM, 1, one);
    let padded = [&[2][..], &whole, &[0, 0]].concat();
    let prioritised = [&[0, 0, 0, 0, 1][..], &whole].concat();
    let both = [&[1, 0x80, 0, 0, 0, 1][..], &whole, &[0]].concat();
    check(&[
        ("in two", &[part(), frame(CONTINUATION, 4, 1, two)], "1 200 end"),
        (
            "with an empty one",
            &[part(), frame(CONTINUATION, 0, 1, &[]), frame(CONTINUATION, 4, 1, two)],
            "1 200 end",
        ),
        ("padded", &[frame(HEADERS, END | flag::PADDED, 1, &padded)], "1 200 end"),
        ("with a priority", &[frame(HEADERS, END | flag::PRIORITY, 1, &prioritised)], "1 200 end"),
        (
            "with both",
            &[frame(HEADERS, END | flag::PADDED | flag::PRIORITY, 1, &both)],
            "1 200 end",
        ),
        ("more padding than frame", &[frame(HEADERS, END | flag::PADDED, 1, &[9, 0x82])], "away 1"),
        ("no room for padding", &[frame(HEADERS, END | flag::PADDED, 1, &[])], "away 1"),
        ("no room for a priority", &[frame(HEADERS, END | flag::PRIORITY, 1, &[0; 4])], "away 6"),
        ("something between", &[part(), frame(PRIORITY, 0, 1, &[0; 5])], "away 1"),
        ("data between", &[part(), frame(DATA, 0, 1, b"x")], "away 1"),
        ("an unknown frame between", &[part(), frame(0x20, 0, 1, &[])], "away 1"),
        ("another stream between", &[part(), get(3, "/")], "away 1"),
        ("the rest of another", &[part(), frame(CONTINUATION, 4, 3, two)], "away 1"),
        ("a rest of nothing", &[frame(CONTINUATION, 4, 1, two)], "away 1"),
        ("a rest too much", &[get(1, "/wait"), frame(CONTINUATION, 4, 1, two)], "away 1"),
        ("no coding", &[frame(HEADERS, END, 1, &[0x80])], "away 9"),
        ("no coding in trailers", &[post(1, "/"), frame(HEADERS, END, 1, &[0x80])], "away 9"),
        ("a rest without end", &[part(), frame(CONTINUATION, 0, 1, &[]).repeat(40)], "away 11"),
        (
            "a block too long",
            &[part(), frame(CONTINUATION, 0, 1, &[0; 16384]).repeat(3)],
            "away 11",
        ),
    ]);
}

#[test]
fn streams_are_opened_in_order_and_end_once() {
    use kind::*;
    let reset = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    let data = |flags| frame(DATA, flags, 1, b"x");
    let end = || frame(HEADERS, END, 1, &field("a", "b"));
    check(&[
        ("data of an idle one", &[frame(DATA, 0, 1, b"x")], "away 1"),
        ("a reset of an idle one", &[reset(1)], "away 1"),
        ("a window of an idle one", &[frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])], "away 1"),
        ("a window of ours", &[frame(WINDOW_UPDATE, 0, 2, &[0, 0, 0, 1])], "away 1"),
        ("backwards", &[get(5, "/wait"), get(3, "/")], "away 1"),
        ("one again", &[get(1, "/"), get(1, "/")], "1 200 end, away 5"),
        ("data behind the end", &[get(1, "/wait"), data(0)], "1 reset 5"),
        ("headers behind the end", &[get(1, "/wait"), end()], "1 reset 5"),
        ("data behind a reset", &[post(1, "/wait"), reset(1), data(0)], "1 reset 5"),
        ("headers behind a reset", &[post(1, "/wait"), reset(1), end()], "away 5"),
        ("a reset behind a reset", &[post(1, "/wait"), reset(1), reset(1)], ""),
        (
            "a window behind a reset",
            &[post(1, "/wait"), reset(1), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 0])],
            "",
        ),
        (
            "trailers that are none",
            &[post(1, "/"), frame(HEADERS, OPEN, 1, &field("a", "b"))],
            "1 reset 1",
        ),
        ("a body", &[post(1, "/"), data(0), data(1)], "1 200, 1 data end"),
        ("an empty body", &[post(1, "/"), frame(DATA, 1, 1, &[])], "1 200 end"),
        (
            "a padded body",
            &[post(1, "/"), frame(DATA, 9, 1, &[2, b'x', 0, 0])],
            "1 200, 1 data end",
        ),
        ("padding alone", &[post(1, "/"), frame(DATA, 9, 1, &[2, 0, 0])], "1 200 end"),
        ("more padding than frame", &[post(1, "/wait"), frame(DATA, 9, 1, &[2, 0])], "away 1"),
        ("no room for padding", &[post(1, "/wait"), frame(DATA, 9, 1, &[])], "away 6"),
        ("an answer before the end", &[post(1, "/early"), data(0)], "1 200 end, 1 reset 0"),
    ]);
    // What is on its way when we end a stream is no fault.
    let mut dialogue = Dialogue::new(ServeLimits::default(), handler).unwrap();
    let mut listener = Listener::default();
    let first = dialogue.say(&[begin(), post(1, "/early")].concat());
    assert_eq!(listener.tell(&first), "1 200 end, 1 reset 0");
    for late in [data(0), data(1), end(), reset(1)] {
        assert_eq!(listener.tell(&dialogue.say(&late)), "");
    }
    assert_eq!(listener.tell(&dialogue.say(&get(3, "/"))), "3 200 end");
    assert_eq!(dialogue.streams(), 0);
}

/// A frame as a client may send it, or nearly so.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![4 => (0_u32..4).prop_map(|number| 2 * number + 1), 1 => 0_u32..4];
    let payload = prop_oneof![
        Just(request("GET", "/large")),
        Just(request("POST", "/")),
        Just([request("POST", "/"), field("expect", "100-continue")].concat()),
        Just([request("POST", "/"), field("content-length", "8")].concat()),
        Just(field("grpc-status", "0")),
        (0_u8..7, any::<u32>())
            .prop_map(|(name, value)| { [&[0, name][..], &value.to_be_bytes()].concat() }),
        proptest::collection::vec(any::<u8>(), 0..12),
    ];
    let flags = prop_oneof![Just(END), Just(OPEN), Just(1), any::<u8>()];
    (0_u8..11, flags, stream, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload))
}

proptest! {
    /// Whatever comes, in whatever pieces: nothing panics, and what is said is whole frames.
    #[test]
    fn frames_in_any_order_are_answered_with_frames(
        frames in proptest::collection::vec(any_frame(), 0..24),
        cut in 0_usize..200,
    ) {
        let mut dialogue = Dialogue::new(ServeLimits::default(), handler).unwrap();
        let mut listener = Listener::default();
        listener.read(&dialogue.say(&begin()));
        for frame in frames {
            let (one, two) = frame.split_at(cut.min(frame.len()));
            for piece in [one, two] {
                listener.read(&dialogue.say(piece));
                prop_assert!(listener.said.is_empty());
            }
            if dialogue.has_failed() {
                prop_assert_eq!(dialogue.streams(), 0);
                break;
            }
        }
    }
}
