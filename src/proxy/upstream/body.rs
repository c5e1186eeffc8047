//! The response body as it comes from the upstream, and the connection's way back to the pool.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::Connection;
use super::error::{Step, UpstreamError, UpstreamErrorKind};
use super::http2::{Http2Body, Lent, Ticket};
use super::pool::Home;
use super::response::ResponseFraming;
use crate::proxy::chunk::{ChunkDecoder, Piece};

/// A response body. Its connection goes back to the pool as soon as the last byte has been read;
/// dropped before that, it closes the connection.
#[derive(Debug, Default)]
pub struct UpstreamBody {
    ready: Bytes,
    live: Option<Source>,
}

/// Where more of a body comes from.
#[derive(Debug)]
enum Source {
    Http1(Box<Live>),
    Http2(Box<Http2Body>),
}

/// A body of which not everything has been received.
#[derive(Debug)]
struct Live {
    connection: Box<Connection>,
    state: State,
    read_limit: Duration,
    home: Option<Rc<Home>>,
}

#[derive(Debug)]
enum State {
    Length(u64),
    Chunked(ChunkDecoder),
    UntilClose,
}

impl UpstreamBody {
    /// Makes the body of a response whose head was just taken off `connection`. With a `home` the
    /// connection may be used again.
    pub(super) fn new(
        mut connection: Box<Connection>,
        framing: ResponseFraming,
        read_limit: Duration,
        home: Option<Rc<Home>>,
    ) -> Self {
        let state = match framing {
            ResponseFraming::Length(length) => {
                let received = connection.buffer.len() as u64;
                if received >= length {
                    let length = usize::try_from(length).unwrap_or(connection.buffer.len());
                    let ready = connection.buffer.split_to(length).freeze();
                    give_back(home, connection);
                    return Self { ready, live: None };
                }
                State::Length(length)
            }
            ResponseFraming::Chunked => State::Chunked(ChunkDecoder::new()),
            ResponseFraming::UntilClose => State::UntilClose,
        };
        let live = Live { connection, state, read_limit, home };
        Self { ready: Bytes::new(), live: Some(Source::Http1(Box::new(live))) }
    }

    /// Makes the body of an answer on a stream of HTTP/2.
    pub(super) fn http2(
        incoming: Incoming,
        lent: Rc<Lent>,
        read_limit: Duration,
        ticket: Ticket,
    ) -> Self {
        let live = (!incoming.is_end_stream())
            .then(|| Source::Http2(Box::new(Http2Body::new(incoming, lent, read_limit, ticket))));
        Self { ready: Bytes::new(), live }
    }

    /// Returns the whole body where it came together with the head.
    pub fn as_complete(&self) -> Option<&Bytes> {
        self.live.is_none().then_some(&self.ready)
    }
}

fn give_back(home: Option<Rc<Home>>, connection: Box<Connection>) {
    if let Some(home) = home
        && connection.buffer.is_empty()
    {
        home.give_back(connection);
    }
}

impl Live {
    /// Returns the next frame from what was received, `Ok(None)` when more must be read.
    fn next(&mut self) -> Result<Next, UpstreamError> {
        let buffer = &mut self.connection.buffer;
        match &mut self.state {
            State::Length(left) if !buffer.is_empty() => {
                let length =
                    usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                *left -= length as u64;
                let data = buffer.split_to(length).freeze();
                Ok(if *left == 0 { Next::Last(data) } else { Next::Data(data) })
            }
            State::UntilClose if !buffer.is_empty() => Ok(Next::Data(take_all(buffer))),
            State::Length(_) | State::UntilClose => Ok(Next::More),
            State::Chunked(decoder) => match decoder.decode(buffer) {
                Ok(Piece::Data(data)) => Ok(Next::Data(data)),
                Ok(Piece::End(trailers)) => Ok(Next::End(trailers)),
                Ok(Piece::More) => Ok(Next::More),
                Err(error) => {
                    Err(UpstreamError::caused(UpstreamErrorKind::BadResponse, true, error))
                }
            },
        }
    }

    /// Reads once more; `false` is the rightful end of a body that ends with its connection.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, UpstreamError>> {
        let expected = match self.state {
            State::Length(left) => left,
            State::Chunked(_) | State::UntilClose => u64::MAX,
        };
        match self.connection.poll_fill(cx, expected) {
            Poll::Ready(Ok(0)) if matches!(self.state, State::UntilClose) => Poll::Ready(Ok(false)),
            Poll::Ready(Ok(0)) => {
                let error = std::io::ErrorKind::UnexpectedEof.into();
                Poll::Ready(Err(UpstreamError::closed(true, error)))
            }
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(true)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(UpstreamError::closed(true, error))),
            Poll::Pending => {
                ready!(self.connection.timer.poll(cx, self.read_limit));
                let late = UpstreamErrorKind::Timeout(Step::Read);
                Poll::Ready(Err(UpstreamError::new(late, true)))
            }
        }
    }
}

/// What the received bytes hold.
enum Next {
    Data(Bytes),
    Last(Bytes),
    End(http::HeaderMap),
    More,
}

fn take_all(buffer: &mut BytesMut) -> Bytes {
    let length = buffer.len();
    buffer.split_to(length).freeze()
}

impl UpstreamBody {
    fn finish(&mut self) {
        if let Some(Source::Http1(live)) = self.live.take() {
            let Live { connection, home, .. } = *live;
            give_back(home, connection);
        }
    }

    fn poll_live(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        while let Some(source) = &mut self.live {
            let live = match source {
                Source::Http1(live) => live,
                Source::Http2(body) => {
                    let frame = ready!(body.poll_frame(cx));
                    if !matches!(frame, Some(Ok(_))) || body.is_end_stream() {
                        self.live = None;
                    }
                    return Poll::Ready(frame);
                }
            };
            match live.next() {
                Ok(Next::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Next::Last(data)) => {
                    self.finish();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Next::End(trailers)) => {
                    self.finish();
                    let frame = (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)));
                    return Poll::Ready(frame);
                }
                Ok(Next::More) => match ready!(live.poll_more(cx)) {
                    Ok(true) => {}
                    Ok(false) => self.live = None,
                    Err(error) => return self.fail(error),
                },
                Err(error) => return self.fail(error),
            }
        }
        Poll::Ready(None)
    }

    fn fail(&mut self, error: UpstreamError) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        self.live = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let this = self.get_mut();
        if !this.ready.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.ready)))));
        }
        this.poll_live(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.live.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.live {
            None => SizeHint::with_exact(self.ready.len() as u64),
            Some(Source::Http1(live)) => match live.state {
                State::Length(left) => SizeHint::with_exact(left),
                State::Chunked(_) | State::UntilClose => SizeHint::default(),
            },
            Some(Source::Http2(body)) => body.size_hint(),
        }
    }
}
