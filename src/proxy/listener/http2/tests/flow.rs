//! Windows in both directions, and what floods end in.

use proptest::prelude::*;

use super::*;

const CALM: &str = "away 11";

fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

fn initial_window(size: u32) -> Vec<u8> {
    let setting = [&[0, 4][..], &size.to_be_bytes()].concat();
    frame(kind::SETTINGS, 0, 0, &setting)
}

/// How long the bodies are that were sent, and which streams ended.
fn received(frames: &[(Head, Vec<u8>)]) -> (usize, usize) {
    let bodies = frames.iter().filter(|(head, _)| head.kind == kind::DATA);
    let ends = bodies.clone().filter(|(head, _)| head.has(flag::END_STREAM)).count();
    (bodies.map(|(head, _)| head.length).sum(), ends)
}

#[test]
fn answers_wait_for_windows_and_go_on() {
    let mut dialogue = Dialogue::new(ServeLimits::default(), handler).unwrap();
    let mut listener = Listener::default();
    let mut sent = |bytes: &[u8]| received(&listener.read(&dialogue.say(bytes)));
    assert_eq!(sent(&[begin(), initial_window(0), get(1, "/large")].concat()), (0, 0));
    assert_eq!(sent(&window(1, 1)), (1, 0));
    assert_eq!(sent(&initial_window(10)), (10, 0));
    // The window may be less than nothing.
    assert_eq!(sent(&initial_window(0)), (0, 0));
    assert_eq!(sent(&window(1, 10)), (0, 0));
    assert_eq!(sent(&window(1, 5)), (5, 0));
    assert_eq!(sent(&window(1, 1 << 30)), (65_535 - 16, 0));
    assert_eq!(sent(&window(0, 1000)), (1000, 0));
    assert_eq!(sent(&window(0, 1 << 30)), (LARGE - 65_535 - 1000, 1));
}

#[test]
fn streams_take_turns() {
    let mut dialogue = Dialogue::new(ServeLimits::default(), handler).unwrap();
    let wide = [begin(), initial_window(1 << 30), window(0, 1 << 30)].concat();
    let said = dialogue.say(&[wide, get(1, "/large"), get(3, "/large")].concat());
    let frames = Listener::default().read(&said);
    let order: Vec<u32> = frames
        .iter()
        .filter(|(head, _)| head.kind == kind::DATA)
        .map(|(head, _)| head.stream)
        .collect();
    assert_eq!(order[..6], [1, 3, 1, 3, 1, 3]);
}

#[test]
fn bodies_end_at_their_windows_and_windows_grow_with_reading() {
    let mut dialogue = Dialogue::new(ServeLimits::default(), handler).unwrap();
    let mut listener = Listener::default();
    dialogue.say(&[begin(), post(1, "/wait")].concat());
    let piece = frame(kind::DATA, 0, 1, &[0; 16 << 10]);
    for _ in 0..16 {
        assert_eq!(listener.tell(&dialogue.say(&piece)), "");
    }
    assert_eq!(listener.tell(&dialogue.say(&piece)), "1 reset 3");

    // Whoever reads gets more than any window, and what nobody reads is no loss to others.
    let piece = |stream| frame(kind::DATA, 0, stream, &[0; 16 << 10]);
    dialogue.say(&post(3, "/"));
    let mut grown = 0;
    for _ in 0..200 {
        for (head, payload) in listener.read(&dialogue.say(&piece(3))) {
            assert_eq!(head.kind, kind::WINDOW_UPDATE);
            if head.stream == 3 {
                grown += frame::number(&payload).unwrap();
            }
        }
    }
    assert!((200 * (16 << 10) - (128 << 10)..=200 * (16 << 10)).contains(&grown), "{grown}");
    assert!(!dialogue.has_failed());
}

#[test]
fn a_connection_has_a_window_for_all_bodies() {
    let mut dialogue = Dialogue::new(ServeLimits::default(), handler).unwrap();
    let mut listener = Listener::default();
    dialogue.say(&begin());
    let mut told = String::new();
    for stream in (0..5).map(|number| 2 * number + 1) {
        dialogue.say(&post(stream, "/wait"));
        for _ in 0..15 {
            let piece = frame(kind::DATA, 0, stream, &[0; 16 << 10]);
            told += &listener.tell(&dialogue.say(&piece));
        }
    }
    assert_eq!(told, "away 3");
}

#[test]
fn floods_end_the_connection() {
    let empty = frame(kind::DATA, 0, 1, &[]);
    let gave_up = |stream| [get(stream, "/wait"), frame(kind::RST_STREAM, 0, stream, &[0; 4])];
    let broken = |stream| frame(kind::HEADERS, END, stream, &block("x=y"));
    let odd = |count: u32| (0..count).map(|number| 2 * number + 1);
    let cases: [(&str, Vec<u8>); 7] = [
        ("pings", frame(kind::PING, 0, 0, &[0; 8]).repeat(11_000)),
        ("settings", frame(kind::SETTINGS, 0, 0, &[]).repeat(11_000)),
        ("priorities", frame(kind::PRIORITY, 0, 1, &[0; 5]).repeat(11_000)),
        ("windows", window(0, 1).repeat(11_000)),
        ("empty data", [post(1, "/wait"), empty.repeat(11_000)].concat()),
        ("given up", odd(300).flat_map(gave_up).flatten().collect()),
        ("malformed", odd(150).flat_map(broken).collect()),
    ];
    for (flood, bytes) in cases {
        let told = told(&[begin(), bytes].concat());
        assert!(told.ends_with(CALM), "{flood}: {}", &told[told.len().saturating_sub(100)..]);
    }
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let limits = ServeLimits { h2_streams_max: 2, ..ServeLimits::default() };
    let mut dialogue = Dialogue::new(limits, handler).unwrap();
    let mut listener = Listener::default();
    let three = [begin(), get(1, "/wait"), get(3, "/wait"), get(5, "/")].concat();
    assert_eq!(listener.tell(&dialogue.say(&three)), "5 reset 7");
    let next = [frame(kind::RST_STREAM, 0, 1, &[0; 4]), get(7, "/")].concat();
    assert_eq!(listener.tell(&dialogue.say(&next)), "7 200 end");
}

/// What a client may do between two answers.
#[derive(Clone, Debug)]
enum Step {
    Ask,
    Grow(usize, u32),
    GrowAll(u32),
    Initial(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Ask),
        (0_usize..4, 1_u32..70_000).prop_map(|(which, more)| Step::Grow(which, more)),
        (1_u32..200_000).prop_map(Step::GrowAll),
        (0_u32..300_000).prop_map(Step::Initial),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nobody gets more than its windows, and everybody gets all once they are wide.
    #[test]
    fn windows_bound_answers_and_lose_nothing(steps in proptest::collection::vec(step(), 1..30)) {
        let mut dialogue = Dialogue::new(ServeLimits::default(), handler).unwrap();
        let mut listener = Listener::default();
        let (mut initial, mut all) = (65_535_i64, 65_535_i64);
        let mut streams: Vec<(i64, usize)> = Vec::new();
        dialogue.say(&begin());
        let wide = [Step::Initial(1 << 24), Step::GrowAll(1 << 24)];
        for step in steps.into_iter().chain(wide) {
            let bytes = match step {
                Step::Ask => {
                    streams.push((initial, 0));
                    get(2 * streams.len() as u32 - 1, "/large")
                }
                Step::Grow(which, more) => {
                    let Some(stream) = streams.get_mut(which) else { continue };
                    stream.0 += i64::from(more);
                    window(2 * which as u32 + 1, more)
                }
                Step::GrowAll(more) => {
                    all += i64::from(more);
                    window(0, more)
                }
                Step::Initial(size) => {
                    let by = i64::from(size) - initial;
                    streams.iter_mut().for_each(|stream| stream.0 += by);
                    initial = i64::from(size);
                    initial_window(size)
                }
            };
            for (head, _) in listener.read(&dialogue.say(&bytes)) {
                prop_assert!(head.kind != kind::GOAWAY && head.kind != kind::RST_STREAM);
                if head.kind == kind::DATA {
                    let stream = &mut streams[head.stream as usize / 2];
                    stream.0 -= head.length as i64;
                    stream.1 += head.length;
                    all -= head.length as i64;
                    prop_assert!(head.length == 0 || stream.0 >= 0 && all >= 0);
                }
            }
        }
        prop_assert!(streams.iter().all(|stream| stream.1 == LARGE), "{streams:?}");
        prop_assert_eq!(dialogue.streams(), 0);
    }
}
