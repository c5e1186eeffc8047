//! Connections without sockets: what a client sends, and what it is told.

mod flow;
mod messages;
mod rules;

use std::fmt::Write as _;
use std::future::pending;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, StreamBody};

use super::dialogue::Dialogue;
use super::frame::{self, Head, PREFACE, flag, kind};
use super::hpack::{Decoder, Field, Sink};
use crate::proxy::listener::{
    ClientRequest, ClientResponse, ConnectionInfo, ProxyBody, ServeLimits,
};

const END: u8 = flag::END_STREAM | flag::END_HEADERS;
const OPEN: u8 = flag::END_HEADERS;

/// More than any window that a client has to begin with, in bytes.
const LARGE: usize = 200_000;

async fn answer(request: ClientRequest) -> ClientResponse {
    let path = request.head.uri.path().to_owned();
    if path == "/wait" {
        return pending().await;
    }
    if path == "/large" {
        return ClientResponse::new(
            StatusCode::OK,
            ProxyBody::Full(Bytes::from(vec![b'x'; LARGE])),
        );
    }
    if path == "/nine" {
        let is_told = request.body.size_hint().exact() == Some(9);
        let status = if is_told { StatusCode::OK } else { StatusCode::EXPECTATION_FAILED };
        return ClientResponse::new(status, ProxyBody::Empty);
    }
    if path == "/early" {
        return ClientResponse::new(StatusCode::OK, ProxyBody::Empty);
    }
    let Ok(body) = request.body.collect().await else { return pending().await };
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    let mut response = match trailers {
        None => ClientResponse::new(StatusCode::OK, ProxyBody::from(body)),
        Some(trailers) => {
            let frames =
                [Ok(http_body::Frame::data(body)), Ok(http_body::Frame::trailers(trailers))];
            let stream = StreamBody::new(futures_util::stream::iter(frames));
            ClientResponse::new(StatusCode::OK, ProxyBody::Filtered(Box::pin(stream)))
        }
    };
    let path = HeaderValue::from_str(&path).unwrap();
    response.headers.append(HeaderName::from_static("x-path"), path);
    response
}

fn handler(request: ClientRequest, _: Rc<ConnectionInfo>) -> impl Future<Output = ClientResponse> {
    answer(request)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::push_head(&mut bytes, payload.len(), kind, flags, stream);
    bytes.extend_from_slice(payload);
    bytes
}

fn field(name: &str, value: &str) -> Vec<u8> {
    let [name_length, length] = [name.len() as u8, value.len() as u8];
    [&[0, name_length], name.as_bytes(), &[length], value.as_bytes()].concat()
}

/// A header block of `name=value` words.
fn block(fields: &str) -> Vec<u8> {
    let pairs = fields.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    pairs.flat_map(|(name, value)| field(name, &value.replace('_', " "))).collect()
}

fn request(method: &str, path: &str) -> Vec<u8> {
    block(&format!(":method={method} :scheme=http :path={path} :authority=h"))
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, END, stream, &request("GET", path))
}

fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, OPEN, stream, &request("POST", path))
}

struct Status(String);

impl Sink for Status {
    fn is_full(&self) -> bool {
        false
    }

    fn take(&mut self, field: Field, _: usize) {
        match field {
            Field::Pseudo(_, value) => self.0.push_str(std::str::from_utf8(&value).unwrap()),
            Field::Regular(name, _) if name == "grpc-status" => self.0.push_str("trailers"),
            _ => {}
        }
    }
}

/// Reads what the server says, but for what it says to everyone.
#[derive(Default)]
struct Listener {
    said: Vec<u8>,
    decoder: Option<Decoder>,
}

impl Listener {
    fn read(&mut self, bytes: &[u8]) -> Vec<(Head, Vec<u8>)> {
        self.said.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(head) = Head::read(&self.said)
            && self.said.len() >= frame::HEAD + head.length
        {
            let payload = self.said[frame::HEAD..][..head.length].to_vec();
            self.said.drain(..frame::HEAD + head.length);
            frames.push((head, payload));
        }
        frames
    }

    fn tell(&mut self, bytes: &[u8]) -> String {
        let mut told = String::new();
        for (head, payload) in self.read(bytes) {
            let stream = head.stream;
            let code = |at: usize| payload[at + 3];
            let _ = match head.kind {
                kind::HEADERS => {
                    let decoder = self.decoder.get_or_insert_with(Decoder::new);
                    let mut status = Status(String::new());
                    decoder.decode(&payload, &mut status).unwrap();
                    let end = if head.has(flag::END_STREAM) { " end" } else { "" };
                    write!(told, "{stream} {}{end}, ", status.0)
                }
                kind::DATA if head.has(flag::END_STREAM) => write!(told, "{stream} data end, "),
                kind::DATA => write!(told, "{stream} data, "),
                kind::RST_STREAM => write!(told, "{stream} reset {}, ", code(0)),
                kind::GOAWAY => write!(told, "away {}, ", code(4)),
                kind::PING => write!(told, "ping {}, ", head.flags),
                _ => Ok(()),
            };
        }
        told.trim_end_matches(", ").to_owned()
    }
}

fn begin() -> Vec<u8> {
    [PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat()
}

/// Says it all at once, and returns what is told.
fn told(bytes: &[u8]) -> String {
    let mut dialogue = Dialogue::new(ServeLimits::default(), handler).unwrap();
    let said = dialogue.say(bytes);
    Listener::default().tell(&said)
}

/// Says frame after frame, and compares what is told in all.
fn check(cases: &[(&str, &[Vec<u8>], &str)]) {
    for (rule, frames, expected) in cases {
        let mut dialogue = Dialogue::new(ServeLimits::default(), handler).unwrap();
        let mut said = dialogue.say(&begin());
        for frame in *frames {
            said.extend(dialogue.say(frame));
        }
        assert_eq!(Listener::default().tell(&said), *expected, "{rule}");
    }
}
