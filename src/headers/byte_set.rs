//! Which bytes may stand somewhere, as a table: one load instead of a chain of comparisons.

/// A set of bytes.
pub struct ByteSet([bool; 256]);

impl ByteSet {
    /// Holds the letters and digits of ASCII, and some signs.
    pub const fn alphanumeric_and(signs: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < table.len() {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < signs.len() {
            table[signs[at] as usize] = true;
            at += 1;
        }
        Self(table)
    }

    /// Returns whether a byte is one of them.
    pub fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_letters_digits_and_its_signs() {
        const SET: ByteSet = ByteSet::alphanumeric_and(b"-%");
        for byte in u8::MIN..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'%';
            assert_eq!(SET.has(byte), expected, "{byte}");
        }
    }
}
