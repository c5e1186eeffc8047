//! Gzip of texts that are written piece by piece, and read up to a limit; and short names for them.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

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
