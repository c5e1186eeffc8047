//! Compression, with a limit on what comes out, and a seal that shows damage before unpacking.

use std::io::{self, Read as _};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use super::VerifyError;

/// Level 1: most of the gain at a fraction of the time.
pub(super) fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

/// Returns whether bytes claim to be gzip.
pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Unpacks one gzip member that is all there is.
pub(super) fn unpack(bytes: &[u8], max: u64) -> Result<Vec<u8>, VerifyError> {
    check_seal(bytes)?;
    let mut out = Vec::new();
    let mut decoder = GzDecoder::new(bytes).take(max.saturating_add(1));
    decoder.read_to_end(&mut out).map_err(VerifyError::Unpack)?;
    if u64::try_from(out.len()).is_ok_and(|len| len > max) {
        return Err(VerifyError::TooLarge { max });
    }
    if !decoder.into_inner().into_inner().is_empty() {
        return Err(VerifyError::Malformed("bytes after the end of the compressed data"));
    }
    Ok(out)
}

/// How long the header is that the encoder writes.
const PLAIN_HEADER: usize = 10;

/// A gzip header with one extra field, `HC`, of 32 bytes; all of it is fixed.
const SEALED_HEADER: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 36, 0, b'H', b'C', 32, 0];

/// Says in the gzip header what the rest of the file hashes to. Other programs skip it; here it
/// shows any flipped bit, also those that decompression would not notice.
pub(super) fn seal(plain: &[u8]) -> Vec<u8> {
    let body = plain.get(PLAIN_HEADER..).unwrap_or_default();
    let mut sealed = SEALED_HEADER.to_vec();
    sealed.extend_from_slice(blake3::hash(body).as_bytes());
    sealed.extend_from_slice(body);
    sealed
}

/// A file with an extra field must have our seal, whole; one without is not ours.
fn check_seal(bytes: &[u8]) -> Result<(), VerifyError> {
    if bytes.get(3).is_none_or(|flags| flags & 4 == 0) {
        return Ok(());
    }
    let whole = bytes
        .strip_prefix(&SEALED_HEADER)
        .and_then(|rest| rest.split_first_chunk::<32>())
        .is_some_and(|(hash, body)| blake3::hash(body).as_bytes() == hash);
    whole.then_some(()).ok_or_else(|| {
        VerifyError::Unpack(io::Error::new(io::ErrorKind::InvalidData, "the seal is broken"))
    })
}
