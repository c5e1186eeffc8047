//! Header compression of HTTP/2 (RFC 7541).
//!
//! Invariants:
//! - a block is decoded whole whatever is wrong with its fields, so that the tables of both ends stay
//!   alike; what is wrong with the coding itself ends the connection;
//! - decoding takes memory for what the sink wants and for a table of [`TABLE_MAX`] bytes;
//! - what is marked as sensitive enters no table.

mod decode;
mod encode;
mod field;
mod huffman;
mod integer;
mod table;

#[cfg(test)]
mod tests;

pub(super) use self::decode::{Decoder, Sink};
pub(super) use self::encode::Encoder;
pub(super) use self::field::{Field, Pseudo};

/// The largest table of either side, in bytes as RFC 7541, section 4.1 counts them; also what a
/// connection begins with.
pub(super) const TABLE_MAX: usize = 4096;

/// What an entry of a table counts beyond its text, in bytes.
pub(super) const ENTRY_OVERHEAD: usize = 32;

/// A block is not in the coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header block is not in HPACK")]
pub(super) struct CodingError;
