//! Lua patterns: Kong's schemas are written and shown in them, so clients read them as they are.
//!
//! A pattern is translated into a regular expression over bytes, so that a long text cannot make
//! it slow; `%b` and `%f`, which no schema needs, are not known.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use regex::bytes::Regex;

/// A Lua pattern of a schema, compiled when it is first used.
#[derive(Clone)]
pub struct Pattern {
    text: &'static str,
    compiled: Arc<OnceLock<Regex>>,
}

impl Pattern {
    /// Takes the pattern as Kong shows it.
    pub fn new(text: &'static str) -> Self {
        Self { text, compiled: Arc::default() }
    }

    /// Returns the pattern as Kong shows it.
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// Returns whether the pattern is found in `value`.
    pub fn is_match(&self, value: &str) -> bool {
        self.compiled
            .get_or_init(|| {
                translate(self.text)
                    .and_then(|regex| Regex::new(&regex).ok())
                    .expect("patterns stand in schemas, and a test compiles all of them")
            })
            .is_match(value.as_bytes())
    }
}

/// Returns the regular expression that a Lua pattern means, or nothing when it is malformed.
pub(super) fn translate(pattern: &str) -> Option<String> {
    let mut out = String::from("(?s-u)");
    let mut bytes = pattern.as_bytes();
    if let Some(rest) = bytes.strip_prefix(b"^") {
        out.push_str(r"\A");
        bytes = rest;
    }
    while let Some((first, rest)) = bytes.split_first() {
        bytes = match (first, rest) {
            (b'$', []) => {
                out.push_str(r"\z");
                rest
            }
            (b'(' | b')', rest) => {
                out.push(char::from(*first));
                rest
            }
            (b'.', rest) => {
                out.push('.');
                quantify(&mut out, rest)
            }
            (b'[', rest) => {
                let rest = set(&mut out, rest)?;
                quantify(&mut out, rest)
            }
            (b'%', [class, rest @ ..]) => {
                match class_of(*class) {
                    Some(class) => drop(write!(out, "[{class}]")),
                    None if class.is_ascii_alphanumeric() => return None,
                    None => literal(&mut out, *class),
                }
                quantify(&mut out, rest)
            }
            (b'%', []) => return None,
            (byte, rest) => {
                literal(&mut out, *byte);
                quantify(&mut out, rest)
            }
        };
    }
    Some(out)
}

/// Writes the quantifier that follows an item; `-` is Lua's reluctant `*`.
fn quantify<'p>(out: &mut String, bytes: &'p [u8]) -> &'p [u8] {
    let (text, rest) = match bytes {
        [b'*', rest @ ..] => ("*", rest),
        [b'+', rest @ ..] => ("+", rest),
        [b'?', rest @ ..] => ("?", rest),
        [b'-', rest @ ..] => ("*?", rest),
        _ => ("", bytes),
    };
    out.push_str(text);
    rest
}

/// Writes a set, from behind its `[` on, and returns what follows it.
fn set<'p>(out: &mut String, bytes: &'p [u8]) -> Option<&'p [u8]> {
    out.push('[');
    let mut bytes = bytes;
    if let Some(rest) = bytes.strip_prefix(b"^") {
        out.push('^');
        bytes = rest;
    }
    let mut first = true;
    loop {
        bytes = match bytes {
            [b']', rest @ ..] if !first => {
                out.push(']');
                return Some(rest);
            }
            [b'%', class, rest @ ..] => {
                match class_of(*class) {
                    Some(class) => out.push_str(class),
                    None if class.is_ascii_alphanumeric() => return None,
                    None => literal(out, *class),
                }
                rest
            }
            [low, b'-', high, rest @ ..] if *high != b']' => {
                literal(out, *low);
                out.push('-');
                literal(out, *high);
                rest
            }
            [byte, rest @ ..] => {
                literal(out, *byte);
                rest
            }
            [] => return None,
        };
        first = false;
    }
}

fn literal(out: &mut String, byte: u8) {
    if byte.is_ascii_alphanumeric() {
        out.push(char::from(byte));
    } else {
        let _ = write!(out, r"\x{byte:02X}");
    }
}

/// Returns a class of Lua, in the C locale, as the inside of a set.
fn class_of(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'a' => "[:alpha:]",
        b'A' => "[:^alpha:]",
        b'c' => "[:cntrl:]",
        b'C' => "[:^cntrl:]",
        b'd' => "[:digit:]",
        b'D' => "[:^digit:]",
        b'g' => "[:graph:]",
        b'G' => "[:^graph:]",
        b'l' => "[:lower:]",
        b'L' => "[:^lower:]",
        b'p' => "[:punct:]",
        b'P' => "[:^punct:]",
        b's' => "[:space:]",
        b'S' => "[:^space:]",
        b'u' => "[:upper:]",
        b'U' => "[:^upper:]",
        b'w' => "[:alnum:]",
        b'W' => "[:^alnum:]",
        b'x' => "[:xdigit:]",
        b'X' => "[:^xdigit:]",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lua_patterns_find_what_lua_finds() {
        for (pattern, found, not_found) in [
            ("^%u+$", &["GET", "A"][..], &["get", "", "GET ", "GET\n"][..]),
            ("//", &["a//b"], &["/a/b"]),
            ("^[a-z][a-z%d-]-[a-z%d]+$", &["my-vault", "ab"], &["a", "A1", "ab-", "1a"]),
            ("^[Hh][Oo][Ss][Tt]$", &["Host", "HOST"], &["host2"]),
            ("^[^*]*%*?[^*]*$", &["a.*", "*", ""], &["*.*"]),
            ("^[^*&%%\\`]+$", &["/tmp/a", "é"], &["", "50%", "a\\b"]),
            ("%w*%p*@+%w*%.?%w*", &["a.b@c.d", "@"], &["a.b"]),
            ("^[0-9]+-[0-9]+$", &["200-299"], &["200", "200299", "a-b"]),
            ("^[^:]+:.*$", &["a:b", "a:"], &[":b", "ab"]),
            ("^%d+[%.%d]*%-?.*$", &["3.9.1-x"], &["x"]),
            ("[]]", &["]"], &["["]),
        ] {
            for text in found {
                assert!(Pattern::new(pattern).is_match(text), "{pattern} on {text:?}");
            }
            for text in not_found {
                assert!(!Pattern::new(pattern).is_match(text), "{pattern} on {text:?}");
            }
        }
    }

    #[test]
    fn malformed_patterns_are_seen() {
        for pattern in ["[a", "%", "%b()", "%f[a]", "[%y]"] {
            assert_eq!(translate(pattern), None, "{pattern}");
        }
    }
}
