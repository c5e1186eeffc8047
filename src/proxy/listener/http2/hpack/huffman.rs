//! The Huffman code of RFC 7541, appendix B.
//!
//! It is canonical: codes of one length follow one another in the order of their symbols, and
//! shorter ones come before longer ones. So the lengths say all.

use super::CodingError;

/// How long the code of each symbol is, in bits.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The symbol that no text may have.
const END: u16 = 256;

const LENGTH_MAX: usize = 30;

/// The codes of one length: the first of them and the one behind the last, shifted to the top of
/// 32 bits, and where their symbols begin.
#[derive(Clone, Copy)]
struct Row {
    first: u32,
    end: u64,
    symbols: usize,
}

struct Code {
    /// By length in bits.
    rows: [Row; LENGTH_MAX + 1],
    /// In the order of their codes.
    symbols: [u16; 257],
    /// By the next eight bits: the symbol that they begin with and its length, 0 for longer codes.
    short: [(u8, u8); 256],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut rows = [Row { first: 0, end: 0, symbols: 0 }; LENGTH_MAX + 1];
    let mut symbols = [0; 257];
    let mut short = [(0, 0); 256];
    let (mut length, mut next, mut count) = (1, 0_u64, 0);
    while length <= LENGTH_MAX {
        let first = next << (32 - length);
        let begin = count;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                symbols[count] = symbol as u16;
                count += 1;
                if length <= 8 {
                    let mut octet = (next as usize) << (8 - length);
                    while octet < (next as usize + 1) << (8 - length) {
                        short[octet] = (symbol as u8, length as u8);
                        octet += 1;
                    }
                }
                next += 1;
            }
            symbol += 1;
        }
        rows[length] = Row { first: first as u32, end: next << (32 - length), symbols: begin };
        next <<= 1;
        length += 1;
    }
    Code { rows, symbols, short }
}

/// Appends the text that `bytes` stand for.
pub(super) fn decode(bytes: &[u8], text: &mut Vec<u8>) -> Result<(), CodingError> {
    // The bits that are not read yet, from the top.
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut bytes = bytes.iter();
    loop {
        while count <= 56 {
            let Some(byte) = bytes.next() else { break };
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
        }
        let (mut symbol, mut length) = CODE.short[(bits >> 56) as usize];
        if length == 0 {
            let Some(long) = long(bits) else { return Err(CodingError) };
            (symbol, length) = long;
        }
        if u32::from(length) > count {
            // What is left is the beginning of the end symbol, less than an octet of it.
            let is_padding = count < 8 && bits | u64::MAX >> count == u64::MAX;
            return if is_padding { Ok(()) } else { Err(CodingError) };
        }
        text.push(symbol);
        bits <<= length;
        count -= u32::from(length);
    }
}

/// Finds the code of more than eight bits that the bits begin with.
fn long(bits: u64) -> Option<(u8, u8)> {
    let window = (bits >> 32) as u32;
    for (length, row) in CODE.rows.iter().enumerate().skip(9) {
        if u64::from(window) < row.end {
            let at = (window - row.first) >> (32 - length);
            let symbol = *CODE.symbols.get(row.symbols + at as usize)?;
            // Of the end symbol, a text may have the first bits only: those are padding.
            return (symbol != END).then_some((symbol as u8, length as u8));
        }
    }
    None
}

/// Writes a text in the code.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u64, 0);
    for byte in text {
        let length = usize::from(LENGTHS[usize::from(*byte)]);
        let row = CODE.rows[length];
        let among = CODE.symbols[row.symbols..].iter().position(|it| *it == u16::from(*byte));
        let code = u64::from(row.first >> (32 - length)) + among.unwrap() as u64;
        bits = bits << length | code;
        count += length;
        while count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        bytes.push((bits << (8 - count)) as u8 | (0xff >> count));
    }
    bytes
}
