//! The chunked transfer coding, decoded from whatever pieces the network cuts.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// What the decoder found in the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Piece {
    /// Content of the body, never empty.
    Data(Bytes),
    /// The end, with the trailers (often none).
    End(HeaderMap),
    /// More bytes are needed.
    More,
}

/// The stream is not in the chunked coding, or exceeds a bound.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid chunked coding: {0}")]
pub(in crate::proxy) struct ChunkError(&'static str);

/// A decoder of one body; it takes what it needs from the buffer and leaves the rest.
#[derive(Debug)]
pub(in crate::proxy) struct ChunkDecoder {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Ended,
}

/// Longest line of size and extensions; longer ones are an attack on the reader's patience.
const SIZE_LINE_MAX: usize = 4096;
const TRAILERS_MAX: usize = 64;
const TRAILER_BYTES_MAX: usize = 16 * 1024;

impl ChunkDecoder {
    pub(in crate::proxy) fn new() -> Self {
        Self { state: State::Size }
    }

    /// Decodes the next piece from the front of `buffer`.
    pub(in crate::proxy) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Piece, ChunkError> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = take_line(buffer, SIZE_LINE_MAX)? else {
                        return Ok(Piece::More);
                    };
                    self.state = match parse_size(&line)? {
                        0 => State::Trailers,
                        size => State::Data(size),
                    };
                }
                State::Data(left) => return Ok(self.take_data(buffer, left)),
                State::DataEnd => match buffer.as_ref() {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok(Piece::More),
                    _ => return Err(ChunkError("a chunk is longer than its size")),
                },
                State::Trailers => return self.take_trailers(buffer),
                State::Ended => return Ok(Piece::End(HeaderMap::new())),
            }
        }
    }

    fn take_data(&mut self, buffer: &mut BytesMut, left: u64) -> Piece {
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return Piece::More;
        }
        let left = left - length as u64;
        self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
        Piece::Data(buffer.split_to(length).freeze())
    }

    fn take_trailers(&mut self, buffer: &mut BytesMut) -> Result<Piece, ChunkError> {
        if buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.state = State::Ended;
            return Ok(Piece::End(HeaderMap::new()));
        }
        let mut slots = [httparse::EMPTY_HEADER; TRAILERS_MAX];
        let parsed = httparse::parse_headers(buffer, &mut slots)
            .map_err(|_| ChunkError("a trailer is malformed"))?;
        let httparse::Status::Complete((length, fields)) = parsed else {
            let over = buffer.len() > TRAILER_BYTES_MAX;
            return if over { Err(ChunkError("trailers are too long")) } else { Ok(Piece::More) };
        };
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(ChunkError("a trailer is malformed"));
            };
            trailers.append(name, value);
        }
        if length > TRAILER_BYTES_MAX {
            return Err(ChunkError("trailers are too long"));
        }
        // The parser takes a lone line feed for the end of a line; other readers do not.
        let section = buffer.split_to(length);
        let is_lone = |at: usize| at.checked_sub(1).and_then(|at| section.get(at)) != Some(&b'\r');
        if memchr::memchr_iter(b'\n', &section).any(is_lone) {
            return Err(ChunkError("a trailer ends without a carriage return"));
        }
        self.state = State::Ended;
        Ok(Piece::End(trailers))
    }
}

/// Takes one line that ends in CRLF. A bare LF is refused: readers that disagree about it are
/// how responses are smuggled.
fn take_line(buffer: &mut BytesMut, length_max: usize) -> Result<Option<BytesMut>, ChunkError> {
    let Some(end) = buffer.iter().take(length_max).position(|&byte| byte == b'\n') else {
        let over = buffer.len() >= length_max;
        return if over { Err(ChunkError("a size line is too long")) } else { Ok(None) };
    };
    let mut line = buffer.split_to(end + 1);
    match line.as_ref() {
        [.., b'\r', b'\n'] => {
            line.truncate(end - 1);
            Ok(Some(line))
        }
        _ => Err(ChunkError("a size line ends without a carriage return")),
    }
}

fn parse_size(line: &[u8]) -> Result<u64, ChunkError> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at(end);
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut extension = rest.iter().skip_while(|byte| is_space(byte));
    if extension.next().is_some_and(|byte| *byte != b';') {
        return Err(ChunkError("a size is not hexadecimal"));
    }
    if rest.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(ChunkError("a chunk extension has a control character"));
    }
    if digits.is_empty() || digits.len() > 16 {
        return Err(ChunkError("a size is not hexadecimal"));
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(ChunkError("a size is not hexadecimal"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Body, trailers, and what follows.
    type Decoded = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// Feeds `wire` in pieces that end at the `cuts` and returns body, trailers and rest.
    fn decode(wire: &[u8], cuts: &[usize]) -> Result<Decoded, ChunkError> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (wire.len() + 1)).collect();
        cuts.push(wire.len());
        cuts.sort_unstable();
        let (mut decoder, mut buffer, mut body) =
            (ChunkDecoder::new(), BytesMut::new(), Vec::new());
        let (mut fed, mut trailers) = (0, None);
        for cut in cuts {
            buffer.extend_from_slice(&wire[fed..cut]);
            fed = cut;
            while trailers.is_none() {
                match decoder.decode(&mut buffer)? {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    Piece::End(found) => trailers = Some(found),
                    Piece::More => break,
                }
            }
        }
        Ok((body, trailers, buffer.to_vec()))
    }

    fn encode(chunks: &[Vec<u8>], trailers: &str) -> Vec<u8> {
        let mut wire = Vec::new();
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            wire.extend_from_slice(format!("{:x};e=\"1\"\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        wire
    }

    proptest! {
        #[test]
        fn any_split_decodes_to_the_same_body(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            with_trailers in any::<bool>(),
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
        ) {
            let trailers = if with_trailers { "X-Sum: 1\r\nx-sum: 2\r\n" } else { "" };
            let mut wire = encode(&chunks, trailers);
            wire.extend_from_slice(b"HTTP/1.1 next");
            let (body, found, rest) = decode(&wire, &cuts).unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(found.unwrap().len(), if with_trailers { 2 } else { 0 });
            prop_assert_eq!(rest, b"HTTP/1.1 next");
        }

        #[test]
        fn garbage_never_panics_and_splits_do_not_change_the_verdict(
            wire in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'3'), any::<u8>()], 0..60),
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
        ) {
            let whole = decode(&wire, &[]).map(|(body, trailers, _)| (body, trailers));
            let split = decode(&wire, &cuts).map(|(body, trailers, _)| (body, trailers));
            prop_assert_eq!(whole, split);
        }
    }

    #[test]
    fn ambiguous_codings_are_refused() {
        for wire in [
            "3\nabc\r\n0\r\n\r\n",
            "-3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "\r\nabc\r\n",
            "3\r\nabcd\r\n",
            "3 4\r\nabc\r\n",
            "10000000000000000\r\n",
            "0\r\nbad name: 1\r\n\r\n",
            "3\r\rabc\r\n",
            "3;a\0b\r\nabc\r\n",
            "3\x0c;a\r\nabc\r\n",
            "0\r\n\n",
            "0\r\nx: 1\ny: 2\r\n\r\n",
            "0\r\nx: 1\r\n\n",
        ] {
            let refused = decode(wire.as_bytes(), &[]);
            assert!(
                refused.is_err() || refused.as_ref().is_ok_and(|found| found.1.is_none()),
                "{wire:?} gave {refused:?}"
            );
        }
        assert!(decode(&[b'1'; SIZE_LINE_MAX + 1], &[]).is_err(), "endless size lines");
        let long = format!("0\r\nx: {}\r\n\r\n", "y".repeat(TRAILER_BYTES_MAX));
        assert!(decode(long.as_bytes(), &[]).is_err(), "long trailers");
    }
}
