//! Heads and trailers of answers: the one place where their fields are read.

use http::{HeaderMap, StatusCode};
use http_body::Body as _;

use super::frame::{self, FRAME_MAX, flag, kind};
use super::hpack::Encoder;
use crate::proxy::listener::response::ClientResponse;
use crate::proxy::listener::serve::Core;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Nothing.
    Nothing,
    /// A body, of a length that was told or not.
    Body(Option<u64>),
}

/// Writes the head of an answer.
pub(super) fn push_answer(
    out: &mut Vec<u8>,
    encoder: &mut Encoder,
    core: &Core,
    stream: u32,
    response: &ClientResponse,
    head_only: bool,
) -> Follows {
    let begin = begin(out, encoder);
    Encoder::status(out, response.status);
    let mut length = None;
    let mut has_date = false;
    for (name, value) in &response.headers {
        let (name, text) = (name.as_str(), value.as_bytes());
        match name {
            // They speak of a connection, not of the answer (RFC 9113, section 8.2.2).
            "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
                continue;
            }
            "date" => has_date = true,
            "content-length" => {
                length = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            }
            _ => {}
        }
        // Of a length and a cookie no other answer has the same.
        if value.is_sensitive() || matches!(name, "content-length" | "set-cookie") {
            Encoder::unremembered(out, name, text, value.is_sensitive());
        } else {
            encoder.field(out, name, text);
        }
    }
    response.additions.for_each(|name, value| {
        value.lend(|value, is_shared| match is_shared {
            true => encoder.field(out, name.name.as_str(), value),
            false => Encoder::unremembered(out, name.name.as_str(), value, true),
        });
    });
    let is_bodiless = head_only
        || matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || response.body.is_end_stream();
    if let (None, false, Some(exact)) = (length, is_bodiless, response.body.size_hint().exact()) {
        length = Some(exact);
        let mut digits = itoa::Buffer::new();
        let text = digits.format(exact).as_bytes();
        Encoder::unremembered(out, "content-length", text, false);
    }
    if !has_date {
        encoder.field(out, "date", core.date.borrow_mut().text());
    }
    let flags = if is_bodiless { flag::END_STREAM } else { 0 };
    end(out, begin, flags, stream);
    if is_bodiless { Follows::Nothing } else { Follows::Body(length) }
}

/// Writes the interim answer that asks for the body.
pub(super) fn push_continue(out: &mut Vec<u8>, encoder: &mut Encoder, stream: u32) {
    let begin = begin(out, encoder);
    Encoder::status(out, StatusCode::CONTINUE);
    end(out, begin, 0, stream);
}

/// Writes trailers, which end an answer.
pub(super) fn push_trailers(
    out: &mut Vec<u8>,
    encoder: &mut Encoder,
    stream: u32,
    trailers: &HeaderMap,
) {
    let begin = begin(out, encoder);
    for (name, value) in trailers {
        if value.is_sensitive() {
            Encoder::unremembered(out, name.as_str(), value.as_bytes(), true);
        } else {
            encoder.field(out, name.as_str(), value.as_bytes());
        }
    }
    end(out, begin, flag::END_STREAM, stream);
}

/// Leaves room for the head of the frame, and returns where that is.
fn begin(out: &mut Vec<u8>, encoder: &mut Encoder) -> usize {
    let begin = out.len();
    out.extend_from_slice(&[0; frame::HEAD]);
    encoder.begin(out);
    begin
}

/// Completes the frame that begins there, or parts what is too long for one.
fn end(out: &mut Vec<u8>, begin: usize, flags: u8, stream: u32) {
    let length = out.len() - begin - frame::HEAD;
    if length <= FRAME_MAX {
        let head = frame::head(length, kind::HEADERS, flags | flag::END_HEADERS, stream);
        if let Some(place) = out.get_mut(begin..begin + frame::HEAD) {
            place.copy_from_slice(&head);
        }
        return;
    }
    let block = out.split_off(begin + frame::HEAD);
    out.truncate(begin);
    let (mut kind, mut flags) = (kind::HEADERS, flags);
    let mut pieces = block.chunks(FRAME_MAX).peekable();
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
        frame::push_head(out, piece.len(), kind, flags | last, stream);
        out.extend_from_slice(piece);
        (kind, flags) = (kind::CONTINUATION, 0);
    }
}
