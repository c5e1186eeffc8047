//! Integers with a prefix (RFC 7541, section 5.1).

use super::CodingError;

/// The most octets that may follow the prefix: enough for every length that a block may have.
const OCTETS_MAX: usize = 4;

/// Reads an integer whose first octet keeps `bits` for it, and returns it with what follows.
pub(super) fn read(bytes: &[u8], bits: u32) -> Result<(usize, &[u8]), CodingError> {
    let (first, mut rest) = bytes.split_first().ok_or(CodingError)?;
    let mask = (1_usize << bits) - 1;
    let mut value = usize::from(*first) & mask;
    if value < mask {
        return Ok((value, rest));
    }
    for octet in 0..OCTETS_MAX {
        let (next, after) = rest.split_first().ok_or(CodingError)?;
        rest = after;
        value += usize::from(next & 0x7f) << (7 * octet);
        if next & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(CodingError)
}

/// Writes an integer behind the `pattern` of its first octet, which leaves `bits` for it.
pub(super) fn write(bytes: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let mask = (1_usize << bits) - 1;
    if value < mask {
        bytes.push(pattern | low_octet(value));
        return;
    }
    bytes.push(pattern | low_octet(mask));
    let mut rest = value - mask;
    while rest >= 0x80 {
        bytes.push(0x80 | low_octet(rest & 0x7f));
        rest >>= 7;
    }
    bytes.push(low_octet(rest));
}

fn low_octet(value: usize) -> u8 {
    let [.., low] = value.to_be_bytes();
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_the_rfc_are_written_and_read() {
        for (value, bits, octets) in [
            (10, 5, &[0x0a][..]),
            (1337, 5, &[0x1f, 0x9a, 0x0a]),
            (42, 8, &[0x2a]),
            (127, 7, &[0x7f, 0]),
        ] {
            let mut bytes = Vec::new();
            write(&mut bytes, 0, bits, value);
            assert_eq!(bytes, octets);
            assert_eq!(read(&bytes, bits), Ok((value, &[][..])));
        }
        let max = read(&[0x7f, 0xff, 0xff, 0xff, 0x7f], 7).map(|(value, _)| value);
        assert_eq!(max, Ok((1 << 28) - 1 + 127));
        for endless in [&[0x7f, 0x80][..], &[0x7f, 0xff, 0xff, 0xff, 0xff, 0], &[]] {
            assert_eq!(read(endless, 7), Err(CodingError));
        }
    }
}
