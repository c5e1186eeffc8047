//! Gzip of texts that are written piece by piece, or of pieces that were packed before, and read up to
//! a limit; and short names for them.

use std::io::{Read as _, Write as _};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, Crc, FlushCompress};

use super::VerifyError;

/// Packs what is written to it, without keeping it.
pub struct Packer {
    encoder: GzEncoder<Vec<u8>>,
    len: u64,
}

impl Packer {
    /// Starts with nothing.
    pub fn new() -> Self {
        Self { encoder: GzEncoder::new(Vec::new(), Compression::fast()), len: 0 }
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.encoder.write_all(bytes).expect("writing to memory cannot fail");
    }

    /// Returns how many bytes were added.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns what was packed.
    pub fn finish(self) -> Vec<u8> {
        self.encoder.finish().expect("writing to memory cannot fail")
    }
}

impl Default for Packer {
    fn default() -> Self {
        Self::new()
    }
}

/// A piece of a text, packed apart from what stands before it.
pub struct Piece {
    packed: Vec<u8>,
    crc: Crc,
}

/// Packs pieces, one after the other.
pub struct PiecePacker(Compress);

impl PiecePacker {
    /// Packs as small as is usual, not as fast as possible.
    pub fn new() -> Self {
        Self(Compress::new(Compression::default(), false))
    }

    /// Packs a piece.
    pub fn pack(&mut self, text: &[u8]) -> Piece {
        let mut crc = Crc::new();
        crc.update(text);
        let mut packed = Vec::with_capacity(text.len() / 4 + 64);
        self.0.reset();
        loop {
            let rest = &text[self.0.total_in() as usize..];
            let packing = self.0.compress_vec(rest, &mut packed, FlushCompress::Sync);
            packing.expect("packing to memory cannot fail");
            // With room left, all of it was taken and flushed.
            if packed.len() < packed.capacity() {
                break;
            }
            packed.reserve(packed.len());
        }
        packed.shrink_to_fit();
        Piece { packed, crc }
    }
}

impl Default for PiecePacker {
    fn default() -> Self {
        Self::new()
    }
}

/// One gzip member (RFC 1952) of pieces. A piece ends on a whole byte and refers to nothing before
/// itself, so one that was packed before costs no more than to copy it.
pub struct Joiner {
    packed: Vec<u8>,
    crc: Crc,
}

/// No name, no time, of no particular system.
const MEMBER_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A block that is the last one, and empty.
const LAST_BLOCK: [u8; 2] = [3, 0];

impl Joiner {
    /// Starts with nothing, and room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut packed = Vec::with_capacity(bytes);
        packed.extend_from_slice(&MEMBER_HEADER);
        Self { packed, crc: Crc::new() }
    }

    /// Adds a piece.
    pub fn add(&mut self, piece: &Piece) {
        self.packed.extend_from_slice(&piece.packed);
        self.crc.combine(&piece.crc);
    }

    /// Returns the member.
    pub fn finish(mut self) -> Vec<u8> {
        self.packed.extend_from_slice(&LAST_BLOCK);
        self.packed.extend_from_slice(&self.crc.sum().to_le_bytes());
        // The length, modulo 2^32.
        self.packed.extend_from_slice(&self.crc.amount().to_le_bytes());
        self.packed
    }
}

/// Unpacks the first member of a gzip file; what follows it does not count.
///
/// # Errors
///
/// It is damaged, or longer than `max` bytes when unpacked.
pub fn unpack(packed: &[u8], max: u64) -> Result<Vec<u8>, VerifyError> {
    let mut bytes = Vec::new();
    let mut unpacked = GzDecoder::new(packed).take(max.saturating_add(1));
    unpacked.read_to_end(&mut bytes).map_err(VerifyError::Unpack)?;
    match bytes.len() as u64 > max {
        true => Err(VerifyError::TooLarge { max }),
        false => Ok(bytes),
    }
}

/// A name for bytes, of 32 hexadecimal characters, as long as those of Kong.
#[derive(Default)]
pub struct ShortName(blake3::Hasher);

impl ShortName {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the name.
    pub fn hex(&self) -> String {
        let mut text = self.0.finalize().to_hex().to_string();
        text.truncate(32);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_up_to_a_limit() {
        let mut packer = Packer::new();
        assert!(packer.is_empty());
        (0..1000).for_each(|_| packer.write(b"0123456789"));
        assert_eq!(packer.len(), 10_000);
        let mut packed = packer.finish();
        assert_eq!(unpack(&packed, 10_000).unwrap().len(), 10_000);
        let bomb = unpack(&packed, 9_999).unwrap_err();
        assert!(matches!(bomb, VerifyError::TooLarge { max: 9_999 }), "{bomb}");
        packed.extend_from_slice(b"more");
        assert_eq!(unpack(&packed, 10_000).unwrap().len(), 10_000);
        packed.truncate(packed.len() / 2);
        assert!(matches!(unpack(&packed, 10_000), Err(VerifyError::Unpack(_))));
        assert!(matches!(unpack(b"", 10_000), Err(VerifyError::Unpack(_))));
    }

    /// Returns text that packs badly.
    fn noise(count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn pieces_packed_apart_are_one_member_in_any_order() {
        let texts = [b"".to_vec(), b"a".to_vec(), noise(100_000), b"0123456789".repeat(20_000)];
        let mut packer = PiecePacker::new();
        let pieces = texts.each_ref().map(|text| packer.pack(text));
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 2, 3, 3]] {
            let mut joiner = Joiner::with_capacity(0);
            order.iter().for_each(|number| joiner.add(&pieces[*number]));
            let packed = joiner.finish();
            assert!(packed.len() < 300_000, "it is packed: {}", packed.len());
            let mut text = Vec::new();
            let mut rest = flate2::bufread::GzDecoder::new(&packed[..]);
            rest.read_to_end(&mut text).unwrap();
            assert!(text == order.map(|number| texts[number].clone()).concat(), "{order:?}");
            assert!(rest.into_inner().is_empty(), "nothing follows");
        }
        assert_eq!(unpack(&Joiner::with_capacity(0).finish(), 10).unwrap(), b"");
    }

    #[test]
    fn a_short_name_does_not_depend_on_the_pieces() {
        let name = |pieces: &[&[u8]]| {
            let mut name = ShortName::default();
            pieces.iter().for_each(|piece| name.update(piece));
            name.hex()
        };
        assert_eq!(name(&[b"ab", b"c"]), name(&[b"abc"]));
        assert_ne!(name(&[b"abc"]), name(&[b"abd"]));
        assert_eq!(name(&[]).len(), 32);
    }
}
