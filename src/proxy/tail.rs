//! The tail of an exchange: its body passes the filters, and when it is over it is logged.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use chrono::{DateTime, Local};
use http::header;
use http_body::{Body, Frame, SizeHint};

use super::handler::{Core, caller};
use super::listener::ProxyBody;
use super::upstream::BoxError;
use crate::plugins::exchange::Exchange;
use crate::plugins::{Phases, Scope};
use crate::runtime::{Chain, Runtime};

/// What is needed until the last byte has gone.
pub(super) struct Tail {
    core: Rc<Core>,
    runtime: Arc<Runtime>,
    slot: Option<usize>,
    exchange: Box<Exchange>,
    bytes_sent: u64,
}

impl Tail {
    pub(super) fn new(
        core: Rc<Core>,
        runtime: Arc<Runtime>,
        slot: Option<usize>,
        exchange: Box<Exchange>,
    ) -> Self {
        Self { core, runtime, slot, exchange, bytes_sent: 0 }
    }

    fn filter(&mut self, piece: &mut Bytes, last: bool) {
        let (chain, scope) = surroundings(&self.runtime, self.slot);
        for slot in chain.in_phase(Phases::BODY_FILTER) {
            if let Some(plugin) = slot.select(caller(&self.exchange)) {
                plugin.body_filter(&mut self.exchange, scope, piece, last);
            }
        }
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
        let (chain, scope) = surroundings(&self.runtime, self.slot);
        for slot in chain.in_phase(Phases::LOG) {
            if let Some(plugin) = slot.select(caller(&self.exchange)) {
                plugin.log(&self.exchange, scope);
            }
        }
        if let Some(log) = &self.core.settings.access_log {
            log.line(&access_line(&self.exchange, self.bytes_sent, &self.runtime));
        }
    }
}

/// Kong's line (nginx's combined format and the request id), with the config hash behind it.
fn access_line(exchange: &Exchange, bytes_sent: u64, runtime: &Runtime) -> Vec<u8> {
    use std::io::Write as _;
    let request = &exchange.request;
    let started = DateTime::from_timestamp_millis(exchange.times.started_ms).unwrap_or_default();
    let started = started.with_timezone(&Local).format("%d/%b/%Y:%H:%M:%S %z");
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    let status = exchange.response.as_ref().map_or(0, |head| head.status.as_u16());
    let text = |name| exchange.header(name).map_or_else(|| "-".to_owned(), escaped);
    let mut line = Vec::with_capacity(256);
    // Writing to memory cannot fail.
    let _ = write!(
        line,
        "{} - - [{started}] \"{} {} {:?}\" {status} {bytes_sent} \"{}\" \"{}\" \
         kong_request_id: \"{}\" config_hash: \"{}\"",
        exchange.forwarded.client,
        request.method,
        escaped(target),
        request.version,
        text(header::REFERER),
        text(header::USER_AGENT),
        exchange.id.as_str(),
        runtime.config_hash.short(),
    );
    line
}

/// Keeps a client's text from ending its field or line.
fn escaped(text: &str) -> String {
    if text.bytes().all(|byte| byte != b'"' && byte != b'\\' && !byte.is_ascii_control()) {
        return text.to_owned();
    }
    text.escape_default().to_string()
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
