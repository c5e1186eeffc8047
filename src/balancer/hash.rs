//! Hashes that are the same on every node, today and after an update: nodes that share a fleet send
//! the same key to the same target.

/// Spreads the bits of a number (the finalizer of splitmix64).
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A hash of bytes, written in pieces whose limits count.
#[derive(Clone, Copy, Debug)]
pub struct KeyHash(u64);

impl KeyHash {
    /// Begins a hash.
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// Adds a piece.
    pub fn write(&mut self, piece: &[u8]) {
        let (words, rest) = piece.as_chunks::<8>();
        for word in words {
            self.0 = mix(self.0 ^ u64::from_le_bytes(*word)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let length = (piece.len() as u64) << 56;
        self.0 = mix(self.0 ^ u64::from_le_bytes(last) ^ length).wrapping_add(1);
    }

    /// Returns the hash.
    pub fn finish(self) -> u64 {
        mix(self.0)
    }
}

impl Default for KeyHash {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the hash of a value as it is in one piece.
pub fn of(value: &[u8]) -> u64 {
    let mut hash = KeyHash::new();
    hash.write(value);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_what_they_are() {
        // A change here sends the clients of a fleet to other targets while it is updated.
        let known = [of(b""), of(b"alice"), of(b"a longer value than one word")];
        assert_eq!(known, KNOWN);
        let mut pieces = KeyHash::new();
        pieces.write(b"al");
        pieces.write(b"ice");
        assert_ne!(pieces.finish(), of(b"alice"));
    }

    const KNOWN: [u64; 3] =
        [16_899_028_431_761_561_291, 16_845_677_075_377_782_624, 13_686_224_775_302_898_584];
}
