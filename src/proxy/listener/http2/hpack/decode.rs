//! Header blocks, read.

use bytes::Bytes;

use super::field::{Field, Name};
use super::table::Table;
use super::{CodingError, ENTRY_OVERHEAD, TABLE_MAX, huffman, integer};

/// What takes the fields of a block.
pub(in crate::proxy::listener::http2) trait Sink {
    /// Returns whether nothing more is wanted; what follows is decoded for the table's sake.
    fn is_full(&self) -> bool;

    /// Takes a field and its size.
    fn take(&mut self, field: Field, size: usize);
}

/// The decoder of a connection.
#[derive(Debug)]
pub(in crate::proxy::listener::http2) struct Decoder {
    table: Table,
    /// Where a text is unfolded; empty between blocks.
    text: Vec<u8>,
}

impl Decoder {
    pub(in crate::proxy::listener::http2) fn new() -> Self {
        Self { table: Table::new(), text: Vec::new() }
    }

    /// Decodes a block. After an error the tables of both sides differ: the connection is lost.
    pub(in crate::proxy::listener::http2) fn decode(
        &mut self,
        mut block: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), CodingError> {
        let mut has_begun = false;
        while let Some(&first) = block.first() {
            if first & 0xe0 == 0x20 {
                let (max, rest) = integer::read(block, 5)?;
                // Only before the fields (section 4.2).
                if max > TABLE_MAX || has_begun {
                    return Err(CodingError);
                }
                self.table.resize(max);
                block = rest;
                continue;
            }
            has_begun = true;
            block = match first {
                0x80.. => {
                    let (index, rest) = integer::read(block, 7)?;
                    let (field, size) = self.table.get(index).ok_or(CodingError)?;
                    if !sink.is_full() {
                        sink.take(field.clone(), *size);
                    }
                    rest
                }
                0x40..0x80 => {
                    let (field, size, rest) = self.literal(block, 6, false)?;
                    if !sink.is_full() {
                        sink.take(field.clone(), size);
                    }
                    self.table.insert(field, size);
                    rest
                }
                _ => {
                    let (field, size, rest) = self.literal(block, 4, first & 0x10 != 0)?;
                    if !sink.is_full() {
                        sink.take(field, size);
                    }
                    rest
                }
            };
        }
        if self.text.capacity() > TABLE_MAX {
            self.text = Vec::new();
        }
        Ok(())
    }

    /// Reads a field that is written out, at least its value; `bits` are kept for a name's index.
    fn literal<'b>(
        &mut self,
        block: &'b [u8],
        bits: u32,
        sensitive: bool,
    ) -> Result<(Field, usize, &'b [u8]), CodingError> {
        let (index, rest) = integer::read(block, bits)?;
        let ((name, name_length), rest) = match index {
            0 => {
                let (text, rest) = self.string(rest)?;
                ((Name::read(text), text.len()), rest)
            }
            index => (self.table.name(index).ok_or(CodingError)?, rest),
        };
        let (text, rest) = self.string(rest)?;
        let size = name_length + text.len() + ENTRY_OVERHEAD;
        let field = name.with(Bytes::copy_from_slice(text), sensitive);
        Ok((field, size, rest))
    }

    /// Reads a text (section 5.2).
    fn string<'a, 'b: 'a>(
        &'a mut self,
        block: &'b [u8],
    ) -> Result<(&'a [u8], &'b [u8]), CodingError> {
        let is_folded = block.first().is_some_and(|first| first & 0x80 != 0);
        let (length, rest) = integer::read(block, 7)?;
        let (text, rest) = rest.split_at_checked(length).ok_or(CodingError)?;
        if !is_folded {
            return Ok((text, rest));
        }
        self.text.clear();
        huffman::decode(text, &mut self.text)?;
        Ok((&self.text, rest))
    }
}
