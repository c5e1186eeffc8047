//! What a client sends, frame by frame (RFC 9113, sections 5.1 and 6).

use std::future::Future;
use std::rc::Rc;

use super::body::BodyFault;
use super::connection::Connection;
use super::frame::{Code, Fault, Head, flag, kind, without_padding};
use super::incoming::Found;
use super::patience::CONTINUATIONS_MAX;
use crate::proxy::listener::connection::ConnectionInfo;
use crate::proxy::listener::request::ClientRequest;
use crate::proxy::listener::response::ClientResponse;

/// A header block that is not whole.
pub(super) struct Block {
    stream: u32,
    ends: bool,
    bytes: Vec<u8>,
    frames: u32,
}

/// How much longer than its fields may be in all a header block may be, in bytes.
const BLOCK_SLACK: usize = 16 * 1024;

pub(super) const PROTOCOL: Fault = Fault::Connection(Code::Protocol);
pub(super) const FRAME_SIZE: Fault = Fault::Connection(Code::FrameSize);

impl<H, F> Connection<H, F>
where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    /// Takes bytes of the client.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        let mut incoming = std::mem::take(&mut self.incoming);
        let read = incoming.read(bytes, |found| self.take(found));
        self.incoming = incoming;
        if let Err(Fault::Connection(code) | Fault::Stream(_, code)) = read {
            self.fail(code);
        }
    }

    /// Ends the connection and all its streams.
    fn fail(&mut self, code: Code) {
        self.streams.close_all();
        self.link.fail(code);
    }

    fn take(&mut self, found: Found<'_>) -> Result<(), Fault> {
        let taken = match found {
            Found::Data { head, content } => self.data(&head, content),
            Found::Piece { piece, last } => self.piece(piece, last),
            Found::Frame(head, payload) => self.frame(&head, payload),
        };
        let Err(Fault::Stream(id, code)) = taken else { return taken };
        self.reset(id, code);
        self.link.patience.broken()
    }

    /// Ends a stream from our side.
    pub(super) fn reset(&mut self, id: u32, code: Code) {
        if let Some(place) = self.streams.find(id) {
            drop(self.streams.close(place));
        }
        self.link.reset(id, code);
        self.link.moved();
    }

    /// Holds frames to the order in which they may come.
    fn expect(&mut self, head: &Head) -> Result<(), Fault> {
        let continues =
            |block: &Block| head.kind == kind::CONTINUATION && head.stream == block.stream;
        let is_in_order = match &self.block {
            Some(block) => continues(block),
            None => head.kind != kind::CONTINUATION,
        };
        let is_settings = head.kind == kind::SETTINGS && !head.has(flag::ACK);
        if is_in_order && (self.is_greeted || is_settings) { Ok(()) } else { Err(PROTOCOL) }
    }

    fn frame(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        self.expect(head)?;
        match head.kind {
            kind::HEADERS => self.headers(head, payload),
            kind::CONTINUATION => self.continuation(head, payload),
            kind::RST_STREAM => self.rst_stream(head, payload),
            kind::SETTINGS => self.settings(head, payload),
            kind::PING => self.ping(head, payload),
            kind::WINDOW_UPDATE => self.window_update(head, payload),
            kind::GOAWAY => {
                at_connection(head)?;
                if payload.len() < 8 {
                    return Err(FRAME_SIZE);
                }
                self.link.client_leaves = true;
                Ok(())
            }
            kind::PRIORITY => {
                at_stream(head)?;
                if payload.len() != 5 {
                    return Err(FRAME_SIZE);
                }
                self.link.patience.empty()
            }
            kind::PUSH_PROMISE => Err(PROTOCOL),
            _ => self.link.patience.empty(),
        }
    }

    /// A frame of a body begins.
    fn data(&mut self, head: &Head, content: usize) -> Result<(), Fault> {
        self.expect(head)?;
        at_stream(head)?;
        let (id, ends) = (head.stream, head.has(flag::END_STREAM));
        let (length, content) = (head.length as u32, content as u32);
        self.link.announce(length)?;
        if content == 0 && !ends {
            self.link.patience.empty()?;
        }
        self.link.moved();
        // Until it is known whose it is, it is nobody's.
        self.body_of = (0, false);
        let place = self.streams.find(id);
        let stream = place.and_then(|place| self.streams.get(place)?.stream.as_ref());
        let Some(input) = stream.and_then(|stream| stream.input.clone()) else {
            self.link.skip(length);
            return match stream_is_known(place, id, self.link.last) {
                false => Err(PROTOCOL),
                true if place.is_none() && self.link.ignores(id) => self.link.patience.empty(),
                true => Err(Fault::Stream(id, Code::StreamClosed)),
            };
        };
        if let Err(fault) = input.borrow_mut().announce(length, content) {
            self.link.skip(length);
            return Err(Fault::Stream(id, code_of(fault)));
        }
        self.link.skip(length - content);
        if content > 0 {
            self.link.patience.useful();
        }
        self.body_of = (id, ends);
        Ok(())
    }

    fn piece(&mut self, piece: &[u8], last: bool) -> Result<(), Fault> {
        let (id, ends) = self.body_of;
        if !piece.is_empty() {
            self.link.moved();
        }
        if id == 0 {
            return Ok(());
        }
        let place = self.streams.find(id);
        let stream = place.and_then(|place| self.streams.get(place)?.stream.as_ref());
        let Some(input) = stream.and_then(|stream| stream.input.as_ref()) else {
            self.link.skip(piece.len() as u32);
            return Ok(());
        };
        let mut input = input.borrow_mut();
        if !piece.is_empty() {
            input.push(piece);
        }
        match last && ends {
            true => input.end(None).map_err(|fault| Fault::Stream(id, code_of(fault))),
            false => Ok(()),
        }
    }

    fn headers(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream.is_multiple_of(2) {
            return Err(PROTOCOL);
        }
        let mut block = without_padding(head, payload)?;
        if head.has(flag::PRIORITY) {
            block = block.get(5..).ok_or(FRAME_SIZE)?;
        }
        let ends = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.message(head.stream, ends, block);
        }
        let bytes = block.to_vec();
        self.block = Some(Block { stream: head.stream, ends, bytes, frames: 0 });
        Ok(())
    }

    fn continuation(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        let Some(mut block) = self.block.take() else { return Err(PROTOCOL) };
        block.bytes.extend_from_slice(payload);
        block.frames += 1;
        let max = self.core.limits.h2_header_list_max as usize + BLOCK_SLACK;
        if block.bytes.len() > max || block.frames > CONTINUATIONS_MAX {
            return Err(Fault::Connection(Code::Calm));
        }
        if head.has(flag::END_HEADERS) {
            return self.message(block.stream, block.ends, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }
}

/// Returns whether a stream is open or was: what is neither is idle, and nothing is said of it.
pub(super) fn stream_is_known(place: Option<usize>, id: u32, last: u32) -> bool {
    place.is_some() || id <= last && id % 2 == 1
}

pub(super) fn at_connection(head: &Head) -> Result<(), Fault> {
    if head.stream == 0 { Ok(()) } else { Err(PROTOCOL) }
}

pub(super) fn at_stream(head: &Head) -> Result<(), Fault> {
    if head.stream == 0 { Err(PROTOCOL) } else { Ok(()) }
}

pub(super) fn code_of(fault: BodyFault) -> Code {
    match fault {
        BodyFault::Closed => Code::StreamClosed,
        BodyFault::Window => Code::FlowControl,
        BodyFault::Length => Code::Protocol,
    }
}
