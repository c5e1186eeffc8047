//! The body of a request: streamed, unless a plugin asks to see it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off")]
pub struct BodyError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A body that is read as it comes.
pub type BodyStream = Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>;

/// The body of a request.
pub enum RequestBody {
    /// There is none.
    Empty,
    /// It is in memory.
    Bytes(Bytes),
    /// It is still coming, after what was read of it.
    Stream {
        /// What was read.
        head: Bytes,
        /// The rest.
        rest: BodyStream,
    },
}

impl RequestBody {
    /// Wraps a body that is read as it comes.
    pub fn stream<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if body.is_end_stream() {
            return Self::Empty;
        }
        let rest = Box::pin(body.map_err(|error| BodyError(error.into())));
        Self::Stream { head: Bytes::new(), rest }
    }

    /// Reads the body into memory and returns it; nothing, and the body stays as it is, when it
    /// is longer than `bytes_max`.
    pub async fn buffer(&mut self, bytes_max: usize) -> Result<Option<Bytes>, BodyError> {
        let Self::Stream { head, rest } = self else {
            return Ok(match self {
                Self::Bytes(bytes) => (bytes.len() <= bytes_max).then(|| bytes.clone()),
                _ => Some(Bytes::new()),
            });
        };
        let mut read = BytesMut::from(std::mem::take(head));
        while read.len() <= bytes_max {
            match rest.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        if read.is_empty() && rest.is_end_stream() && data.len() <= bytes_max {
                            *self = Self::Bytes(data.clone());
                            return Ok(Some(data));
                        }
                        read.extend_from_slice(&data);
                    }
                }
                None => {
                    let whole = read.freeze();
                    *self = Self::Bytes(whole.clone());
                    return Ok((whole.len() <= bytes_max).then_some(whole));
                }
            }
        }
        *head = read.freeze();
        Ok(None)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Stream { head, .. } if !head.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(head)))))
            }
            Self::Stream { rest, .. } => Poll::Ready(ready!(rest.as_mut().poll_frame(context))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Stream { head, rest } => head.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream { head, rest } => {
                let mut hint = rest.size_hint();
                let ahead = head.len() as u64;
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper.saturating_add(ahead));
                }
                hint.set_lower(hint.lower().saturating_add(ahead));
                hint
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    fn stream(text: &'static str) -> RequestBody {
        RequestBody::stream(Full::new(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test]
    async fn a_short_body_is_read_and_still_sent() {
        let mut body = stream("hello");
        assert_eq!(body.buffer(5).await.unwrap().unwrap(), "hello");
        assert_eq!(body.buffer(5).await.unwrap().unwrap(), "hello");
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
    }

    #[tokio::test]
    async fn a_long_body_is_left_alone() {
        let mut body = stream("hello");
        assert_eq!(body.buffer(4).await.unwrap(), None);
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
        assert!(matches!(stream(""), RequestBody::Empty));
    }
}
