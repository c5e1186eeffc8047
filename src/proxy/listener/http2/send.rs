//! What is sent to a client: answers, in the order in which there is something of them, as its
//! windows allow.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http_body::Body as _;
use tokio::task::coop;

use super::answer::{self, Follows};
use super::connection::Connection;
use super::frame::{self, Code, FRAME_MAX, flag, kind};
use super::streams::{Sending, Stage};
use crate::proxy::listener::body::ProxyBody;
use crate::proxy::listener::connection::ConnectionInfo;
use crate::proxy::listener::request::ClientRequest;
use crate::proxy::listener::response::ClientResponse;
use crate::proxy::upstream::BoxError;

/// What came of a try to send more of an answer.
enum Sent {
    /// A frame; there may be more.
    Frame,
    /// Nothing: the body is awaited.
    Nothing,
    /// Nothing: the client's windows are closed.
    Blocked,
    /// All of it.
    All,
    /// All that there will be: it is not whole.
    Broken(Code),
}

impl Sending {
    pub(super) fn new(body: ProxyBody, left: Option<u64>) -> Self {
        Self { body, piece: Bytes::new(), left }
    }

    /// Takes account of a piece of the body; false when it is longer than was told.
    fn take(&mut self, piece: Bytes) -> bool {
        self.piece = piece;
        let Some(left) = &mut self.left else { return true };
        let fits = left.checked_sub(self.piece.len() as u64);
        *left = fits.unwrap_or_default();
        fits.is_some()
    }

    /// Returns whether the body is shorter than was told.
    fn is_short(&self) -> bool {
        self.left.is_some_and(|left| left > 0)
    }
}

impl<H, F> Connection<H, F>
where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    /// Polls every stream that was woken, while there is room for what it has to say. Whose task has
    /// no budget left, since all streams share that of one, goes on when it is polled again.
    pub(super) fn turn(&mut self) {
        self.streams.begin_turn();
        while !self.link.is_full()
            && coop::has_budget_remaining()
            && let Some(place) = self.streams.next_woken()
        {
            self.advance(place);
        }
        self.link.give_back();
    }

    fn advance(&mut self, place: usize) {
        let Some(there) = self.streams.get(place) else { return };
        let Some(stream) = &mut there.stream else { return };
        let mut cx = Context::from_waker(&there.waker);
        let answer = match &mut stream.stage {
            Stage::Working(work) => match work.as_mut().poll(&mut cx) {
                Poll::Ready(response) => Some(response.into()),
                Poll::Pending => {
                    self.tend(place);
                    return;
                }
            },
            Stage::Sending(_) => None,
        };
        if let Some(response) = answer {
            self.link.patience.answered();
            self.answer(place, response);
        }
        self.send(place);
        self.tend(place);
    }

    /// Tells the client what was read of its body, and asks it for one that it keeps back.
    fn tend(&mut self, place: usize) {
        let stream = self.streams.get(place).and_then(|place| place.stream.as_ref());
        let Some(stream) = stream else { return };
        let Some(input) = &stream.input else { return };
        let mut input = input.borrow_mut();
        if input.take_invitation() && matches!(stream.stage, Stage::Working(_)) {
            answer::push_continue(&mut self.link.out, &mut self.link.encoder, stream.id);
        }
        if let Some(more) = input.take_read() {
            frame::push_window_update(&mut self.link.out, stream.id, more);
        }
    }

    /// Writes the head of an answer; its body follows as the stream is polled.
    pub(super) fn answer(&mut self, place: usize, mut response: Box<ClientResponse>) {
        let Some(there) = self.streams.get(place) else { return };
        let Some(stream) = &mut there.stream else { return };
        // A protocol switch is nothing that HTTP/2 has, and interim answers are our own affair.
        if response.status.is_informational() {
            let id = stream.id;
            return self.reset(id, Code::Internal);
        }
        response.list();
        let follows = answer::push_answer(
            &mut self.link.out,
            &mut self.link.encoder,
            &self.core,
            stream.id,
            &response,
            stream.head_only,
        );
        match follows {
            Follows::Nothing => self.finish(place),
            Follows::Body(length) => {
                stream.stage = Stage::Sending(Sending::new(response.body, length))
            }
        }
    }

    /// Sends of an answer what there is, but not more than one full frame in a row.
    fn send(&mut self, place: usize) {
        let before = self.link.out.len();
        loop {
            match self.send_frame(place) {
                Some(Sent::Frame) if self.link.out.len() - before < FRAME_MAX => {}
                Some(Sent::Frame) => {
                    if let Some(waker) = self.streams.waker(place) {
                        waker.wake_by_ref();
                    }
                    return;
                }
                Some(Sent::Blocked) => return self.streams.block(place),
                Some(Sent::All) => return self.finish(place),
                Some(Sent::Broken(code)) => {
                    if let Some(stream) = self.streams.close(place) {
                        self.link.reset(stream.id, code);
                        self.link.moved();
                    }
                    return;
                }
                Some(Sent::Nothing) | None => return,
            }
        }
    }

    fn send_frame(&mut self, place: usize) -> Option<Sent> {
        let there = self.streams.get(place)?;
        let stream = there.stream.as_mut()?;
        let Stage::Sending(sending) = &mut stream.stage else { return None };
        if sending.piece.is_empty() {
            let mut cx = Context::from_waker(&there.waker);
            match Pin::new(&mut sending.body).poll_frame(&mut cx) {
                Poll::Pending => return Some(Sent::Nothing),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => {
                        if !sending.take(piece) {
                            return Some(Sent::Broken(Code::Internal));
                        }
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Some(self.send_trailers(place, &trailers));
                    }
                },
                Poll::Ready(Some(Err(error))) => return Some(Sent::Broken(code_of(&error))),
                Poll::Ready(None) if sending.is_short() => {
                    return Some(Sent::Broken(Code::Internal));
                }
                Poll::Ready(None) => {
                    frame::push_head(
                        &mut self.link.out,
                        0,
                        kind::DATA,
                        flag::END_STREAM,
                        stream.id,
                    );
                    return Some(Sent::All);
                }
            }
        }
        let open = self.link.window.min(stream.window).clamp(0, FRAME_MAX as i64) as usize;
        let length = sending.piece.len().min(open);
        let last = length == sending.piece.len() && sending.body.is_end_stream();
        if length == 0 && !sending.piece.is_empty() {
            return Some(Sent::Blocked);
        }
        if last && sending.is_short() {
            return Some(Sent::Broken(Code::Internal));
        }
        if length == 0 && !last {
            return Some(Sent::Frame);
        }
        let flags = if last { flag::END_STREAM } else { 0 };
        let out = &mut self.link.out;
        out.reserve(frame::HEAD + length);
        frame::push_head(out, length, kind::DATA, flags, stream.id);
        out.extend_from_slice(sending.piece.get(..length).unwrap_or_default());
        sending.piece.advance(length);
        self.link.window -= length as i64;
        stream.window -= length as i64;
        self.link.patience.useful();
        self.link.has_sent = true;
        Some(if last { Sent::All } else { Sent::Frame })
    }

    fn send_trailers(&mut self, place: usize, trailers: &HeaderMap) -> Sent {
        let stream = self.streams.get(place).and_then(|place| place.stream.as_ref());
        let Some(stream) = stream else { return Sent::Nothing };
        let is_short = matches!(&stream.stage, Stage::Sending(sending) if sending.is_short());
        if is_short {
            return Sent::Broken(Code::Internal);
        }
        let (out, encoder) = (&mut self.link.out, &mut self.link.encoder);
        answer::push_trailers(out, encoder, stream.id, trailers);
        Sent::All
    }

    /// Ends a stream whose answer is out. What the client still sends of its request is not wanted.
    fn finish(&mut self, place: usize) {
        let Some(stream) = self.streams.get(place).and_then(|place| place.stream.as_ref()) else {
            return;
        };
        let (id, is_open) = (stream.id, stream.is_open());
        drop(self.streams.close(place));
        match is_open {
            true => self.link.reset(id, Code::None),
            false => self.link.remember(id, false),
        }
        self.link.moved();
    }
}

/// Tells why an answer breaks off: as its upstream did, if that spoke HTTP/2.
fn code_of(error: &BoxError) -> Code {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return match h2.reason() {
                Some(h2::Reason::CANCEL) => Code::Cancel,
                Some(h2::Reason::REFUSED_STREAM) => Code::RefusedStream,
                _ => Code::Internal,
            };
        }
        cause = error.source();
    }
    Code::Internal
}
