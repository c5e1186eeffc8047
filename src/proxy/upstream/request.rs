//! The request body on its way to an upstream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::error::BoxError;
use super::head::RequestFraming;

/// A request body. It is lent to a try, so that what is still whole can be sent again.
#[derive(Default)]
pub enum RequestBody {
    /// No body.
    #[default]
    None,
    /// A body in memory; may be sent any number of times.
    Bytes(Bytes),
    /// The client's body as it comes; whole until the first poll.
    Boxed(Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>),
    /// A stream of which a try has taken a part; it cannot be sent again.
    Spent,
}

impl RequestBody {
    /// Returns whether the body is still whole, so that another try can send it.
    pub fn is_replayable(&self) -> bool {
        !matches!(self, Self::Spent)
    }

    /// Takes the body for one try: a copy of bytes, or the stream itself.
    pub(super) fn lend(&mut self) -> LentBody<'_> {
        let bytes = match self {
            Self::Bytes(bytes) => bytes.clone(),
            _ => Bytes::new(),
        };
        LentBody { body: self, stream: None, bytes }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::None => "None",
            Self::Bytes(_) => "Bytes",
            Self::Boxed(_) => "Boxed",
            Self::Spent => "Spent",
        })
    }
}

/// A body during one try; the stream leaves its owner at the first poll.
pub(super) struct LentBody<'a> {
    body: &'a mut RequestBody,
    stream: Option<RequestBody>,
    bytes: Bytes,
}

impl LentBody<'_> {
    /// Returns how the end of this body is told on the wire.
    pub(super) fn framing(&self) -> RequestFraming {
        let exact = match &*self.body {
            RequestBody::Boxed(body) if body.is_end_stream() => Some(0),
            RequestBody::Boxed(body) => body.size_hint().exact(),
            RequestBody::None | RequestBody::Bytes(_) | RequestBody::Spent => {
                Some(self.bytes.len() as u64)
            }
        };
        exact.map_or(RequestFraming::Chunked, RequestFraming::Length)
    }

    /// Returns the whole body where it is in memory.
    pub(super) fn take_bytes(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes)
    }

    /// Polls the next frame of a streamed body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let streamed = matches!(self.body, RequestBody::Boxed(_));
        if self.stream.is_none() && streamed {
            self.stream = Some(std::mem::replace(self.body, RequestBody::Spent));
        }
        match &mut self.stream {
            Some(RequestBody::Boxed(body)) => body.as_mut().poll_frame(cx),
            _ => Poll::Ready(None),
        }
    }
}
