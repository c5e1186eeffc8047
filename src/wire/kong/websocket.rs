//! Frames of a WebSocket as Kong's library reads and writes them: one frame a message, no
//! extensions, pings answered by whoever has the session (reference hybrid.md, section 4.1).
//!
//! A general library answers a ping by its payload and joins fragments; Kong's peers do neither.

use bytes::{Buf as _, Bytes, BytesMut};

/// The longest payload of a ping, pong or close frame, in bytes.
const CONTROL_LEN_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message of bytes.
    Binary(Bytes),
    /// A message of text, which this dialect has no use for.
    Text(Bytes),
    /// A ping; a data plane's holds the hash that it serves.
    Ping(Bytes),
    /// A pong; a control plane's is empty.
    Pong(Bytes),
    /// The end; Kong's has no status.
    Close,
}

/// Which end of a connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The control plane: what it reads is masked, what it writes is not.
    Server,
    /// The data plane: the other way round.
    Client,
}

/// Why bytes are no frame of this dialect; the first two texts are Kong's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The payload is longer than `cluster_max_payload`.
    #[error("exceeding max payload len")]
    TooLong,
    /// The message is in parts.
    #[error("again")]
    Fragmented,
    /// A reserved bit is set: an extension that nobody agreed on.
    #[error("bad RSV1, RSV2, or RSV3 bits")]
    Extension,
    /// The type is none that is known.
    #[error("bad opcode")]
    Opcode,
    /// A frame of a client is not masked, or one of a server is.
    #[error("bad mask bit")]
    Mask,
}

impl Frame {
    /// Returns the name of the type, as Kong logs it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Binary(_) => "binary",
            Self::Text(_) => "text",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::Close => "close",
        }
    }

    /// Takes a frame out of what was read; none while it is not whole. `len_max` bounds the payload.
    ///
    /// # Errors
    ///
    /// The bytes are no frame of this dialect.
    pub fn decode(
        buffer: &mut BytesMut,
        side: Side,
        len_max: usize,
    ) -> Result<Option<Self>, FrameError> {
        let &[first, second, ..] = &buffer[..] else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(FrameError::Extension);
        }
        let opcode = first & 0x0f;
        if first & FIN == 0 || opcode == 0 {
            return Err(FrameError::Fragmented);
        }
        if !matches!(opcode, 1 | 2 | 8..=10) {
            return Err(FrameError::Opcode);
        }
        if (second & MASKED != 0) != (side == Side::Server) {
            return Err(FrameError::Mask);
        }
        let Some((len, len_end)) = payload_len(second & !MASKED, &buffer[2..]) else {
            return Ok(None);
        };
        let is_control = opcode >= 8;
        if len > len_max as u64 || (is_control && len > CONTROL_LEN_MAX as u64) {
            return Err(FrameError::TooLong);
        }
        let len = usize::try_from(len).map_err(|_| FrameError::TooLong)?;
        let start = 2 + len_end + if side == Side::Server { 4 } else { 0 };
        if buffer.len() < start + len {
            return Ok(None);
        }
        let head = buffer.split_to(start);
        let mut payload = buffer.split_to(len);
        if side == Side::Server
            && let Some(mask) = head.last_chunk::<4>()
        {
            apply(*mask, &mut payload);
        }
        let payload = payload.freeze();
        Ok(Some(match opcode {
            1 => Self::Text(payload),
            2 => Self::Binary(payload),
            9 => Self::Ping(payload),
            10 => Self::Pong(payload),
            _ => Self::Close,
        }))
    }

    /// Returns the bytes before the payload, and the payload; `mask` is what a client masks with.
    pub fn encode(self, mask: Option<[u8; 4]>) -> (Vec<u8>, Bytes) {
        let (opcode, payload) = match self {
            Self::Text(payload) => (1, payload),
            Self::Binary(payload) => (2, payload),
            Self::Close => (8, Bytes::new()),
            Self::Ping(payload) => (9, payload),
            Self::Pong(payload) => (10, payload),
        };
        let mut head = vec![FIN | opcode];
        let masked = if mask.is_some() { MASKED } else { 0 };
        match payload.len() {
            len @ 0..=125 => head.push(masked | len as u8),
            len @ 126..=0xffff => {
                head.push(masked | 126);
                head.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                head.push(masked | 127);
                head.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        let Some(mask) = mask else { return (head, payload) };
        head.extend_from_slice(&mask);
        let mut payload = BytesMut::from(payload);
        apply(mask, &mut payload);
        (head, payload.freeze())
    }
}

/// Reads the length of a payload; returns with it how many bytes tell it after the second one.
fn payload_len(short: u8, mut rest: &[u8]) -> Option<(u64, usize)> {
    match short {
        126 => rest.try_get_u16().ok().map(|len| (u64::from(len), 2)),
        127 => rest.try_get_u64().ok().map(|len| (len, 8)),
        len => Some((u64::from(len), 0)),
    }
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    fn decode(bytes: &[u8], side: Side) -> Result<Option<Frame>, FrameError> {
        Frame::decode(&mut BytesMut::from(bytes), side, 1000)
    }

    #[test]
    fn frames_are_the_bytes_of_the_protocol() {
        let pong = Frame::Pong(Bytes::new()).encode(None);
        assert_eq!((pong.0, pong.1.len()), (vec![0x8a, 0], 0));
        assert_eq!(Frame::Close.encode(None).0, [0x88, 0]);
        let (head, payload) = Frame::Ping(Bytes::from_static(b"ab")).encode(Some(MASK));
        assert_eq!(head, [0x89, 0x82, 1, 2, 3, 4]);
        assert_eq!(payload[..], [b'a' ^ 1, b'b' ^ 2]);
        assert_eq!(Frame::Binary(vec![0; 126].into()).encode(None).0, [0x82, 126, 0, 126]);
        let long = Frame::Binary(vec![0; 0x1_0000].into()).encode(None).0;
        assert_eq!(long, [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn what_kong_does_not_read_is_refused() {
        for (bytes, error) in [
            (&[0x02, 0x80, 0, 0, 0, 0][..], FrameError::Fragmented),
            (&[0x80, 0x80, 0, 0, 0, 0], FrameError::Fragmented),
            (&[0xc2, 0x80, 0, 0, 0, 0], FrameError::Extension),
            (&[0x83, 0x80, 0, 0, 0, 0], FrameError::Opcode),
            (&[0x8b, 0x80, 0, 0, 0, 0], FrameError::Opcode),
            (&[0x82, 0x00], FrameError::Mask),
            (&[0x89, 0xfe, 0, 126], FrameError::TooLong),
            (&[0x82, 0xfe, 0x10, 0], FrameError::TooLong),
            (&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], FrameError::TooLong),
        ] {
            assert_eq!(decode(bytes, Side::Server), Err(error), "{bytes:x?}");
        }
        assert_eq!(decode(&[0x82, 0x80], Side::Client), Err(FrameError::Mask));
        // A close frame may have a status, which nobody reads.
        assert_eq!(decode(&[0x88, 2, 3, 0xe8], Side::Client), Ok(Some(Frame::Close)));
    }

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_written(
            payload in proptest::collection::vec(any::<u8>(), 0..400),
            kind in 0..4,
            client in any::<bool>(),
        ) {
            let payload = Bytes::from(payload);
            let short = payload.slice(..payload.len().min(CONTROL_LEN_MAX));
            let frame = match kind {
                0 => Frame::Binary(payload),
                1 => Frame::Text(payload),
                2 => Frame::Ping(short),
                _ => Frame::Pong(short),
            };
            let (mask, side) = if client { (Some(MASK), Side::Server) } else { (None, Side::Client) };
            let (head, payload) = frame.clone().encode(mask);
            let bytes = [&head[..], &payload, &[0xff]].concat();
            for cut in 0..bytes.len() - 1 {
                prop_assert_eq!(decode(&bytes[..cut], side), Ok(None));
            }
            let mut buffer = BytesMut::from(&bytes[..]);
            prop_assert_eq!(Frame::decode(&mut buffer, side, 1000), Ok(Some(frame)));
            prop_assert_eq!(&buffer[..], [0xff], "what follows stays");
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes, Side::Server);
            let _ = decode(&bytes, Side::Client);
        }
    }
}
