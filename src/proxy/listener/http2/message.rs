//! Header blocks as messages: requests begin, or end with trailers.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use http::Method;
use http_body::Body as _;

use super::body::{Http2Body, Input};
use super::connection::Connection;
use super::frame::{Code, Fault};
use super::hpack::{CodingError, Sink};
use super::receive::code_of;
use super::request::{Asked, NoFields, RequestFields, TrailerFields, Unasked};
use super::streams::{Sending, Stage, Stream};
use crate::proxy::listener::body::ProxyBody;
use crate::proxy::listener::connection::ConnectionInfo;
use crate::proxy::listener::http1::Refusal;
use crate::proxy::listener::refusal::Refused;
use crate::proxy::listener::request::{ClientBody, ClientRequest};
use crate::proxy::listener::response::ClientResponse;
use crate::proxy::listener::serve::Working;

impl<H, F> Connection<H, F>
where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    /// Takes a whole header block; `ends` says that nothing follows it.
    pub(super) fn message(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Fault> {
        if id <= self.link.last {
            return match self.streams.find(id) {
                Some(place) => self.trailers(id, place, ends, block),
                None => {
                    self.decode(block, &mut NoFields)?;
                    let fault = Fault::Connection(self.link.fault_of(id));
                    if self.link.ignores(id) { Ok(()) } else { Err(fault) }
                }
            };
        }
        self.link.last = id;
        self.link.moved();
        if self.link.is_late(id) {
            self.decode(block, &mut NoFields)?;
            return self.link.patience.empty();
        }
        if self.streams.count() >= self.core.limits.h2_streams_max as usize {
            self.decode(block, &mut NoFields)?;
            self.link.reset(id, Code::RefusedStream);
            return self.link.patience.empty();
        }
        self.link.patience.useful();
        let mut fields = RequestFields::new(self.core.limits.h2_header_list_max);
        self.decode(block, &mut fields)?;
        match fields.finish(ends) {
            Ok(asked) => self.begin(id, ends, asked),
            Err(Unasked::Refused(refusal, line)) => self.refuse(id, ends, refusal, &line),
            Err(Unasked::Malformed) => return Err(Fault::Stream(id, Code::Protocol)),
        }
        Ok(())
    }

    fn decode(&mut self, block: &[u8], sink: &mut impl Sink) -> Result<(), Fault> {
        let lost = |CodingError| Fault::Connection(Code::Compression);
        self.link.decoder.decode(block, sink).map_err(lost)
    }

    /// Ends the body of a request.
    fn trailers(&mut self, id: u32, place: usize, ends: bool, block: &[u8]) -> Result<(), Fault> {
        let mut fields = TrailerFields::new(self.core.limits.h2_header_list_max);
        self.decode(block, &mut fields)?;
        let stream = self.streams.get(place).and_then(|place| place.stream.as_ref());
        let input = stream.and_then(|stream| stream.input.as_ref());
        let Some(input) = input.filter(|input| input.borrow().is_open()) else {
            return Err(Fault::Stream(id, Code::StreamClosed));
        };
        let trailers = fields.finish().filter(|_| ends);
        let trailers = trailers.ok_or(Fault::Stream(id, Code::Protocol))?;
        input.borrow_mut().end(Some(trailers)).map_err(|fault| Fault::Stream(id, code_of(fault)))
    }

    /// Gives a request to the handler, which is polled in the next turn.
    fn begin(&mut self, id: u32, ends: bool, asked: Asked) {
        let place = self.streams.vacant();
        let input = self.input(place, ends, asked.length, asked.expects_continue);
        let body = match &input {
            None => ClientBody::Empty,
            Some(input) => {
                let limit = (!asked.is_call).then_some(self.core.limits.body_timeout);
                ClientBody::Http2(Http2Body::new(input.clone(), limit))
            }
        };
        let head_only = asked.head.method == Method::HEAD;
        let working = Working::begin(self.core.clone());
        let request = ClientRequest::http2(asked.head, body);
        // Some kilobytes large: boxed here, it is not copied on its way.
        let work = Box::pin((self.handler)(request, self.info.clone()));
        let stream = Stream {
            id,
            stage: Stage::Working(work),
            input,
            window: self.link.stream_window,
            is_blocked: false,
            head_only,
            _working: working,
        };
        self.streams.open(place, stream);
    }

    /// Answers what is not served, and tells of it.
    fn refuse(&mut self, id: u32, ends: bool, refusal: Refusal, line: &[u8]) {
        let place = self.streams.vacant();
        let stream = Stream {
            id,
            stage: Stage::Sending(Sending::new(ProxyBody::Empty, None)),
            input: self.input(place, ends, None, false),
            window: self.link.stream_window,
            is_blocked: false,
            head_only: false,
            _working: Working::begin(self.core.clone()),
        };
        self.streams.open(place, stream);
        let response = refusal.response();
        let (status, bytes_sent) = (response.status, response.body.size_hint().lower());
        let peer = self.info.connection.peer;
        self.core.refusals.tell(&Refused { peer, line, status, bytes_sent });
        self.answer(place, response);
    }

    /// Makes room for a body, if one follows.
    fn input(
        &self,
        place: usize,
        ends: bool,
        length: Option<u64>,
        expects_continue: bool,
    ) -> Option<Rc<RefCell<Input>>> {
        let waker = self.streams.waker(place).filter(|_| !ends)?.clone();
        let read_of_all = self.link.read_of_all.clone();
        Some(Rc::new(RefCell::new(Input::new(length, expects_continue, read_of_all, waker))))
    }
}
