//! Frames (RFC 9113, sections 4 and 6): their heads, and those without a body of their own.

/// The longest payload that is taken, in bytes: what everyone must take.
pub(super) const FRAME_MAX: usize = 16 * 1024;

/// The length of a frame's head, in bytes.
pub(super) const HEAD: usize = 9;

/// The largest window (section 6.9.1), and the one that everything begins with.
pub(super) const WINDOW_MAX: i64 = (1 << 31) - 1;
pub(super) const WINDOW_DEFAULT: i64 = 65_535;

/// What a client sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(super) mod flag {
    pub(in super::super) const ACK: u8 = 1;
    pub(in super::super) const END_STREAM: u8 = 1;
    pub(in super::super) const END_HEADERS: u8 = 4;
    pub(in super::super) const PADDED: u8 = 8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// Names of settings.
pub(super) mod setting {
    pub(in super::super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(in super::super) const ENABLE_PUSH: u16 = 2;
    pub(in super::super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(in super::super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(in super::super) const MAX_FRAME_SIZE: u16 = 5;
    pub(in super::super) const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// Why a stream or a connection ends (section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    None = 0,
    Protocol = 1,
    Internal = 2,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Cancel = 8,
    Compression = 9,
    Calm = 11,
}

/// What a client did wrong, and what ends for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Connection(Code),
    Stream(u32, Code),
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// Reads the head that bytes begin with; none when they are too few.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, d, e, f, g] = *bytes.first_chunk::<HEAD>()?;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let stream = u32::from_be_bytes([d & 0x7f, e, f, g]);
        Some(Self { length, kind, flags, stream })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Takes the padding off a payload (section 6.1), and returns what is left.
pub(super) fn without_padding<'p>(head: &Head, payload: &'p [u8]) -> Result<&'p [u8], Fault> {
    if !head.has(flag::PADDED) {
        return Ok(payload);
    }
    let content = payload
        .split_first()
        .and_then(|(length, rest)| rest.get(..rest.len().checked_sub(usize::from(*length))?));
    content.ok_or(Fault::Connection(Code::Protocol))
}

/// Writes the head of a frame.
pub(super) fn push_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&head(length, kind, flags, stream));
}

/// Returns the head of a frame as it is sent.
pub(super) fn head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD] {
    // A frame is never longer than what the other side takes, of which 24 bits tell.
    let [.., a, b, c] = length.to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

pub(super) fn push_reset(out: &mut Vec<u8>, stream: u32, code: Code) {
    push_head(out, 4, kind::RST_STREAM, 0, stream);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

pub(super) fn push_window_update(out: &mut Vec<u8>, stream: u32, more: u32) {
    push_head(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&more.to_be_bytes());
}

pub(super) fn push_ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    push_head(out, 8, kind::PING, flags, 0);
    out.extend_from_slice(&payload);
}

pub(super) fn push_goaway(out: &mut Vec<u8>, last: u32, code: Code) {
    push_head(out, 8, kind::GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Writes settings; none and [`flag::ACK`] are an acknowledgement.
pub(super) fn push_settings(out: &mut Vec<u8>, flags: u8, settings: &[(u16, u32)]) {
    push_head(out, 6 * settings.len(), kind::SETTINGS, flags, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Reads a number of four octets without its reserved bit.
pub(super) fn number(payload: &[u8]) -> Result<u32, Fault> {
    let octets = payload.try_into().map_err(|_| Fault::Connection(Code::FrameSize))?;
    Ok(u32::from_be_bytes(octets) & 0x7fff_ffff)
}
