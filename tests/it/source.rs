//! Reads the project's own sources, for the tests that hold their rules.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file, in words.
pub struct Source {
    /// Path from the project's root, with `/`.
    pub path: String,
    /// The text as it is.
    pub text: String,
    /// Identifiers, `::` and single signs, without comments and the insides of literals.
    pub tokens: Vec<Token>,
}

/// One word of a source.
pub struct Token {
    /// An identifier, `::`, or one sign.
    pub text: String,
    /// Line, from 1.
    pub line: usize,
    /// How many inline modules (`mod x { … }`) are around it.
    pub inline_depth: usize,
    /// Whether it is compiled for tests only.
    pub in_test: bool,
}

impl Source {
    /// Reads the text of a file at `path`.
    pub fn parse(path: &str, text: &str) -> Self {
        let mut tokens = tokenize(text);
        mark(&mut tokens, is_test_file(path));
        Self { path: path.to_owned(), text: text.to_owned(), tokens }
    }

    /// Returns the word at `index`, or an empty one beyond the ends.
    pub fn word(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |token| &token.text)
    }

    /// Says whether the words from `index` on are `words`.
    pub fn reads(&self, index: usize, words: &[&str]) -> bool {
        reads(&self.tokens, index, words)
    }

    /// Returns the modules around the file's content: `["log", "sqlite"]` for
    /// `src/log/sqlite.rs`, none for the roots of the crate.
    pub fn module(&self) -> Vec<&str> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let inner = inner.strip_suffix(".rs").unwrap_or(inner);
        let mut names: Vec<&str> = inner.split('/').collect();
        if names.last() == Some(&"mod") || ["lib", "main"].contains(&inner) {
            names.pop();
        }
        names
    }
}

/// Returns the project's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads all Rust sources below a folder of the project, in order of their paths.
pub fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a source is readable");
        let inner = path.strip_prefix(root()).expect("found below the root");
        Source::parse(&inner.to_string_lossy().replace('\\', "/"), &text)
    };
    paths.iter().map(read).collect()
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the project is readable") {
        let path = entry.expect("a folder of the project is readable").path();
        if path.is_dir() {
            walk(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn tokenize(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let length = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_length(&bytes[at..]),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_length(&bytes[at..]),
            b'"' => string_length(&bytes[at..]),
            b'\'' => quote_length(&text[at..]),
            byte if byte == b'_' || byte.is_ascii_alphabetic() => {
                let length = ident_length(&bytes[at..]);
                let after = &bytes[at + length..];
                let word = &text[at..at + length];
                let prefixes = ["r", "b", "br", "c", "cr"].contains(&word);
                if prefixes && word.ends_with('r') && raw_string_length(after).is_some() {
                    length + raw_string_length(after).unwrap_or_default()
                } else if prefixes && after.first() == Some(&b'"') {
                    length + string_length(after)
                } else {
                    push(&mut tokens, word, line);
                    length
                }
            }
            b':' if bytes[at..].starts_with(b"::") => {
                push(&mut tokens, "::", line);
                2
            }
            byte if byte.is_ascii_whitespace() => 1,
            byte if byte.is_ascii() => {
                push(&mut tokens, &text[at..=at], line);
                1
            }
            _ => 1,
        };
        let end = (at + length).min(bytes.len());
        line += bytes[at..end].iter().filter(|byte| **byte == b'\n').count();
        at = end;
    }
    tokens
}

fn push(tokens: &mut Vec<Token>, text: &str, line: usize) {
    tokens.push(Token { text: text.to_owned(), line, inline_depth: 0, in_test: false });
}

fn line_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len())
}

fn block_comment_length(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Returns the length of `#"…"#` after its `r`, or none when it is no raw string.
fn raw_string_length(bytes: &[u8]) -> Option<usize> {
    let hashes = bytes.iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(vec![b'#'; hashes]).collect();
    let inner = &bytes[hashes + 1..];
    let length = inner.windows(end.len()).position(|window| window == end)?;
    Some(hashes + 1 + length + end.len())
}

/// Returns the length of a character literal, or 1 for the quote of a lifetime.
fn quote_length(text: &str) -> usize {
    let mut signs = text.char_indices().skip(1);
    match signs.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(text.len(), |end| end + 4),
        Some(_) => signs.next().filter(|(_, sign)| *sign == '\'').map_or(1, |(at, _)| at + 1),
        None => 1,
    }
}

fn ident_length(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte == b'_' || byte.is_ascii_alphanumeric()).count()
}

/// Fills in which tokens are within inline modules and which are compiled for tests only.
fn mark(tokens: &mut [Token], all_test: bool) {
    for token in tokens.iter_mut() {
        token.in_test = all_test;
    }
    for start in 0..tokens.len() {
        if reads(tokens, start, &["mod"]) && reads(tokens, start + 2, &["{"]) {
            let end = item_end(tokens, start);
            tokens[start + 2..end].iter_mut().for_each(|token| token.inline_depth += 1);
        }
        if reads(tokens, start, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            let end = item_end(tokens, start + 7);
            tokens[start..end].iter_mut().for_each(|token| token.in_test = true);
        }
    }
}

fn reads(tokens: &[Token], start: usize, words: &[&str]) -> bool {
    let found = tokens.iter().skip(start).take(words.len()).map(|token| token.text.as_str());
    found.eq(words.iter().copied())
}

/// Returns where the item that begins at `start` ends: after its block, or after a semicolon.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for (offset, token) in tokens[start..].iter().enumerate() {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && ["}", ";"].contains(&token.text.as_str()) {
            return start + offset + 1;
        }
    }
    tokens.len()
}

#[test]
fn comments_and_literals_hold_no_words() {
    let text = "a /* b /* c */ d */ e // f\n\"g \\\" h\" 'i' '\\'' r#\"j\"k\"# b\"l\" &'m n::o";
    let source = Source::parse("src/x.rs", text);
    let words: Vec<_> = source.tokens.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(words, ["a", "e", "&", "m", "n", "::", "o"]);
    assert_eq!(source.tokens[2].line, 2);
}

#[test]
fn test_code_is_told_from_the_rest() {
    let text = "fn a() { x } #[cfg(test)] mod tests { fn b() { y } } fn c() {}";
    let source = Source::parse("src/x.rs", text);
    let find = |word: &str| source.tokens.iter().find(|token| token.text == word).expect(word);
    assert_eq!((find("x").in_test, find("x").inline_depth), (false, 0));
    assert_eq!((find("y").in_test, find("y").inline_depth), (true, 1));
    assert_eq!((find("c").in_test, find("c").inline_depth), (false, 0));
}
