//! The addresses that a request has tried already. Eight are kept without an allocation.

use super::address::Address;

const INLINE: usize = 8;

/// A short list of addresses, by their numbers.
#[derive(Debug, Default)]
pub struct Tried {
    first: [u64; INLINE],
    count: usize,
    more: Vec<u64>,
}

impl Tried {
    /// Adds an address.
    pub fn add(&mut self, address: &Address) {
        match self.first.get_mut(self.count) {
            Some(free) => *free = address.number,
            None => self.more.push(address.number),
        }
        self.count += 1;
    }

    /// Returns whether an address is listed.
    pub fn has(&self, address: &Address) -> bool {
        // Most requests ask for their first address.
        if self.count == 0 {
            return false;
        }
        let first = self.first.iter().take(self.count);
        first.chain(&self.more).any(|number| *number == address.number)
    }

    /// Returns how many are listed.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether nobody was tried.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
