//! Answers on their way out: head and body in as few writes as there are receives to fill them.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use tokio::io::AsyncWrite as _;

use super::wire::Wire;
use crate::headers::{push_line, push_title};
use crate::proxy::listener::body::ProxyBody;
use crate::proxy::listener::response::ClientResponse;
use crate::proxy::listener::serve::Core;

/// Pieces of at most this many bytes are copied behind the head: one plain write is cheaper than a
/// gathering one.
const COPY_MAX: usize = 4096;

/// What the form of an answer depends on.
pub(super) struct Asked {
    /// Whether the request was HEAD.
    pub(super) head_only: bool,
    /// Whether it came by HTTP/1.1.
    pub(super) http11: bool,
    /// Whether trailers may follow.
    pub(super) trailers: bool,
    /// Whether the connection goes on after the answer.
    pub(super) keep_alive: bool,
}

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// An answer that is being sent.
pub(super) struct Answer {
    /// Head, chunk marks, small pieces.
    before: Vec<u8>,
    written: usize,
    /// A piece that is too large to copy.
    frame: Bytes,
    after: &'static [u8],
    body: Option<ProxyBody>,
    /// Why the body broke off; told once what came before it has been sent.
    failed: Option<io::Error>,
    framing: Framing,
    trailers: bool,
    unflushed: bool,
    /// Whether the connection can be used again.
    pub(super) keep_alive: bool,
}

impl Answer {
    /// Writes the head.
    pub(super) fn new(core: &Core, response: Box<ClientResponse>, asked: &Asked) -> Self {
        let ClientResponse { status, reason, raw, headers, additions, body } = *response;
        let mut bytes = core.buffers.take();
        push_status(&mut bytes, status, reason.as_deref());
        let mut seen = Seen::default();
        if let Some(raw) = raw {
            let layout = raw.layout();
            (seen.date, seen.length) = (layout.has_date, layout.content_length);
            raw.pieces().for_each(|lines| bytes.extend_from_slice(lines));
        }
        for (name, value) in &headers {
            if seen.passes(name.as_str(), value.as_bytes()) {
                push_title(&mut bytes, name.as_str().as_bytes());
                push_line(&mut bytes, b": ", value.as_bytes());
            }
        }
        additions.for_each(|name, value| {
            value.lend(|value, _| push_line(&mut bytes, name.start, value));
        });
        let switched = status == StatusCode::SWITCHING_PROTOCOLS;
        let bodiless = asked.head_only
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let framing = framing(&body, asked, seen.length, bodiless);
        match framing {
            Framing::None if bodiless && !asked.head_only && status != StatusCode::NOT_MODIFIED => {
            }
            Framing::None | Framing::Length(_) => {
                let length = match (seen.length, framing) {
                    (_, Framing::Length(length)) => Some(length),
                    (told, _) => told.or_else(|| body.size_hint().exact().filter(|_| !bodiless)),
                };
                if let Some(length) = length {
                    let mut digits = itoa::Buffer::new();
                    push_line(&mut bytes, b"Content-Length: ", digits.format(length).as_bytes());
                }
            }
            Framing::Chunked => push_line(&mut bytes, b"Transfer-Encoding: ", b"chunked"),
            Framing::UntilClose => {}
        }
        let keep_alive = asked.keep_alive && !seen.close && framing != Framing::UntilClose;
        if !switched && !keep_alive {
            push_line(&mut bytes, b"Connection: ", b"close");
        } else if !switched && !asked.http11 {
            push_line(&mut bytes, b"Connection: ", b"keep-alive");
        }
        if !seen.date {
            push_line(&mut bytes, b"Date: ", core.date.borrow_mut().text());
        }
        bytes.extend_from_slice(b"\r\n");
        Self {
            before: bytes,
            written: 0,
            frame: Bytes::new(),
            after: b"",
            body: (framing != Framing::None).then_some(body),
            failed: None,
            framing,
            trailers: asked.trailers,
            unflushed: false,
            keep_alive,
        }
    }

    /// Sends the answer to its end; an error means that the connection is of no use any more. A
    /// client whose answer breaks off gets what there is of it: one that got nothing might take
    /// the connection for a stale one, and ask again.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wire: &RefCell<Wire>,
    ) -> Poll<io::Result<()>> {
        loop {
            let waits = match self.poll_gather(cx) {
                Poll::Pending => true,
                Poll::Ready(gathered) => {
                    if let Err(error) = gathered {
                        self.body = None;
                        self.failed = Some(error);
                    }
                    false
                }
            };
            let mut wire = wire.borrow_mut();
            ready!(self.poll_write(cx, &mut wire))?;
            if waits {
                ready!(wire.poll_gone(cx));
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            if self.body.is_none() {
                return Poll::Ready(self.failed.take().map_or(Ok(()), Err));
            }
        }
    }

    /// Takes pieces of the body until there is enough for a write, or nothing more.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.frame.is_empty() && self.after.is_empty() && self.before.len() < 2 * COPY_MAX {
            let Some(body) = &mut self.body else { break };
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let last = body.is_end_stream();
                        self.push(data)?;
                        if last {
                            self.end(None)?;
                        }
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok();
                        self.end(trailers.as_ref())?;
                    }
                },
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => self.end(None)?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn push(&mut self, data: Bytes) -> io::Result<()> {
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
            }
            Framing::Chunked if !data.is_empty() => {
                push_hex(&mut self.before, data.len());
                self.after = b"\r\n";
            }
            Framing::Chunked | Framing::UntilClose | Framing::None => {}
        }
        if data.len() > COPY_MAX {
            self.frame = data;
        } else {
            self.before.extend_from_slice(&data);
            self.before.extend_from_slice(self.after);
            self.after = b"";
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()> {
        self.body = None;
        match self.framing {
            Framing::Length(left) if left > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Framing::Chunked => {
                // Behind a piece that was not copied, the last chunk follows it in the same write.
                if !self.after.is_empty() && trailers.is_none() {
                    self.after = b"\r\n0\r\n\r\n";
                    return Ok(());
                }
                let last = trailers.filter(|_| self.trailers);
                crate::proxy::upstream::push_last_chunk(&mut self.before, last);
            }
            Framing::Length(_) | Framing::UntilClose | Framing::None => {}
        }
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<io::Result<()>> {
        while self.written < self.before.len() || !self.frame.is_empty() || !self.after.is_empty() {
            let before = self.before.get(self.written..).unwrap_or_default();
            let stream = Pin::new(&mut wire.stream);
            let length = if self.frame.is_empty() && self.after.is_empty() {
                ready!(stream.poll_write(cx, before))?
            } else {
                let slices =
                    [IoSlice::new(before), IoSlice::new(&self.frame), IoSlice::new(self.after)];
                ready!(stream.poll_write_vectored(cx, &slices))?
            };
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(length);
        }
        self.before.clear();
        self.written = 0;
        if self.unflushed {
            ready!(Pin::new(&mut wire.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, length: usize) {
        let of_before = length.min(self.before.len() - self.written);
        self.written += of_before;
        let of_frame = (length - of_before).min(self.frame.len());
        self.frame.advance(of_frame);
        let of_after = (length - of_before - of_frame).min(self.after.len());
        self.after = self.after.get(of_after..).unwrap_or_default();
    }

    /// Gives the buffer back for the next answer.
    pub(super) fn finish(self, core: &Core) {
        core.buffers.give(self.before);
    }
}

fn framing(body: &ProxyBody, asked: &Asked, told: Option<u64>, bodiless: bool) -> Framing {
    if bodiless {
        return Framing::None;
    }
    match body.size_hint().exact().or(told) {
        Some(0) if body.is_end_stream() => Framing::None,
        Some(length) => Framing::Length(length),
        None if asked.http11 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

/// The headers of an answer that this connection decides on.
#[derive(Default)]
struct Seen {
    length: Option<u64>,
    date: bool,
    close: bool,
}

impl Seen {
    /// Returns whether a header is written as it is.
    fn passes(&mut self, name: &str, value: &[u8]) -> bool {
        match name {
            "date" => self.date = true,
            "content-length" => {
                let told = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.length = self.length.or(told);
                return false;
            }
            "transfer-encoding" => return false,
            "connection" if value.eq_ignore_ascii_case(b"close") => {
                self.close = true;
                return false;
            }
            _ => {}
        }
        true
    }
}

/// Writes the first line.
fn push_status(bytes: &mut Vec<u8>, status: StatusCode, reason: Option<&[u8]>) {
    if status == StatusCode::OK && reason.is_none() {
        bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    let usual = || status.canonical_reason().unwrap_or_default().as_bytes();
    push_line(bytes, b" ", reason.unwrap_or_else(usual));
}

fn push_hex(bytes: &mut Vec<u8>, length: usize) {
    use std::io::Write as _;
    let wrote = write!(bytes, "{length:x}\r\n");
    debug_assert!(wrote.is_ok(), "writing to memory cannot fail");
}
