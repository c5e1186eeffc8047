//! What is accepted is what hyper reads, too: every entry, and what seeded damage makes of them.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::corpus;
use crate::corpora::fuzz::http1_requests;

/// How many damaged inputs are compared unless `HTTP1_CASES` says otherwise.
const CASES: u64 = 20_000;

/// What damage puts in: bytes and words that mean something to a reader.
const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "0",
    "4",
    "f",
    "+",
    "-",
    "\0",
    "\x0b",
    "\u{7f}",
    "Content-Length: 4\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Host: h\r\n",
    "chunked",
    "HTTP/1.0",
    "HTTP/1.1",
    "GET /x HTTP/1.1\r\n",
    "4\r\nabcd\r\n",
    "0\r\n\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: websocket\r\n",
    "#",
    "?",
    "http://h",
];

/// Names the input when a comparison fails.
struct FailureNote(Vec<u8>, u64);

impl Drop for FailureNote {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("case {}: {}", self.1, self.0.escape_ascii());
        }
    }
}

fn compare(input: Vec<u8>, case: u64) {
    let note = FailureNote(input, case);
    http1_requests(&note.0);
}

#[test]
fn hyper_reads_what_is_accepted_in_the_same_way() {
    let entries = corpus::all();
    for (at, entry) in entries.iter().enumerate() {
        compare(entry.bytes.clone(), at as u64);
    }
    let short: Vec<_> = entries.iter().filter(|entry| entry.bytes.len() < 1000).collect();
    let cases = std::env::var("HTTP1_CASES").ok().and_then(|cases| cases.parse().ok());
    for seed in 0..cases.unwrap_or(CASES) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut input = short[random.random_range(0..short.len())].bytes.clone();
        if random.random_bool(0.3) {
            let more = &short[random.random_range(0..short.len())].bytes;
            input.extend_from_slice(more);
        }
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(0..=input.len());
            let end = (at + random.random_range(0..4)).min(input.len());
            let word = WORDS[random.random_range(0..WORDS.len())].as_bytes();
            let word = if random.random_bool(0.7) { word } else { &[] };
            input.splice(at..end, word.iter().copied());
        }
        compare(input, seed);
    }
}
