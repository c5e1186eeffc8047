//! Buffers that were filled and emptied, for whoever fills the next one: a core allocates few, and
//! what nobody writes at the moment holds none.

use std::cell::RefCell;

/// Room that a buffer begins with, and the largest that is kept, in bytes.
const ROOM: usize = 1024;
const ROOM_MAX: usize = 16 * 1024;

/// Most buffers that are kept.
const KEPT_MAX: usize = 64;

/// The buffers of one core.
#[derive(Debug, Default)]
pub(super) struct Shelf(RefCell<Vec<Vec<u8>>>);

impl Shelf {
    /// Returns an empty buffer.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(ROOM))
    }

    /// Keeps a buffer that is not needed any more.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT_MAX && (1..=ROOM_MAX).contains(&buffer.capacity()) {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_unless_it_has_grown_large() {
        let shelf = Shelf::default();
        let mut buffer = shelf.take();
        buffer.extend_from_slice(&[7; 2000]);
        let room = buffer.capacity();
        shelf.give(buffer);
        let again = shelf.take();
        assert_eq!((again.len(), again.capacity()), (0, room));

        for useless in [Vec::new(), Vec::with_capacity(ROOM_MAX + 1)] {
            shelf.give(useless);
            assert_eq!(shelf.take().capacity(), ROOM);
        }
    }
}
