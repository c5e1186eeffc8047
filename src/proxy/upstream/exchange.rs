//! One try: the request goes out while the response head is awaited, on one connection.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::connection::Connection;
use super::error::{BoxError, Step, UpstreamError, UpstreamErrorKind};
use super::head::{RequestFraming, UpstreamHead};
use super::outgoing::Outgoing;
use super::peer::Timeouts;
use super::request::LentBody;
use super::response::{HEAD_MAX, ResponseHead, take_head};
use super::timer::{LazyTimer, TimerSlot};
use crate::proxy::received::Inbox;

/// How long a client may be silent in the middle of its body (nginx `client_body_timeout`).
const CLIENT_BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Interim responses after which an upstream is held to be broken.
const INTERIM_MAX: u32 = 32;

/// The state of one try.
pub(super) struct Exchange<'a> {
    connection: Box<Connection>,
    /// Whether any byte of a response came; after that nothing may be tried again.
    pub(super) received: bool,
    body: LentBody<'a>,
    timeouts: Timeouts,
    timer: LazyTimer,
    timers: &'a TimerSlot,
    inbox: &'a RefCell<Inbox>,
    outgoing: Outgoing<'a>,
    framing: RequestFraming,
    body_done: bool,
    sent: bool,
    /// How much had gone on this connection before.
    gone_before: u64,
    write_error: Option<io::Error>,
    answers_head: bool,
    upgrade: bool,
    interims: u32,
    scanned: usize,
}

/// What the sending half waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Answer,
    Upstream,
    Client,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        mut connection: Box<Connection>,
        head: &'a mut UpstreamHead,
        mut body: LentBody<'a>,
        timeouts: Timeouts,
        timers: &'a TimerSlot,
        inbox: &'a RefCell<Inbox>,
    ) -> Self {
        connection.requests += 1;
        let framing = body.framing();
        head.seal(framing);
        let (answers_head, upgrade) = (head.is_head_only(), head.asks_upgrade());
        let mut outgoing = Outgoing::new(head.as_bytes());
        let bytes = body.take_bytes();
        let streamed = bytes.is_empty() && framing != RequestFraming::Length(0);
        outgoing.push_plain(bytes);
        let gone_before = connection.stream.gone();
        Self {
            connection,
            received: false,
            body,
            timeouts,
            timer: timers.take(),
            timers,
            inbox,
            outgoing,
            framing,
            body_done: !streamed,
            sent: false,
            gone_before,
            write_error: None,
            answers_head,
            upgrade,
            interims: 0,
            scanned: 0,
        }
    }

    /// Drives the try to the final response head.
    pub(super) async fn run(&mut self) -> Result<ResponseHead, UpstreamError> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Returns the connection, and the timer to where it was taken from.
    pub(super) fn into_connection(mut self) -> Box<Connection> {
        self.timer.clear();
        self.timers.put(self.timer);
        self.connection
    }

    /// Returns whether the whole request left, so that the connection is in step.
    pub(super) fn is_request_complete(&self) -> bool {
        self.body_done && self.outgoing.is_empty() && self.write_error.is_none()
    }

    /// Returns whether any of the request may have reached the upstream. If not, none of it will.
    fn has_sent(&self) -> bool {
        let stream = &self.connection.stream;
        let has_gone = stream.gone() > self.gone_before;
        if !has_gone {
            stream.discard();
        }
        self.sent && has_gone
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, UpstreamError>> {
        let waiting = self.poll_send(cx)?;
        if let Poll::Ready(verdict) = self.poll_receive(cx) {
            return Poll::Ready(verdict);
        }
        let (limit, kind) = match waiting {
            Waiting::Answer => (self.timeouts.read(), UpstreamErrorKind::Timeout(Step::Read)),
            Waiting::Upstream => (self.timeouts.write(), UpstreamErrorKind::Timeout(Step::Send)),
            Waiting::Client => (CLIENT_BODY_TIMEOUT, UpstreamErrorKind::RequestBody),
        };
        ready!(self.timer.poll(cx, limit));
        Poll::Ready(Err(UpstreamError::new(kind, self.sent)))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<Waiting, UpstreamError> {
        while self.write_error.is_none() {
            let mut body_pending = false;
            if !self.body_done && self.outgoing.takes_frame() {
                body_pending = self.poll_body(cx)?.is_pending();
            }
            let mut progress = false;
            let stream = &mut self.connection.stream;
            let written = self.outgoing.poll_write(cx, stream, &mut progress);
            if progress {
                self.sent = true;
                self.timer.clear();
            }
            match written {
                Poll::Pending => return Ok(Waiting::Upstream),
                Poll::Ready(Ok(())) if self.body_done => break,
                Poll::Ready(Ok(())) if body_pending => return Ok(Waiting::Client),
                Poll::Ready(Ok(())) => {}
                // The upstream may have answered before it closed: the answer decides.
                Poll::Ready(Err(error)) => self.write_error = Some(error),
            }
        }
        Ok(Waiting::Answer)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, UpstreamError> {
        let Poll::Ready(frame) = self.body.poll_frame(cx) else {
            return Ok(Poll::Pending);
        };
        self.timer.clear();
        let frame = frame.transpose().map_err(|error| self.broken_body(error))?;
        let trailers = match frame.map(http_body::Frame::into_data) {
            Some(Ok(data)) => {
                self.push_data(data)?;
                return Ok(Poll::Ready(()));
            }
            Some(Err(frame)) => frame.into_trailers().ok(),
            None => None,
        };
        match self.framing {
            RequestFraming::Chunked => self.outgoing.push_end(trailers.as_ref()),
            RequestFraming::Length(0) => {}
            RequestFraming::Length(_) => {
                return Err(self.broken_body("it is shorter than announced".into()));
            }
        }
        self.body_done = true;
        Ok(Poll::Ready(()))
    }

    fn push_data(&mut self, data: bytes::Bytes) -> Result<(), UpstreamError> {
        match self.framing {
            RequestFraming::Chunked => self.outgoing.push_chunk(data),
            RequestFraming::Length(left) => {
                let Some(left) = left.checked_sub(data.len() as u64) else {
                    return Err(self.broken_body("it is longer than announced".into()));
                };
                self.framing = RequestFraming::Length(left);
                self.body_done = left == 0;
                self.outgoing.push_plain(data);
            }
        }
        Ok(())
    }

    fn broken_body(&self, error: BoxError) -> UpstreamError {
        UpstreamError::caused(UpstreamErrorKind::RequestBody, self.sent, error)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, UpstreamError>> {
        loop {
            if let Some(head) = self.take_final_head()? {
                return Poll::Ready(Ok(head));
            }
            match ready!(self.connection.poll_head(cx, self.inbox)) {
                Ok(0) => {
                    let error = self.write_error.take();
                    let error = error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Err(UpstreamError::closed(self.has_sent(), error)));
                }
                Ok(_) => {
                    self.timer.clear();
                    self.received = true;
                }
                Err(error) => {
                    return Poll::Ready(Err(UpstreamError::closed(self.has_sent(), error)));
                }
            }
        }
    }

    /// Takes the head of the final response off the buffer, past any interim ones.
    fn take_final_head(&mut self) -> Result<Option<ResponseHead>, UpstreamError> {
        while self.may_hold_head() {
            let bad = |error: BoxError| {
                UpstreamError::caused(UpstreamErrorKind::BadResponse, self.sent, error)
            };
            let connection = &mut *self.connection;
            let head = take_head(&mut connection.buffer, &mut connection.spans, self.answers_head)
                .map_err(|error| bad(error.into()))?;
            let Some(head) = head else {
                self.scanned = self.connection.buffer.len();
                return Ok(None);
            };
            self.scanned = 0;
            if !head.answer.status.is_informational() {
                return Ok(Some(head));
            }
            if head.answer.status == http::StatusCode::SWITCHING_PROTOCOLS {
                if self.upgrade {
                    return Ok(Some(head));
                }
                return Err(bad("it switches protocols unasked".into()));
            }
            self.interims += 1;
            if self.interims > INTERIM_MAX {
                return Err(bad("too many interim responses".into()));
            }
        }
        Ok(None)
    }

    /// Returns whether parsing is worth a try: always at first, then only when an empty line came,
    /// so that a head that drips in byte by byte is not parsed once per byte.
    fn may_hold_head(&self) -> bool {
        let buffer = &self.connection.buffer;
        if self.scanned == 0 || buffer.len() >= HEAD_MAX {
            return !buffer.is_empty();
        }
        let fresh = buffer.get(self.scanned.saturating_sub(3)..).unwrap_or_default();
        fresh.windows(2).any(|pair| pair == b"\n\n") || fresh.windows(3).any(|end| end == b"\n\r\n")
    }
}
