//! Header blocks, written.
//!
//! A field enters the table when it is seen a second time in a row: what differs from answer to
//! answer would only push out what repeats. Texts are written as they are: folding them costs more
//! than it saves on a core that encrypts a gigabyte a second.

use std::collections::VecDeque;

use super::table::{LEARNT_FIRST, static_name, static_status};
use super::{ENTRY_OVERHEAD, TABLE_MAX, integer};

/// The longest value that is remembered, in bytes.
const VALUE_MAX: usize = 256;

/// How many names are remembered, each with its newest value.
const MEMORY: usize = 32;

/// The encoder of a connection.
#[derive(Debug)]
pub(in crate::proxy::listener::http2) struct Encoder {
    /// By a number made of the name; one name takes the place of another.
    memory: Vec<Remembered>,
    /// The sizes of what is in the other side's table, the newest first.
    sizes: VecDeque<usize>,
    size: usize,
    max: usize,
    /// The least size that the table was to have since the last block, if that changed.
    resized: Option<usize>,
    /// How many fields have entered the table.
    inserted: u64,
}

#[derive(Debug, Default)]
struct Remembered {
    name: String,
    value: Vec<u8>,
    /// The index of the name in the static table, or 0.
    index: u8,
    /// The number of its entry, counted from 1; 0 when it was seen once.
    entry: u64,
}

impl Encoder {
    pub(in crate::proxy::listener::http2) fn new() -> Self {
        Self {
            memory: Vec::new(),
            sizes: VecDeque::new(),
            size: 0,
            max: TABLE_MAX,
            resized: None,
            inserted: 0,
        }
    }

    /// Follows the other side's SETTINGS_HEADER_TABLE_SIZE.
    pub(in crate::proxy::listener::http2) fn resize(&mut self, told: u32) {
        let max = usize::try_from(told).map_or(TABLE_MAX, |told| told.min(TABLE_MAX));
        if max != self.max {
            self.resized = Some(self.resized.map_or(max, |least| least.min(max)));
            self.max = max;
            self.make_room(0);
        }
    }

    /// Begins a block.
    pub(in crate::proxy::listener::http2) fn begin(&mut self, block: &mut Vec<u8>) {
        let Some(least) = self.resized.take() else { return };
        if least < self.max {
            integer::write(block, 0x20, 5, least);
        }
        integer::write(block, 0x20, 5, self.max);
    }

    /// Writes the status.
    pub(in crate::proxy::listener::http2) fn status(block: &mut Vec<u8>, status: http::StatusCode) {
        match static_status(status.as_u16()) {
            0 => {
                block.extend_from_slice(&[0x08, 3]);
                block.extend_from_slice(status.as_str().as_bytes());
            }
            index => block.push(0x80 | index),
        }
    }

    /// Writes a field that the other side is to remember if it repeats.
    pub(in crate::proxy::listener::http2) fn field(
        &mut self,
        block: &mut Vec<u8>,
        name: &str,
        value: &[u8],
    ) {
        if value.len() > VALUE_MAX {
            return Self::literal(block, 0, static_name(name), name, value);
        }
        if self.memory.is_empty() {
            self.memory.resize_with(MEMORY, Remembered::default);
        }
        let Some(known) = self.memory.get_mut(place(name)) else { return };
        let is_same_name = known.name == name;
        if is_same_name && known.value == value {
            let age = self.inserted.wrapping_sub(known.entry);
            if known.entry != 0 && age < self.sizes.len() as u64 {
                return integer::write(block, 0x80, 7, LEARNT_FIRST + age as usize);
            }
            let index = known.index;
            let size = name.len() + value.len() + ENTRY_OVERHEAD;
            if size > self.max {
                return Self::literal(block, 0, index, name, value);
            }
            self.inserted += 1;
            known.entry = self.inserted;
            self.make_room(size);
            self.size += size;
            self.sizes.push_front(size);
            return Self::literal(block, 0x40, index, name, value);
        }
        if !is_same_name {
            known.name.clear();
            known.name.push_str(name);
            known.index = static_name(name);
        }
        known.value.clear();
        known.value.extend_from_slice(value);
        known.entry = 0;
        let index = known.index;
        Self::literal(block, 0, index, name, value);
    }

    /// Writes a field that no table takes, also not on the way (section 7.1.3) if it is sensitive.
    pub(in crate::proxy::listener::http2) fn unremembered(
        block: &mut Vec<u8>,
        name: &str,
        value: &[u8],
        sensitive: bool,
    ) {
        let pattern = if sensitive { 0x10 } else { 0 };
        Self::literal(block, pattern, static_name(name), name, value);
    }

    fn literal(block: &mut Vec<u8>, pattern: u8, index: u8, name: &str, value: &[u8]) {
        block.reserve(name.len() + value.len() + 12);
        let bits = if pattern == 0x40 { 6 } else { 4 };
        integer::write(block, pattern, bits, usize::from(index));
        if index == 0 {
            integer::write(block, 0, 7, name.len());
            block.extend_from_slice(name.as_bytes());
        }
        integer::write(block, 0, 7, value.len());
        block.extend_from_slice(value);
    }

    fn make_room(&mut self, size: usize) {
        while self.size + size > self.max {
            let Some(oldest) = self.sizes.pop_back() else { break };
            self.size -= oldest;
        }
    }
}

/// Returns where a name is remembered.
fn place(name: &str) -> usize {
    let octet = |byte: Option<&u8>| byte.map_or(0, |byte| usize::from(*byte));
    let bytes = name.as_bytes();
    let middle = octet(bytes.get(bytes.len() / 2));
    // Chosen so that the names that answers often have are apart.
    (bytes.len() + 3 * octet(bytes.first()) + 16 * middle + 27 * octet(bytes.last())) % MEMORY
}
