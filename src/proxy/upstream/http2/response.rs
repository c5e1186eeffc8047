//! An answer as it comes out of an HTTP/2 stream.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::link::Ticket;
use super::request::Lent;
use crate::proxy::upstream::error::{Step, UpstreamError, UpstreamErrorKind};
use crate::proxy::upstream::timer::LazyTimer;

/// A body with its trailers; dropped before its end, it ends the stream and not the connection.
pub(in crate::proxy::upstream) struct Http2Body {
    incoming: Incoming,
    /// The request that may still be on its way.
    lent: Rc<Lent>,
    timer: LazyTimer,
    read_limit: Duration,
    // Dropped last: the place is free when the stream has ended.
    _ticket: Ticket,
}

impl std::fmt::Debug for Http2Body {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Http2Body").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

impl Http2Body {
    pub(in crate::proxy::upstream) fn new(
        incoming: Incoming,
        lent: Rc<Lent>,
        read_limit: Duration,
        ticket: Ticket,
    ) -> Self {
        let timer = LazyTimer::default();
        Self { incoming, lent, timer, read_limit, _ticket: ticket }
    }

    pub(in crate::proxy::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            ready!(self.timer.poll_until(cx, self.lent.progress() + self.read_limit));
            let late = UpstreamErrorKind::Timeout(Step::Read);
            return Poll::Ready(Some(Err(UpstreamError::new(late, true))));
        };
        self.lent.note();
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| UpstreamError::caused(UpstreamErrorKind::Closed, true, error))
        }))
    }

    pub(in crate::proxy::upstream) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(in crate::proxy::upstream) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
