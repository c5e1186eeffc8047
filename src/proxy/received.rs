//! What was received, as parts of larger buffers. Where a message comes in one piece, as most do, a core
//! reads it into the same memory every time and copies it here: a buffer for each connection would have to be
//! fetched anew for each message, and push out what the kernel works with. And a buffer of its own for each
//! head costs two allocations, one for its bytes and one for the values that share them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

/// Size of a buffer, in bytes. It is freed with the last of its parts, so a part may hold as much of it.
const ROOM: usize = 4 * 1024;

/// The buffer of one core that is being filled.
#[derive(Debug, Default)]
pub(super) struct Received {
    filling: BytesMut,
}

impl Received {
    /// Copies what was received to a part of its own.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> BytesMut {
        if bytes.len() > ROOM {
            return BytesMut::from(bytes);
        }
        if self.filling.capacity() < bytes.len() {
            // The same memory, if none of its parts is left.
            self.filling.reserve(ROOM);
        }
        self.filling.extend_from_slice(bytes);
        self.filling.split()
    }
}

/// Room for one receive of a message whose length nobody knows yet, in bytes.
const SCRATCH: usize = 8 * 1024;

/// Where one core receives into.
#[derive(Debug)]
pub(super) struct Inbox {
    scratch: Box<[u8]>,
    received: Received,
}

impl Default for Inbox {
    fn default() -> Self {
        let scratch = vec![0; SCRATCH].into_boxed_slice();
        Self { scratch, received: Received::default() }
    }
}

impl Inbox {
    /// Receives once; nothing is the end of the stream.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<BytesMut>> {
        let mut buffer = ReadBuf::new(&mut self.scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(self.received.keep(buffer.filled())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_a_buffer_and_keep_what_they_hold() {
        let mut received = Received::default();
        let texts: Vec<String> = (0..50).map(|number| format!("{number:0>200}")).collect();
        let mut parts: Vec<BytesMut> =
            texts.iter().map(|text| received.keep(text.as_bytes())).collect();
        assert!(received.keep(&[7; ROOM + 1]).iter().all(|byte| *byte == 7));
        // One that grows does not grow into the next one.
        parts[3].extend_from_slice(b"more");
        assert_eq!(parts[3], format!("{}more", texts[3]));
        assert!(parts.iter().zip(&texts).all(|(part, text)| part.starts_with(text.as_bytes())));
        let of_first = parts[0].as_ptr() as usize;
        let in_first = |part: &BytesMut| (part.as_ptr() as usize).wrapping_sub(of_first) < ROOM;
        assert_eq!(parts.iter().filter(|part| in_first(part)).count(), ROOM / 200 - 1);
    }

    #[test]
    fn a_buffer_without_parts_is_used_again() {
        let mut received = Received::default();
        let first = received.keep(&[1; 100]).as_ptr();
        let again = (0..2 * ROOM / 100).filter(|_| received.keep(&[2; 100]).as_ptr() == first);
        assert!(again.count() > 0);
    }
}
