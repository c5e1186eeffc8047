//! What of a message is malformed, what is refused, and what is passed on (RFC 9113, section 8).

use super::*;

fn heads(cases: &[(&str, &str)]) {
    for (fields, expected) in cases {
        let bytes = [begin(), frame(kind::HEADERS, END, 1, &block(fields))].concat();
        assert_eq!(told(&bytes), *expected, "{fields}");
    }
}

#[test]
fn malformed_requests_end_their_stream_and_bad_ones_are_answered() {
    let cases: Vec<(String, &str)> = [
        ("", "1 200 end"),
        (" te=trailers", "1 200 end"),
        (" host=H", "1 200 end"),
        (" cookie=a=1 cookie=b=2", "1 200 end"),
        (" content-length=0", "1 200 end"),
        (" te=gzip", "1 reset 1"),
        (" connection=close", "1 reset 1"),
        (" keep-alive=5", "1 reset 1"),
        (" proxy-connection=close", "1 reset 1"),
        (" transfer-encoding=chunked", "1 reset 1"),
        (" upgrade=h2c", "1 reset 1"),
        (" X-Upper=a", "1 reset 1"),
        (" x=_a", "1 reset 1"),
        (" x=a_", "1 reset 1"),
        (" =a", "1 reset 1"),
        (" x:y=a", "1 reset 1"),
        (" :status=200", "1 reset 1"),
        (" :protocol=websocket", "1 reset 1"),
        (" :path=/", "1 reset 1"),
        (" x=a :path=/", "1 reset 1"),
        (" content-length=1", "1 reset 1"),
        (" content-length=x", "1 reset 1"),
        (" content-length=+0", "1 reset 1"),
        (" content-length=0 content-length=0", "1 reset 1"),
        (" host=i", "1 400, 1 data end"),
        (" host=h host=h", "1 400, 1 data end"),
    ]
    .map(|(more, told)| (format!(":method=GET :scheme=http :path=/ :authority=h{more}"), told))
    .into();
    heads(&cases.iter().map(|(fields, told)| (fields.as_str(), *told)).collect::<Vec<_>>());
    heads(&[
        (":scheme=http :path=/ :authority=h", "1 reset 1"),
        (":method=GET :path=/ :authority=h", "1 reset 1"),
        (":method=GET :scheme=http :authority=h", "1 reset 1"),
        (":method=GET :scheme=http :path= :authority=h", "1 reset 1"),
        (":method=GET :scheme=1 :path=/ :authority=h", "1 reset 1"),
        ("x=a :method=GET :scheme=http :path=/ :authority=h", "1 reset 1"),
        (":method=CONNECT :authority=h", "1 405, 1 data end"),
        (":method=CONNECT :scheme=http :path=/ :authority=h", "1 reset 1"),
        (":method=TRACE :scheme=http :path=/ :authority=h", "1 405, 1 data end"),
        (":method=GET :scheme=http :path=/", "1 400, 1 data end"),
        (":method=GET :scheme=http :path=/ host=h", "1 200 end"),
        (":method=GET :scheme=http :path=/ :authority=u@h", "1 400, 1 data end"),
        (":method=get :scheme=http :path=/ :authority=h", "1 400, 1 data end"),
        (":method=G'T :scheme=http :path=/ :authority=h", "1 400, 1 data end"),
        (":method=OPTIONS :scheme=http :path=* :authority=h", "1 400, 1 data end"),
        (":method=GET :scheme=http :path=x :authority=h", "1 400, 1 data end"),
        (":method=GET :scheme=http :path=/#x :authority=h", "1 400, 1 data end"),
        (":method=GET :scheme=http :path=/a_b :authority=h", "1 400, 1 data end"),
        (":method=HEAD :scheme=http :path=/large :authority=h", "1 200 end"),
    ]);
}

#[test]
fn values_with_control_characters_are_malformed() {
    for value in ["a\0", "a\rb", "a\nb", "a\x7f"] {
        let fields = [request("GET", "/"), field("x", value)].concat();
        let bytes = [begin(), frame(kind::HEADERS, END, 1, &fields)].concat();
        assert_eq!(told(&bytes), "1 reset 1", "{value:?}");
    }
}

#[test]
fn bodies_are_as_long_as_they_say() {
    let post = |length: &str| {
        let fields = [request("POST", "/"), field("content-length", length)].concat();
        frame(kind::HEADERS, OPEN, 1, &fields)
    };
    let data = |flags, text: &[u8]| frame(kind::DATA, flags, 1, text);
    let end = || frame(kind::HEADERS, END, 1, &field("grpc-status", "0"));
    check(&[
        ("as long", &[post("3"), data(0, b"ab"), data(1, b"c")], "1 200, 1 data end"),
        ("with padding", &[post("1"), data(9, &[1, b'a', 0])], "1 200, 1 data end"),
        ("with trailers", &[post("1"), data(0, b"a"), end()], "1 200, 1 data, 1 trailers end"),
        ("longer", &[post("1"), data(0, b"ab")], "1 reset 1"),
        ("shorter", &[post("3"), data(1, b"ab")], "1 reset 1"),
        ("shorter, with trailers", &[post("3"), data(0, b"ab"), end()], "1 reset 1"),
    ]);
}

#[test]
fn how_much_is_to_come_is_known_in_the_middle_of_a_frame() {
    let fields = [request("POST", "/nine"), field("content-length", "9")].concat();
    let head = frame(kind::HEADERS, OPEN, 1, &fields);
    let data = frame(kind::DATA, 1, 1, b"nine nine");
    for cut in 0..data.len() {
        let mut dialogue = Dialogue::new(ServeLimits::default(), handler).unwrap();
        let said = dialogue.say(&[&begin(), &head[..], &data[..cut]].concat());
        assert_eq!(Listener::default().tell(&said), "1 200 end, 1 reset 0", "{cut}");
    }
}

#[test]
fn trailers_say_nothing_of_the_message() {
    let end = |fields: &str| frame(kind::HEADERS, END, 1, &block(fields));
    let post = || post(1, "/");
    check(&[
        ("fields", &[post(), end("grpc-status=0")], "1 200, 1 trailers end"),
        ("a pseudo field", &[post(), end(":path=/")], "1 reset 1"),
        ("a field of the connection", &[post(), end("connection=close")], "1 reset 1"),
        ("upper case", &[post(), end("X=a")], "1 reset 1"),
        (
            "a body behind",
            &[post(), end("grpc-status=0"), frame(kind::DATA, 1, 1, b"x")],
            "1 200, 1 trailers end, 1 reset 5",
        ),
    ]);
}

#[test]
fn heads_that_are_too_large_are_told_so_and_the_table_goes_on() {
    let long = [&b"\x40\x01a\x7f\xa1\x1e"[..], &[b'v'; 4000]].concat();
    let bomb = [&request("GET", "/")[..], &long, &[0xbe; 1000]].concat();
    let next = [&request("GET", "/")[..], &[0xbe]].concat();
    check(&[
        (
            "a bomb",
            &[frame(kind::HEADERS, END, 1, &bomb), frame(kind::HEADERS, END, 3, &next)],
            "1 431, 1 data end, 3 200 end",
        ),
        (
            "a bomb with a body",
            &[frame(kind::HEADERS, OPEN, 1, &bomb), frame(kind::DATA, 1, 1, b"x")],
            "1 431, 1 data end, 1 reset 0",
        ),
    ]);
}

#[test]
fn a_client_that_waits_is_asked_for_its_body_once_somebody_wants_it() {
    let expecting = |path: &str| {
        let fields = [request("POST", path), field("expect", "100-continue")].concat();
        frame(kind::HEADERS, OPEN, 1, &fields)
    };
    let mut dialogue = Dialogue::new(ServeLimits::default(), handler).unwrap();
    let mut listener = Listener::default();
    let first = dialogue.say(&[begin(), expecting("/")].concat());
    assert_eq!(listener.tell(&first), "1 100");
    let answer = dialogue.say(&frame(kind::DATA, 1, 1, b"x"));
    assert_eq!(listener.tell(&answer), "1 200, 1 data end");
    check(&[
        ("nobody wants it", &[expecting("/early")], "1 200 end, 1 reset 0"),
        (
            "it is there",
            &[[expecting("/"), frame(kind::DATA, 1, 1, b"x")].concat()],
            "1 200, 1 data end",
        ),
    ]);
}

#[test]
fn answers_that_speak_of_a_connection_or_switch_protocols_do_not() {
    let answer = |status: u16| {
        move |_: ClientRequest, _: Rc<ConnectionInfo>| async move {
            let status = StatusCode::from_u16(status).unwrap();
            let mut answer = ClientResponse::new(status, Bytes::from_static(b"body").into());
            for (name, value) in [("connection", "close"), ("upgrade", "h2"), ("x", "y")] {
                let name = HeaderName::from_static(name);
                answer.headers.append(name, HeaderValue::from_static(value));
            }
            answer
        }
    };
    for (status, expected) in
        [(200, "1 200, 1 data end"), (204, "1 204 end"), (304, "1 304 end"), (101, "1 reset 2")]
    {
        let mut dialogue = Dialogue::new(ServeLimits::default(), answer(status)).unwrap();
        let said = dialogue.say(&[begin(), get(1, "/")].concat());
        assert!(!said.windows(10).any(|it| it == b"connection"), "{}", said.escape_ascii());
        assert_eq!(Listener::default().tell(&said), expected);
    }
}

#[test]
fn heads_of_answers_may_need_more_than_a_frame() {
    let answer = |_: ClientRequest, _: Rc<ConnectionInfo>| async {
        let long = "v".repeat(40_000);
        let mut answer = ClientResponse::new(StatusCode::OK, ProxyBody::Empty);
        let long = HeaderValue::from_str(&long).unwrap();
        answer.headers.append(HeaderName::from_static("x-long"), long);
        answer
    };
    let mut dialogue = Dialogue::new(ServeLimits::default(), answer).unwrap();
    let said = dialogue.say(&[begin(), get(1, "/")].concat());
    let frames = Listener::default().read(&said);
    let heads: Vec<_> = frames
        .iter()
        .filter(|(head, _)| head.stream == 1)
        .map(|(head, _)| (head.kind, head.flags))
        .collect();
    let (begin, rest) = (kind::HEADERS, kind::CONTINUATION);
    assert_eq!(heads, [(begin, flag::END_STREAM), (rest, 0), (rest, flag::END_HEADERS)]);
}
