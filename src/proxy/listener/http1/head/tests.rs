//! Heads as clients send them, and as they should not.

use proptest::prelude::*;

use super::*;

fn take_text(text: &str) -> Result<Option<Head>, Refusal> {
    take(&mut BytesMut::from(text), 32 * 1024)
}

fn refusal(text: &str) -> Option<Refusal> {
    take_text(text).err()
}

#[test]
fn a_head_is_read_and_the_rest_is_left() {
    let mut input = BytesMut::from(
        "POST /a%20b?x=1 HTTP/1.1\r\nHost: h:8000\r\nX-Empty:\r\nx-two: 1\r\nX-Two: 2\r\n\
         Content-Length: 3\r\nExpect: 100-Continue\r\nTE: gzip, trailers\r\n\r\nabcGET",
    );
    let head = take(&mut input, 8192).unwrap().unwrap();
    assert_eq!(head.parts.method, "POST");
    assert_eq!(head.parts.uri, "/a%20b?x=1");
    assert_eq!(head.parts.headers.get("host").unwrap(), "h:8000");
    assert_eq!(head.parts.headers.get("x-empty").unwrap(), "");
    assert_eq!(head.parts.headers.get_all("x-two").count(), 2);
    assert!(matches!(head.remaining, Remaining::Length(3)));
    assert!(head.keep_alive && head.expects_continue && head.takes_trailers);
    assert_eq!(&*input, b"abcGET");
}

#[test]
fn the_connection_goes_on_as_version_and_header_say() {
    for (text, keep_alive) in [
        ("GET / HTTP/1.1\r\nhost: h\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nhost: h\r\nconnection: x, Close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n", true),
    ] {
        assert_eq!(take_text(text).unwrap().unwrap().keep_alive, keep_alive, "{text:?}");
    }
}

#[test]
fn a_target_that_names_a_host_decides() {
    for (text, host, path) in [
        ("GET http://a.test/x?y HTTP/1.1\r\nHost: b.test\r\n\r\n", "a.test", "/x?y"),
        ("GET http://a.test:81 HTTP/1.1\r\nHost:\r\n\r\n", "a.test:81", "/"),
        ("GET /x HTTP/1.1\r\nHost:\r\n\r\n", "", "/x"),
    ] {
        let head = take_text(text).unwrap().unwrap();
        assert_eq!(head.parts.headers.get("host").unwrap(), host, "{text:?}");
        assert_eq!(head.parts.headers.get_all("host").count(), 1);
        assert_eq!(head.parts.uri, path, "{text:?}");
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let framed = |lines: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
    for (text, expected) in [
        (framed("Content-Length: 4\r\nTransfer-Encoding: chunked"), Refusal::Bad),
        (framed("Transfer-Encoding: chunked\r\nContent-Length: 4"), Refusal::Bad),
        (framed("Content-Length: 4\r\nContent-Length: 4"), Refusal::Bad),
        (framed("Content-Length: 4, 4"), Refusal::Bad),
        (framed("Content-Length: +4"), Refusal::Bad),
        (framed("Content-Length: 0x4"), Refusal::Bad),
        (framed("Content-Length: 4 4"), Refusal::Bad),
        (framed("Content-Length:"), Refusal::Bad),
        (framed("Content-Length: 99999999999999999999"), Refusal::Bad),
        (framed("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Refusal::Bad),
        (framed("Transfer-Encoding: gzip, chunked"), Refusal::Coding),
        (framed("Transfer-Encoding: identity"), Refusal::Coding),
        (framed("Transfer-Encoding: xchunked"), Refusal::Coding),
        (framed("Transfer-Encoding : chunked"), Refusal::Bad),
        (framed("X: a\r\n folded"), Refusal::Bad),
        (framed("X: a\nTransfer-Encoding: chunked"), Refusal::Bad),
        (framed("X: a\rTransfer-Encoding: chunked"), Refusal::Bad),
        (framed("X: a\0b"), Refusal::Bad),
        (framed("X y: a"), Refusal::Bad),
        (framed(": a"), Refusal::Bad),
        (framed("Host: i"), Refusal::Bad),
        (framed("Expect: 200-ok"), Refusal::Expectation),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), Refusal::Bad),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(), Refusal::Bad),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".to_owned(), Refusal::Bad),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), Refusal::Bad),
        ("GET / HTTP/1.1\nHost: h\n\n".to_owned(), Refusal::Bad),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(), Refusal::Version),
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n".to_owned(), Refusal::Version),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Refusal::Bad),
        ("G\x01T / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Refusal::Bad),
        ("GET x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Refusal::Bad),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Refusal::Bad),
        ("GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Refusal::Bad),
        ("GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Refusal::Bad),
        ("GET http://h/ HTTP/1.1\r\n\r\n".to_owned(), Refusal::Bad),
        ("GET /#x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Refusal::Bad),
        ("get / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Refusal::Bad),
        ("GET / x HTTP/1.2\r\nHost: h\r\n\r\n".to_owned(), Refusal::Bad),
        ("GET / HTTX/1.1\r\nHost: h\r\n\r\n".to_owned(), Refusal::Bad),
        ("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Refusal::Method),
        ("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Refusal::Method),
        (
            format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(200)),
            Refusal::HeadTooLong,
        ),
    ] {
        assert_eq!(refusal(&text), Some(expected), "{text:?}");
    }
}

#[test]
fn half_a_head_asks_for_more_and_stays() {
    let text = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    for cut in 1..text.len() {
        let mut input = BytesMut::from(&text[..cut]);
        assert!(take(&mut input, 8192).unwrap().is_none(), "{cut}");
        assert_eq!(&*input, &text.as_bytes()[..cut]);
        input.extend_from_slice(&text.as_bytes()[cut..]);
        assert!(may_end(&input, cut));
        assert!(take(&mut input, 8192).unwrap().is_some(), "{cut}");
    }
}

/// What hyper's parser makes of bytes, framing aside: both use one parser of heads.
fn is_parsed(bytes: &[u8]) -> bool {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut slots);
    matches!(request.parse(bytes), Ok(httparse::Status::Complete(_)))
}

/// Pieces of heads, of the plain kind and not.
fn head_text() -> impl Strategy<Value = String> {
    let method =
        proptest::sample::select(vec!["GET", "POST", "get", "M-X", "CONNECT", "", "\r\nGET"]);
    let target = prop_oneof![
        3 => "/[a-z%?&=]{0,8}",
        1 => "/[ -~é]{0,6}",
        1 => proptest::sample::select(vec!["http://h/x", "*", "/#x", "/a b", "/\t", ""])
            .prop_map(str::to_owned),
    ];
    let version = prop_oneof![4 => Just(" HTTP/1.1\r\n"), 1 => Just(" HTTP/1.0\r\n"), 1 => Just(" HTTP/1.1\n")];
    let name = prop_oneof![
        4 => proptest::sample::select(vec![
            "Host", "host", "Connection", "Content-Length", "Transfer-Encoding", "TE", "Expect", "Upgrade",
            "X-Kong-Request-Debug", "User-Agent", "X", "", "bad name", " folded", "Host ",
        ]).prop_map(str::to_owned),
        1 => "[!-~]{0,6}",
    ];
    let value = prop_oneof![
        4 => proptest::sample::select(vec![
            "h", "h:80", "close", "keep-alive", "close, X", "5", "05", "chunked", "trailers", "100-continue",
            "websocket", "", "  padded \t", "a\tb", "\u{7f}", "é", "a\rb", "\u{c}",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,9}",
    ];
    let end = prop_oneof![8 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
    let line = (name, prop_oneof![4 => Just(":"), 4 => Just(": "), 1 => Just("")], value, end)
        .prop_map(|(name, colon, value, end)| format!("{name}{colon}{value}{end}"));
    let lines = proptest::collection::vec(line, 0..6).prop_map(|lines| lines.concat());
    let host = prop_oneof![4 => Just("Host: h\r\n"), 1 => Just("")];
    let rest = prop_oneof![4 => Just("\r\n"), 1 => Just("\r\nmore"), 1 => Just("")];
    (method, target, version, host, lines, rest).prop_map(
        |(method, target, version, host, lines, rest)| {
            format!("{method} {target}{version}{host}{lines}{rest}")
        },
    )
}

proptest! {
    #[test]
    fn garbage_never_panics_and_what_the_parser_refuses_is_refused(
        middle in proptest::collection::vec(
            prop_oneof![
                Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), Just(b','), any::<u8>()
            ], 0..60),
        line in any::<bool>(),
    ) {
        let mut bytes = if line { b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec() } else { Vec::new() };
        bytes.extend_from_slice(&middle);
        bytes.extend_from_slice(b"\r\n\r\n");
        let mut input = BytesMut::from(&*bytes);
        if let Ok(Some(_)) = take(&mut input, 8192) {
            prop_assert!(is_parsed(&bytes));
        }
    }

    #[test]
    fn what_is_taken_in_one_pass_is_what_the_parser_reads(text in head_text(), max in 20_usize..200) {
        let bytes = Bytes::from(text.clone());
        if let Some((plain, length)) = plain::parse(&bytes, max) {
            let Ok(Some((any, all))) = parse_any(&bytes, max) else {
                return Err(TestCaseError::fail(format!("{text:?} is no head for the parser")));
            };
            prop_assert_eq!(length, all);
            prop_assert_eq!(format!("{:?}", plain.parts), format!("{:?}", any.parts));
            prop_assert_eq!(format!("{:?}", plain.remaining), format!("{:?}", any.remaining));
            let flags = |head: &Head| (head.keep_alive, head.expects_continue, head.takes_trailers);
            prop_assert_eq!(flags(&plain), flags(&any));
        }
    }
}

#[test]
fn usual_requests_are_taken_in_one_pass() {
    for text in [
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n",
        "POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
        "GET / HTTP/1.1\r\nhost:h\r\nX-Empty:\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ] {
        assert!(plain::parse(&Bytes::from_static(text.as_bytes()), 8192).is_some(), "{text:?}");
    }
}
