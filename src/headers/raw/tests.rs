//! What lines are passed on as they came, and which heads are left to the parser.

use super::*;

fn read(text: &str) -> Option<RawHeaders> {
    let (layout, length) = Layout::read(text.as_bytes())?;
    assert_eq!(length, text.len());
    Some(RawHeaders::new(Bytes::copy_from_slice(&text.as_bytes()[..length - 2]), layout))
}

fn passed(raw: &RawHeaders) -> String {
    raw.pieces().map(|piece| std::str::from_utf8(piece).unwrap()).collect()
}

#[test]
fn lines_are_passed_on_as_they_came_without_those_of_the_connection() {
    let raw = read(
        "X-One:1\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 12\r\n\
         x-two:  2 \r\nContent-Length-Not: 3\r\n\r\n",
    );
    let raw = raw.unwrap();
    assert_eq!(passed(&raw), "X-One:1\r\nx-two:  2 \r\nContent-Length-Not: 3\r\n");
    assert_eq!(raw.layout().content_length, Some(12));
    let mut headers = Headers::new();
    raw.list(&mut headers);
    let listed: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let expected =
        [("x-one", "1"), ("x-two", "2"), ("content-length-not", "3"), ("content-length", "12")];
    assert_eq!(listed, expected);
}

#[test]
fn the_content_type_can_be_taken_out() {
    let mut raw =
        read("content-length: 1\r\nA: 1\r\nContent-Type:  text/plain \r\nB: 2\r\n\r\n").unwrap();
    assert_eq!(raw.content_type(), Some(b"text/plain".as_slice()));
    raw.leave_out_content_type();
    assert_eq!(passed(&raw), "A: 1\r\nB: 2\r\n");
    assert_eq!(raw.content_type(), None);
}

#[test]
fn what_steers_an_answer_is_noted() {
    let raw = read("Date: x\r\nServer: y\r\nVIA: z\r\nX-Kong-A: 1\r\nContent-Encoding: br\r\n\r\n");
    let layout = *raw.unwrap().layout();
    let flags = [layout.has_date, layout.has_server, layout.has_via, layout.is_of_gateway];
    assert_eq!((flags, layout.is_encoded, layout.chunked), ([true; 4], true, false));
    assert!(read("Transfer-Encoding: Chunked\r\n\r\n").unwrap().layout().chunked);
}

#[test]
fn what_is_not_plain_is_left_to_the_parser() {
    for text in [
        "",
        "a: 1\r\n",
        "a: 1\n\r\n",
        "a: 1\r\n\n",
        "a : 1\r\n\r\n",
        " a: 1\r\n\r\n",
        ": 1\r\n\r\n",
        "a\r\n\r\n",
        "a: \u{1}\r\n\r\n",
        "a: 1\r\n b\r\n\r\n",
        "a: 1\rb: 2\r\n\r\n",
        "connection: close\r\n\r\n",
        "connection: x-own\r\n\r\n",
        "upgrade: x\r\n\r\n",
        "trailer: x\r\n\r\n",
        "proxy-connection: x\r\n\r\n",
        "content-length: 1\r\ncontent-length: 1\r\n\r\n",
        "content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
        "transfer-encoding: gzip\r\n\r\n",
        "content-length: 1, 1\r\n\r\n",
        "content-length:\r\n\r\n",
        "content-length: 05\r\n\r\n",
        "content-length: 1234567890123456789\r\n\r\n",
        "content-type: a\r\ncontent-type: b\r\n\r\n",
        "keep-alive: 1\r\nkeep-alive: 2\r\nkeep-alive: 3\r\nkeep-alive: 4\r\nkeep-alive: 5\r\n\
         keep-alive: 6\r\n\r\n",
    ] {
        assert!(Layout::read(text.as_bytes()).is_none(), "{text:?}");
    }
    let many = "a: 1\r\n".repeat(LINES_MAX + 1) + "\r\n";
    assert!(Layout::read(many.as_bytes()).is_none());
}

#[test]
fn a_text_ends_where_a_control_character_is() {
    for length in 0..40 {
        let plain = "aé\t ~".chars().cycle().take(length).collect::<String>();
        for end in ["", "\r\n", "\n", "\u{7f}", "\u{1f}x", "\0"] {
            let text = format!("{plain}{end}");
            assert_eq!(text_length(text.as_bytes()), plain.len(), "{text:?}");
        }
    }
}
