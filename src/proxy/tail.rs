//! The tail of an exchange: its body passes the filters, and when it is over it is logged.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};

use super::access::Entry;
use super::debug::{self, Phase};
use super::handler::{Core, caller};
use super::listener::ProxyBody;
use super::upstream::BoxError;
use crate::headers::Headers;
use crate::plugins::exchange::{Exchange, ResponseHead};
use crate::plugins::{Phases, Scope};
use crate::runtime::{Chain, Held, Runtime};

/// What is needed until the last byte has gone.
pub(super) struct Tail {
    core: Rc<Core>,
    runtime: Held,
    slot: Option<usize>,
    exchange: Box<Exchange>,
    bytes_sent: u64,
}

impl Tail {
    pub(super) fn new(
        core: Rc<Core>,
        runtime: Held,
        slot: Option<usize>,
        exchange: Box<Exchange>,
    ) -> Self {
        Self { core, runtime, slot, exchange, bytes_sent: 0 }
    }

    fn filter(&mut self, piece: &mut Bytes, last: bool) {
        let (chain, scope) = surroundings(&self.runtime, self.slot);
        let exchange = &mut *self.exchange;
        debug::turn_to(exchange, Phase::BodyFilter);
        for slot in chain.in_phase(Phases::BODY_FILTER) {
            if let Some(plugin) = slot.select(caller(exchange)) {
                let phase = Phases::BODY_FILTER;
                let timed = debug::enter_plugin(exchange, &self.runtime, scope, plugin, phase);
                plugin.body_filter(exchange, scope, piece, last);
                if timed {
                    debug::leave_plugin(exchange);
                }
            }
        }
        debug::leave_all(exchange);
    }
}

/// Returns the chain and scope of a route, or those of requests without one.
fn surroundings(runtime: &Runtime, slot: Option<usize>) -> (&Chain, Scope<'_>) {
    let destination = slot.and_then(|slot| runtime.destination(slot));
    let service = destination.and_then(|destination| destination.service.as_ref());
    let scope = Scope {
        directory: &runtime.directory,
        route: destination.map(|destination| &*destination.route),
        service: service.map(|target| &target.service),
    };
    (destination.map_or(&runtime.global, |destination| &destination.chain), scope)
}

impl Drop for Tail {
    /// The exchange is over, whether its body was sent whole or the client has gone.
    fn drop(&mut self) {
        log(&self.core, &self.runtime, self.slot, &mut self.exchange, self.bytes_sent);
    }
}

/// Runs the last phase of an exchange and writes its line.
fn log(
    core: &Core,
    runtime: &Runtime,
    slot: Option<usize>,
    exchange: &mut Exchange,
    bytes_sent: u64,
) {
    let (chain, scope) = surroundings(runtime, slot);
    debug::ended(exchange);
    for slot in chain.in_phase(Phases::LOG) {
        if let Some(plugin) = slot.select(caller(exchange)) {
            let timed = debug::enter_plugin(exchange, runtime, scope, plugin, Phases::LOG);
            plugin.log(exchange, scope);
            if timed {
                debug::leave_plugin(exchange);
            }
        }
    }
    if let Some(timing) = exchange.timing.take() {
        debug::log(*timing);
    }
    if let Some(lines) = &core.access {
        let config_hash = &runtime.config_hash;
        lines.write(&Entry { exchange, scope, bytes_sent, config_hash });
    }
}

/// What nginx logs a request with whose client left before there was an answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// An exchange whose answer is awaited. Dropped before the end, it was given up by its client, which is
/// logged (reference gateway-3, section D.3).
pub(super) struct Awaited<'a> {
    core: &'a Core,
    runtime: &'a Runtime,
    slot: Option<usize>,
    exchange: &'a mut Exchange,
    answered: bool,
}

impl<'a> Awaited<'a> {
    pub(super) fn begin(
        core: &'a Core,
        runtime: &'a Runtime,
        slot: Option<usize>,
        exchange: &'a mut Exchange,
    ) -> Self {
        Self { core, runtime, slot, exchange, answered: false }
    }

    pub(super) fn exchange(&mut self) -> &mut Exchange {
        self.exchange
    }

    /// Tells that there is an answer.
    pub(super) fn end(mut self) {
        self.answered = true;
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        if let Ok(status) = StatusCode::from_u16(CLIENT_CLOSED_REQUEST) {
            self.exchange.response = Some(ResponseHead::own(status, Headers::new()).into());
        }
        log(self.core, self.runtime, self.slot, self.exchange, 0);
    }
}

/// A body that is filtered, counted and logged.
pub(super) struct Watched {
    inner: ProxyBody,
    tail: Tail,
    filters: bool,
    ended: bool,
}

impl Watched {
    pub(super) fn new(inner: ProxyBody, tail: Tail, filters: bool) -> Self {
        Self { inner, tail, filters, ended: false }
    }

    /// Gives the filters the end of the body, which may bring out a last piece.
    fn end(&mut self) -> Option<Bytes> {
        self.ended = true;
        if !self.filters {
            return None;
        }
        let mut piece = Bytes::new();
        self.tail.filter(&mut piece, true);
        (!piece.is_empty()).then_some(piece)
    }

    fn count(&mut self, piece: Bytes) -> Frame<Bytes> {
        self.tail.bytes_sent += piece.len() as u64;
        Frame::data(piece)
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(context)?) else {
            let last = this.end();
            return Poll::Ready(last.map(|piece| Ok(this.count(piece))));
        };
        match frame.into_data() {
            Ok(mut piece) => {
                if this.filters {
                    this.tail.filter(&mut piece, false);
                }
                Poll::Ready(Some(Ok(this.count(piece))))
            }
            Err(trailers) => Poll::Ready(Some(Ok(trailers))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (!self.filters && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.filters { SizeHint::default() } else { self.inner.size_hint() }
    }
}
