//! Reading HTTP/1.1 responses from bytes as they come, without I/O.

use anyhow::{Context as _, bail};

/// Largest response head accepted, and longest chunk-size line.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How much of a body is kept, for error messages.
const BODY_KEPT_MAX: usize = 2 * 1024;

/// Reads one response after another; bodies are counted, and only their beginning is kept.
pub(crate) struct ResponseReader {
    /// How much of a body is kept.
    kept_max: usize,
    state: State,
    /// Bytes of a head or of a chunk-size line that is not complete yet.
    pending: Vec<u8>,
    status: u16,
    closes: bool,
    etag: Option<String>,
    body: Vec<u8>,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The server ends the connection after this response.
    pub(crate) closes: bool,
    /// What `ETag` says, without its quotes.
    pub(crate) etag: Option<String>,
    /// The beginning of the body.
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Copy)]
enum State {
    Head,
    /// So many bytes of a body with a known length are still to come.
    Body(usize),
    ChunkSize,
    /// The rest of a chunk, with its line end.
    Chunk(usize),
    /// Lines after the last chunk, up to an empty one.
    Trailers,
}

impl Default for ResponseReader {
    fn default() -> Self {
        Self::keeping(BODY_KEPT_MAX)
    }
}

impl ResponseReader {
    /// Makes a reader that keeps so many bytes of a body.
    pub(crate) fn keeping(kept_max: usize) -> Self {
        let (state, pending, body) = (State::Head, Vec::new(), Vec::new());
        Self { kept_max, state, pending, status: 0, closes: false, etag: None, body }
    }

    /// Takes the next bytes and returns the response that they complete, if they do. Nothing may
    /// follow it: one request is under way at a time.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> anyhow::Result<Option<Response>> {
        while !bytes.is_empty() {
            let (rest, done) = self.step(bytes)?;
            bytes = rest;
            if done {
                anyhow::ensure!(bytes.is_empty(), "bytes follow the response");
                self.state = State::Head;
                let body = std::mem::take(&mut self.body);
                let (status, closes, etag) = (self.status, self.closes, self.etag.take());
                return Ok(Some(Response { status, closes, etag, body }));
            }
        }
        Ok(None)
    }

    fn step<'b>(&mut self, bytes: &'b [u8]) -> anyhow::Result<(&'b [u8], bool)> {
        match self.state {
            State::Head => self.head(bytes),
            State::Body(left) => {
                let taken = left.min(bytes.len());
                self.keep(&bytes[..taken]);
                self.state = State::Body(left - taken);
                Ok((&bytes[taken..], taken == left))
            }
            State::ChunkSize => {
                let (rest, Some(line)) = self.line(bytes)? else { return Ok((&[], false)) };
                let digits = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(digits, 16).context("bad chunk size")?;
                self.state = if size == 0 { State::Trailers } else { State::Chunk(size + 2) };
                Ok((rest, false))
            }
            State::Chunk(left) => {
                let taken = left.min(bytes.len());
                self.keep(&bytes[..taken.min(left.saturating_sub(2))]);
                self.state =
                    if taken == left { State::ChunkSize } else { State::Chunk(left - taken) };
                Ok((&bytes[taken..], false))
            }
            State::Trailers => {
                let (rest, line) = self.line(bytes)?;
                Ok((rest, line.is_some_and(|line| line.is_empty())))
            }
        }
    }

    fn head<'b>(&mut self, bytes: &'b [u8]) -> anyhow::Result<(&'b [u8], bool)> {
        let before = self.pending.len();
        // Nearly always the head arrives whole, and then no byte of it is copied.
        let whole = if before == 0 {
            bytes
        } else {
            self.pending.extend_from_slice(bytes);
            &self.pending
        };
        let Some(head) = parse_head(whole)? else {
            anyhow::ensure!(whole.len() <= HEAD_BYTES_MAX, "the response head is too large");
            if before == 0 {
                self.pending.extend_from_slice(bytes);
            }
            return Ok((&[], false));
        };
        let rest = &bytes[head.length.saturating_sub(before)..];
        self.pending.clear();
        if (100..200).contains(&head.status) {
            return Ok((rest, false));
        }
        self.status = head.status;
        self.closes = head.closes;
        self.etag = head.etag;
        self.state = head.body;
        Ok((rest, matches!(head.body, State::Body(0))))
    }

    /// Returns what follows the line, and the line without its end once it is complete.
    fn line<'b>(&mut self, bytes: &'b [u8]) -> anyhow::Result<(&'b [u8], Option<String>)> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            anyhow::ensure!(self.pending.len() <= HEAD_BYTES_MAX, "a line is too long");
            self.pending.extend_from_slice(bytes);
            return Ok((&[], None));
        };
        self.pending.extend_from_slice(&bytes[..end]);
        let line = String::from_utf8(std::mem::take(&mut self.pending)).context("bad line")?;
        Ok((&bytes[end + 1..], Some(line.trim_end().to_owned())))
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.kept_max.saturating_sub(self.body.len());
        self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

struct Head {
    status: u16,
    length: usize,
    body: State,
    closes: bool,
    etag: Option<String>,
}

fn parse_head(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes).context("bad response head")?
    else {
        return Ok(None);
    };
    let status = response.code.context("a response without a status")?;
    let bodyless = status == 204 || status == 304 || status < 200;
    let mut body = bodyless.then_some(State::Body(0));
    let (mut closes, mut etag) = (false, None);
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default();
        if header.name.eq_ignore_ascii_case("content-length") && !bodyless {
            body = Some(State::Body(value.trim().parse().context("bad Content-Length")?));
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") && !bodyless {
            body = Some(State::ChunkSize);
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        } else if header.name.eq_ignore_ascii_case("etag") {
            etag = Some(value.trim().trim_matches('"').to_owned());
        }
    }
    let Some(body) = body else {
        bail!("the response has neither Content-Length nor Transfer-Encoding")
    };
    Ok(Some(Head { status, length, body, closes, etag }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `size` and returns the statuses and bodies.
    fn read(bytes: &[u8], size: usize) -> Vec<(u16, String)> {
        let mut reader = ResponseReader::default();
        let mut responses = Vec::new();
        for piece in bytes.chunks(size) {
            if let Some(response) = reader.feed(piece).unwrap() {
                responses.push((response.status, String::from_utf8(response.body).unwrap()));
            }
        }
        responses
    }

    #[test]
    fn responses_are_read_whatever_the_pieces() {
        let sized = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunked =
            b"HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        for size in 1..=sized.len() {
            assert_eq!(read(sized, size), [(200, "hello".to_owned())], "pieces of {size}");
        }
        for size in 1..=chunked.len() {
            assert_eq!(read(chunked, size), [(404, "abcde".to_owned())], "pieces of {size}");
        }
    }

    #[test]
    fn an_empty_body_a_tag_and_a_close_are_seen() {
        let mut reader = ResponseReader::default();
        let bytes = b"HTTP/1.1 204 No Content\r\nETag: \"a\"\r\nConnection: close\r\n\r\n";
        let response = reader.feed(bytes).unwrap().unwrap();
        assert_eq!((response.status, response.closes), (204, true));
        assert_eq!(response.etag.as_deref(), Some("a"));
    }

    #[test]
    fn a_response_without_a_length_is_refused() {
        assert!(ResponseReader::default().feed(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
